"""Entries of the zoo: models.yaml, what a name means, and files that are downloaded.

`registry` reads models.yaml, `lookup` finds models and bins by name, `download` fetches models,
`part` is what has come of one, `transfer` what a server answers; `public_bins` are those that
published figures are of.
"""
