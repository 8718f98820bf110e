"""Networks for a few hundred faces, and the founding triplet network."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from training.network.backbones.blocks import conv, norm, prelu


def conv4(images: Any) -> Any:
    """Four 3x3 convolutions of stride 2, 32 to 256 channels: for a few hundred faces."""
    x = images
    for filters in (32, 64, 128, 256):
        x = prelu(norm(conv(x, filters, 3, strides=2)))
    return x


def mlp(images: Any) -> Any:
    """256 units with ReLU on all pixels: the founding triplet network, with its initial weights."""
    start = keras.initializers.RandomUniform(-0.1, 0.1)
    return layers.Dense(256, "relu", kernel_initializer=start)(layers.Flatten()(images))
