"""Keras files, .h5 and .keras: what they say of themselves, and how they become an Embedder.

`load` has ``check`` and ``load``; `allowed` what a file may name, `layers` those of training code,
``build`` the network, ``head`` and ``embedding`` the part of it that is evaluated.
"""
