"""Batches: images of a source decoded, augmented and shuffled, as `fit` takes them.

`pipeline` makes them, `feed` hands them to a framework.
"""
