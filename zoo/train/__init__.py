"""`zoo train`: an entry of the zoo, its recipe, its weights and its runs, in `entry`."""
