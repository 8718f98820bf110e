"""Sets of templates, each one or more images of a person: verified one to one, searched one to N.

`template_set` is the set itself, `searches` what a model found in its galleries.
"""
