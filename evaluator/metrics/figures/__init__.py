"""One file a figure: how it is computed, stored, printed, ranked, tested and bounded.

`all_figures` beside this folder has the list of them. `auc` has the area of a sweep with its
standard error, too, `accuracy` the interval of one at any threshold that is best of some, and
`tar_at_far` the type that `Figures` has. `search` has the figures of 1:N, which are no part of
`Figures`.
"""
