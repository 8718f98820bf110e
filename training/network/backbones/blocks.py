"""The layers that most backbones are made of, with PyTorch's padding and constants."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import keras
from keras import layers

# PyTorch's defaults (its momentum 0.1 is Keras's 0.9), with which the papers' figures were made.
NORM = MappingProxyType({"momentum": 0.9, "epsilon": 1e-5})


def conv(x: Any, filters: int, kernel: int, *, strides: int = 1, name: str | None = None) -> Any:
    """A convolution without bias, padded as in PyTorch: kernel // 2 on each side."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    return layers.Conv2D(
        filters, kernel, strides=strides, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def depthwise(x: Any, kernel: int, *, strides: int = 1) -> Any:
    """A depthwise convolution without bias, padded as `conv` pads."""
    x = layers.ZeroPadding2D(kernel // 2)(x)
    return layers.DepthwiseConv2D(
        kernel, strides=strides, use_bias=False, depthwise_initializer="he_normal"
    )(x)


def norm(x: Any, name: str | None = None) -> Any:
    """Batch norm."""
    return layers.BatchNormalization(**NORM, name=name)(x)


def prelu(x: Any, name: str | None = None) -> Any:
    """PReLU with one slope, at first 0.25, for each channel."""
    slope = keras.initializers.Constant(0.25)
    return layers.PReLU(alpha_initializer=slope, shared_axes=[1, 2], name=name)(x)
