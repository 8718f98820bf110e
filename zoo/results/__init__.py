"""Stored results as answers, each with its text.

`selection` says what is asked, `leaderboard` ranks, `duels` compares,
`threshold` gives the one to ship; `leaderboard_text`, `duels_text` and `threshold_text` print.
"""
