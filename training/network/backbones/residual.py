"""Improved residual networks: ArcFace's and AdaFace's, whose layers have the names that PyTorch's
have in their files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from keras import layers

from training.network.backbones.blocks import conv, norm, prelu

WIDTHS = (64, 128, 256, 512)
# Blocks of each stage, by the depth that networks are called by.
DEPTHS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 14, 3), "100": (3, 13, 30, 3)}
)


@dataclass(frozen=True)
class Names:
    """What a family calls its layers in PyTorch, so that weights find their places.

    ``stem``, ``block`` and ``shortcut`` list their layers in the order of the forward pass; a
    block's are under ``place(stage, block, blocks)``, counted from 0.
    """

    stem: tuple[str, str, str]
    block: tuple[str, str, str, str, str, str]
    shortcut: tuple[str, str]
    place: Callable[[int, int, Sequence[int]], str]


ARCFACE = Names(
    stem=("conv1", "bn1", "prelu"),
    block=("bn1", "conv1", "bn2", "prelu", "conv2", "bn3"),
    shortcut=("downsample.0", "downsample.1"),
    place=lambda stage, block, _: f"layer{stage + 1}.{block}",
)
ADAFACE = Names(
    stem=("input_layer.0", "input_layer.1", "input_layer.2"),
    block=tuple(f"res_layer.{number}" for number in range(6)),  # type: ignore[arg-type]
    shortcut=("shortcut_layer.0", "shortcut_layer.1"),
    place=lambda stage, block, blocks: f"body.{sum(blocks[:stage]) + block}",
)


def residual_network(
    images: Any, blocks: Sequence[int], *, widths: Sequence[int] = WIDTHS, names: Names = ARCFACE
) -> Any:
    """The improved ResNet of ArcFace (Deng et al., CVPR 2019; Han et al., CVPR 2017).

    A block is batch norm, conv 3x3, batch norm, PReLU, conv 3x3 (with the stride), batch norm, plus
    its input; the stem does not halve the map, so 112 x 112 ends as 7 x 7. The first block of a
    stage brings its input to size by a 1x1 convolution and batch norm; AdaFace's (Kim et al., CVPR
    2022) takes every other position instead where the channels are as many.
    """
    first, second, third = names.stem
    x = prelu(norm(conv(images, widths[0], 3, name=first), second), third)
    for stage, (filters, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            place = names.place(stage, block, blocks)
            x = improved_block(x, filters, 2 if block == 0 else 1, place, names)
    return x


def improved_block(x: Any, filters: int, strides: int, place: str, names: Names) -> Any:
    """See `residual_network`."""
    if strides == 1:
        shortcut = x
    elif names is ADAFACE and x.shape[-1] == filters:
        shortcut = layers.MaxPooling2D(1, strides)(x)
    else:
        way, scale = (f"{place}.{each}" for each in names.shortcut)
        shortcut = norm(conv(x, filters, 1, strides=strides, name=way), scale)
    bn1, conv1, bn2, slope, conv2, bn3 = (f"{place}.{each}" for each in names.block)
    x = prelu(norm(conv(norm(x, bn1), filters, 3, name=conv1), bn2), slope)
    x = norm(conv(x, filters, 3, strides=strides, name=conv2), bn3)
    return layers.Add()([x, shortcut])


RESIDUAL: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        **{
            f"iresnet{depth}": partial(residual_network, blocks=blocks)
            for depth, blocks in DEPTHS.items()
        },
        # The papers count a layer more than the code that they came with.
        **{
            f"ir{depth.replace('100', '101')}": partial(
                residual_network, blocks=blocks, names=ADAFACE
            )
            for depth, blocks in DEPTHS.items()
        },
    }
)
