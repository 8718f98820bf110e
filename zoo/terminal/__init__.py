"""The terminal: what commands say and write.

`options` is what several commands take, `words` and `progress` talk to people, `table` and `blocks`
line up what is found, `bin_table` and `set_table` the figures of bins and of template sets,
`sparkline` draws them, `escaped` is text in markdown and LaTeX, `output` writes files that a user
names, `streams` sets the terminal up, `settings` reads zoo.toml.
"""
