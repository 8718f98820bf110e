"""`zoo eval`: a request resolved, models loaded, bins measured, results stored.

`evaluation` runs a request, `request` is one, `loading` brings models up, `external` and
`external_files` take scores and embeddings from elsewhere, `export` saves a network.
"""
