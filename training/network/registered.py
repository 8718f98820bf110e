"""Importing this makes every layer, loss, metric and optimizer of ours known to Keras, under the
names that model files have: Keras imports no foreign module while it loads.
"""

from training.network import (  # noqa: F401
    centers,
    distillation,
    heads,
    losses,
    margin_head,
    mixup,
    optimizers,
    triplet_losses,
)
