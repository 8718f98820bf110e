"""Small networks of depthwise convolutions."""

from __future__ import annotations

from typing import Any

from keras import layers

from training.network.backbones.blocks import conv, depthwise, norm, prelu


def mobilefacenet(images: Any) -> Any:
    """MobileFaceNet up to its last feature map (Chen et al., MobileFaceNets, 2018, table 1)."""
    x = prelu(norm(conv(images, 64, 3, strides=2)))
    x = prelu(norm(depthwise(x, 3)))
    for expansion, filters, blocks, strides in (
        (2, 64, 5, 2),
        (4, 128, 1, 2),
        (2, 128, 6, 1),
        (4, 128, 1, 2),
        (2, 128, 2, 1),
    ):
        for block in range(blocks):
            x = bottleneck(x, expansion, filters, strides if block == 0 else 1)
    return prelu(norm(conv(x, 512, 1)))


def bottleneck(x: Any, expansion: int, filters: int, strides: int) -> Any:
    """1x1 up to ``expansion`` times the input's channels, depthwise 3x3, linear 1x1 down."""
    inner = prelu(norm(conv(x, expansion * x.shape[-1], 1)))
    inner = prelu(norm(depthwise(inner, 3, strides=strides)))
    inner = norm(conv(inner, filters, 1))
    return layers.Add()([x, inner]) if inner.shape == x.shape else inner


# GhostNet's bottlenecks at width 1 (Han et al., CVPR 2020, table 1): kernel, channels between the
# two ghost modules, channels out, whether channels are weighed, stride.
_GHOSTS = (
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 512, 160, True, 1),
)
_GHOST_WIDTH = 1.3


def ghostfacenet(images: Any) -> Any:
    """GhostFaceNetV1-1.3-2 up to its last feature map (Alansari et al., IEEE Access 2023).

    GhostNet 1.3 times as wide, its stem of stride 2, PReLU for ReLU, and a 1x1 convolution to
    664 channels at its end; "gdc" follows.
    """
    x = prelu(norm(conv(images, _wide(16), 3, strides=2)))
    for kernel, between, filters, weighed, strides in _GHOSTS:
        x = ghost_bottleneck(x, kernel, _wide(between), _wide(filters), weighed, strides)
    return prelu(norm(conv(x, _wide(_GHOSTS[-1][1]), 1)))


def ghost_bottleneck(
    x: Any, kernel: int, between: int, filters: int, weighed: bool, strides: int
) -> Any:
    """Two ghost modules, between them the stride and channels weighed, plus the input."""
    inner = ghost_module(x, between, activated=True)
    if strides > 1:
        inner = norm(depthwise(inner, kernel, strides=strides))
    if weighed:
        inner = weighed_channels(inner)
    inner = ghost_module(inner, filters, activated=False)
    if strides > 1 or x.shape[-1] != filters:
        x = norm(conv(norm(depthwise(x, kernel, strides=strides)), filters, 1))
    return layers.Add()([x, inner])


def ghost_module(x: Any, filters: int, *, activated: bool) -> Any:
    """Half the filters by a 1x1 convolution, and of each a ghost by a depthwise 3x3."""
    real = norm(conv(x, filters // 2, 1))
    real = prelu(real) if activated else real
    ghosts = norm(depthwise(real, 3))
    return layers.Concatenate()([real, prelu(ghosts) if activated else ghosts])


def weighed_channels(x: Any) -> Any:
    """Squeeze and excitation (Hu et al., CVPR 2018): a quarter of the channels, hard sigmoid."""
    channels = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = prelu(layers.Conv2D(_by_four(channels / 4), 1)(weights))
    weights = layers.Conv2D(channels, 1, activation="hard_sigmoid")(weights)
    return layers.Multiply()([x, weights])


def _wide(filters: int) -> int:
    return _by_four(filters * _GHOST_WIDTH)


def _by_four(filters: float) -> int:
    """The nearest multiple of 4 that takes no more than a tenth away."""
    near = max(4, int(filters + 2) // 4 * 4)
    return near + 4 if near < 0.9 * filters else near
