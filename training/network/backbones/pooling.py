"""Ways from a feature map to the embedding: `build_embedding_model` says what each is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import layers

from training.network.backbones.blocks import NORM, norm


def average(features: Any, size: int, dropout: float) -> Any:
    """ "gap" of `build_embedding_model`."""
    x = layers.GlobalAveragePooling2D()(features)
    # The embedding is float32 under every precision: cosines near 1 need the digits.
    return layers.Dense(size, name="embedding", dtype="float32")(dropped(x, dropout))


def depthwise(features: Any, size: int, dropout: float) -> Any:
    """ "gdc" of `build_embedding_model`."""
    x = norm(layers.DepthwiseConv2D(tuple(features.shape[1:3]), use_bias=False)(features))
    x = layers.Dense(size, use_bias=False, dtype="float32")(dropped(layers.Flatten()(x), dropout))
    return layers.BatchNormalization(**NORM, name="embedding", dtype="float32")(x)


def flat(features: Any, size: int, dropout: float) -> Any:
    """ "e" of `build_embedding_model`."""
    x = layers.Flatten()(dropped(norm(features), dropout))
    x = layers.Dense(size, dtype="float32")(x)
    return layers.BatchNormalization(**NORM, scale=False, name="embedding", dtype="float32")(x)


def dense(features: Any, size: int, dropout: float) -> Any:
    """ "none" of `build_embedding_model`."""
    start = keras.initializers.RandomUniform(-0.1, 0.1)
    last = layers.Dense(size, "relu", kernel_initializer=start, name="embedding", dtype="float32")
    return last(dropped(features, dropout))


def dropped(x: Any, dropout: float) -> Any:
    """``x`` after dropout; no layer where there is none."""
    return layers.Dropout(dropout)(x) if dropout else x


POOLINGS: Mapping[str, Callable[[Any, int, float], Any]] = MappingProxyType(
    {"gap": average, "gdc": depthwise, "e": flat, "none": dense}
)
