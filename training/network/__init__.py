"""The network in training: backbones, heads, losses, centers, put together from a recipe.

`assembly` puts together what `backbones`, `heads`, `losses`, `triplet_losses`, `centers` and
`start` (weights to begin with) have.
"""
