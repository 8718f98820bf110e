"""Figures of one list of scores: one sort, one sweep, every figure read off it.

`all_figures` has them all, by name; `figures` is a file each, `figure` what such a file says.
`sweep` and `protocols` are what they share, `folds` those of lists without a protocol's order,
`sharing` how pairs hang together by images or people, `intervals` of proportions, `rates` at a
threshold, `deployment` the one to ship, `standing` what is the best so far,
`text` how numbers are printed.
"""
