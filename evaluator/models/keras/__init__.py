"""Keras files, .h5 and .keras: what they say of themselves, and how they become an Embedder.

`load` has ``check`` and ``load``; `allowed` what a file may name, `training_layers` those of
training code, ``build`` the network, ``head`` where it ends in classes.
"""
