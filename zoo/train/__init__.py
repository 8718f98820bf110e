"""`zoo train`: an entry, its recipe, its weights and its runs, in `entry`; `run` trains."""
