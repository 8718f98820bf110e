"""Bins looked into, made from faces, fetched, converted and spoilt.

`inspection`, `sheet` (a page of images), `make`, `convert`, `corrupt` and its `corruptions` are the
commands' sides.
"""
