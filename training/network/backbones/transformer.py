"""The smallest vision transformer of insightface."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

PATCH = 9
WIDTH = 256
DEPTH = 12
HEADS = 8
# At the last block; the first loses none.
DROP_PATH = 0.05


def vit_t(images: Any) -> Any:
    """ViT-T of arcface_torch (``vit_t_dp005_mask0``; Dosovitskiy et al., ICLR 2021), as a map of
    one position with 256 channels, behind which "e" makes its head.

    Patches of 9 x 9 pixels, each with a learned place, twelve blocks of 8 heads, all of them in a
    dense layer. Pixels beyond the last whole patch are not looked at: of 112 they are 4. In
    arcface_torch queries, keys and values have no bias, but what is made of them has; none has
    here.
    """
    x = patches(images)
    for block in range(DEPTH):
        x = transformer_block(x, DROP_PATH * block / (DEPTH - 1))
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    x = layers.Dense(WIDTH, use_bias=False, kernel_initializer=small())(layers.Flatten()(x))
    return layers.Reshape((1, 1, WIDTH))(x)


def patches(images: Any) -> Any:
    """Vectors (batch, patches, 256): a linear image of each patch plus its place's."""
    high, wide = (side // PATCH for side in images.shape[1:3])
    rest = [(0, side % PATCH) for side in images.shape[1:3]]
    x = layers.Cropping2D(rest)(images)
    x = layers.Reshape((high, PATCH, wide, PATCH, 3))(x)
    x = layers.Reshape((high * wide, PATCH * PATCH * 3))(layers.Permute((1, 3, 2, 4, 5))(x))
    # A bias of each place and channel is the place's own vector.
    return layers.EinsumDense(
        "bpi,io->bpo", (high * wide, WIDTH), bias_axes="po", bias_initializer=small()
    )(x)


def transformer_block(x: Any, drop: float) -> Any:
    """Attention and two dense layers, each behind layer norm and beside its input; in training
    either is left out of an image with probability ``drop`` (Huang et al., ECCV 2016).
    """
    seen = layers.LayerNormalization(epsilon=1e-5)(x)
    attention = layers.MultiHeadAttention(
        HEADS, WIDTH // HEADS, use_bias=False, kernel_initializer=small()
    )
    x = layers.Add()([x, dropped_path(attention(seen, seen), drop)])
    inner = layers.LayerNormalization(epsilon=1e-5)(x)
    inner = layers.ReLU(max_value=6)(layers.Dense(4 * WIDTH, kernel_initializer=small())(inner))
    inner = layers.Dense(WIDTH, kernel_initializer=small())(inner)
    return layers.Add()([x, dropped_path(inner, drop)])


def dropped_path(x: Any, drop: float) -> Any:
    """``x``, of some images zero in training."""
    return layers.Dropout(drop, noise_shape=(None, 1, 1))(x) if drop else x


def small() -> Any:
    """Initial weights as in arcface_torch."""
    return keras.initializers.TruncatedNormal(stddev=0.02)
