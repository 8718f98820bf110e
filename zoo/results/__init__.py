"""Stored results as answers, each with its text.

`selection` says what is asked, `ranking` ranks and `leaderboard` makes a table of it, `duels`
compares, `threshold` gives the one to ship, `plan` says how many pairs a comparison will need;
`costs` puts what models cost beside it; `leaderboard_text`, `cost_text`, `duels_text` and
`threshold_text` print.
"""
