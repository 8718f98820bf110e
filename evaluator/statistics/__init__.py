"""How much of a difference is noise: tests, resampling, and the comparison of two models.

`duels` compares models two by two on the bins they share, `comparison` two lists of scores, and
`separability` all models of a ranking in closed form, from which `ranks` gives each its places;
`pair_tests` has McNemar, DeLong and Holm;
`resampling` and `threshold_luck` are what they use.
"""
