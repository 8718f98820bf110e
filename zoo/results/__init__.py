"""Stored results as answers, each with its text.

`selection` says what is asked, `leaderboard` ranks, `duels` compares,
`threshold` gives the one to ship, `plan` says how many pairs a comparison will
need; `leaderboard_text` and `duels_text` print.
"""
