"""The terminal: what commands say and write.

`words` and `progress` talk to people, `table` and `columns` line up figures, `output` writes files
that a user names, `streams` sets the terminal up.
"""
