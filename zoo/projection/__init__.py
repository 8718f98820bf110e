"""Embeddings as a picture: which images, where they come to lie, the page and the exports.

`pictures` says which images, `run` does the rest.
"""
