"""Fuzzing of every reader of files that come from strangers: `python -m fuzz --help`."""
