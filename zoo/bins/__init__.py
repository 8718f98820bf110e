"""Bins looked into, made from faces, fetched and converted.

`inspection`, `sheet` (a page of images), `make` and `convert` are the commands' sides.
"""
