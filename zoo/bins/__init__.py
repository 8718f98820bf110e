"""Bins and template sets looked into; bins made from faces, fetched, converted and spoilt.

`inspection`, `placement` (of faces), `template_sets`, `sheet` (a page of images), `make` with its
`request`, `convert`, `corrupt` and its `corruptions` are the commands' sides.
"""
