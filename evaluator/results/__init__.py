"""Results: one model on one bin, stored as JSON and HDF5, and read back from a folder.

`record` is the result itself, `store` the folder, `stored` what is in it, `choice` which of it is
asked for, `reading_rules` whether it still stands, `check` and `scores_file` that a file is what it
says.
"""
