"""The network in training: backbones, heads, losses, centers, put together from a recipe.

`assembly` puts together what `backbones`, `heads`, `losses`, `triplet_losses`, `mixup`, `centers`,
`margin_head`, `optimizers` and `start` (weights to begin with) have; `pytorch` makes networks of
PyTorch's weights; `registered` makes all known to Keras.
"""
