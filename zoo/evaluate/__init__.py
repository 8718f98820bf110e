"""`zoo eval`: a request resolved, models loaded, bins measured, results stored.

`evaluation` runs a request, `request` is one, `outcome` shows what came of it, `loading` brings
models up, `external` takes scores and embeddings from elsewhere, `export` saves a network, `cost`
counts and times one, `jobs` puts many on processes and machines.
"""
