"""Under which conditions a model fails: for which people, and on images of which quality.

`pairs` are scored pairs as these questions take them, `table` reads what a CSV says of images or
people, `group_measures` has the measures of fairness, `groups` the error rates of groups beside
what equal groups would show by `chance`, `discard` how errors fall with the worst images left out.
"""
