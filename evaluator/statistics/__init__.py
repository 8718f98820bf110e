"""How much of a difference is noise: the test of every two models, and its words.

`duels` compares models, each a side as `sides` has it, two by two on the bins they share,
`comparison` two lists of scores. Beneath both and a leaderboard's ranks lies `differences`, every
two of any number of models in closed form, which `shared_pairs` asks for the pairs that both scored
and `ranks` for places; `discordance` is its test, `tails` its distributions, `verdicts` has the
words. `pair_tests` has McNemar and Holm; `threshold_luck` is what thresholds of folds add.
`planning` says how many pairs a question takes, before there are any.
"""
