"""Stored results as answers, each with its text.

`selection` says what is asked, `ranking` ranks and `leaderboard` makes a table of it, `duels`
compares, `threshold` gives the one to ship, `plan` says how many pairs a comparison will need;
`groups` and `discard` have the conditions, on `pooled` scores; `leaderboard_text`, `duels_text`,
`threshold_text`, `groups_text` and `discard_text` print.
"""
