"""Triplets: mined from embeddings of all images, chosen, ordered and fed.

`stage` is the part of a training that uses them, `samplers` decide which images an epoch has,
`mining` finds triplets.
"""
