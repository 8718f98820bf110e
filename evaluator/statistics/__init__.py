"""How much of a difference is noise: tests, resampling, and the comparison of two models.

`duels` compares models two by two on the bins they share, `comparison` two lists of scores, and
`separability` all models of a ranking in closed form; `pair_tests` has McNemar, DeLong and Holm;
`planning`
says how many pairs a question takes, before there are any; `resampling` and `threshold_luck` are
what they use.
"""
