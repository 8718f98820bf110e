"""Entries of the zoo: models.yaml, what a name means, and files that are downloaded.

`registry` reads models.yaml, `lookup` finds models and bins by name, `download` fetches models: a
file, or one that is `packed` in a zip; `part` is what has come of it, `transfer` what a server
answers; `public_bins` are those that published figures are of.
"""
