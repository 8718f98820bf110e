"""Sets of templates, each one or more images of a person: verified one to one, searched one to N.

`template_set` is the set itself, `layouts` reads it from a folder, `image_files` its images;
`searches` is what a model found in its galleries.
"""
