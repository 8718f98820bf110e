"""Figures of one list of scores: one sort, one sweep, every figure read off it.

`all_figures` has them all, `sweep` and `protocols` each, `intervals` of proportions, `deployment`
the threshold to ship, `text` how figures are printed.
"""
