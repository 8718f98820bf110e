"""Stored results as answers, each with its text.

`selection` says what is asked, `ranking` ranks and `leaderboard` makes a table of it, `duels`
compares, `threshold` gives the one to ship, `plan` says how many pairs a comparison will need;
`groups` and `discard` have the conditions, on `pooled` scores, `costs` and `leaderboard_cost` what
models cost; `leaderboard_text`, `duels_text`, `threshold_text`, `groups_text`, `discard_text` and
`cost_text` print.
"""
