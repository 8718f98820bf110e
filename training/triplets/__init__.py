"""Triplets: mined from embeddings of all images, chosen, ordered and fed.

`stage` is the part of a training that uses them, `mining` finds them.
"""
