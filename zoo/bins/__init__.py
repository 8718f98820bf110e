"""Bins and template sets looked into; bins made from faces, fetched and converted.

`inspection`, `template_sets`, `sheet` (a page of images), `make` and `convert` are the commands'
sides.
"""
