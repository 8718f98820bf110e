"""How much of a difference is noise: tests, resampling, and the comparison of two models.

`comparison` is two models over bins, `pair_tests` McNemar, DeLong and Holm, `separability` the same
in closed form for rankings; `resampling` and `threshold_luck` are what they use.
"""
