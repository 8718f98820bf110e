"""Stored results as answers, each with its text.

`selection` says what is asked, `ranking` ranks and `leaderboard` makes a table of it, `duels`
compares, `matrix` many at once, `threshold` gives the one to ship, `plan` says how many pairs a
comparison will need; `groups` and `discard` have the conditions, on `pooled` scores, `costs` what
models cost; `verification` derives published figures again, `card` says all of a model;
`housekeeping` keeps the folder in order, `archive` packs of it what is handed in;
`leaderboard_text`, `duels_text`, `duels_paper`, `groups_text` and `cost_text` print the large ones.
"""
