"""PyTorch's weights in Keras networks: those of arcface_torch, AdaFace and CVLface.

The network is read off the weights: which family's names they have, how many blocks a stage has
and how wide it is, and how large the images were. Layers have PyTorch's names
(`backbones.residual`), so that each weight has one place; what has none, or is left without, is
an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, cause_of
from evaluator.models.torch_weights.read import read_weights
from training.network.backbones.pooling import flat
from training.network.backbones.residual import ADAFACE, ARCFACE, Names, residual_network

Weights = Mapping[str, NDArray[Any]]

# More than any published network has; a file may name more than can be built.
_MOST_BLOCKS, _MOST_STAGES = 120, 6
_LARGEST_SIDE = 512


@dataclass(frozen=True)
class Family:
    """Networks of one code: the layers' names, the head's, and what images they were trained on.

    ``head`` are batch norm, dense layer and last batch norm. ``sign`` is a weight that no other
    family has.
    """

    name: str
    names: Names
    head: tuple[str, str, str]
    sign: str
    channels: str


ARCFACE_TORCH = Family(
    "arcface_torch", ARCFACE, ("bn2", "fc", "features"), "layer1.0.bn1.weight", "rgb"
)
ADAFACE_IR = Family(
    "AdaFace",
    ADAFACE,
    ("output_layer.0", "output_layer.3", "output_layer.4"),
    "body.0.res_layer.0.weight",
    "bgr",
)


@dataclass(frozen=True)
class Converted:
    """A Keras model of a file's weights, and the input it wants: insightface's range, and
    ``channels``. ``others`` are names in the file that belong to no part of the network.
    """

    model: keras.Model
    family: str
    channels: str
    others: tuple[str, ...]


def model_of_weights(path: Path) -> Converted:
    """The network that a .pth, .pt, .ckpt or .safetensors file has the weights of, up to the
    embedding: images (batch, side, side, 3) to float32 (batch, embedding size).

    Raises:
        InputError: a network that is not known, weights that do not fit it, each by name; and what
            `read_weights` raises.
    """
    weights = read_weights(path)
    family, prefix = _family(path, weights)
    own = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    # Counters of batch norms, which nothing is computed with.
    own = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    others = tuple(name for name in weights if not name.startswith(prefix))
    model = _network(path, family, own)
    _fill(path, model, family, own)
    # CVLface's networks, kept under `net`, are given RGB, and turn it themselves where they must.
    channels = "rgb" if prefix.endswith("net.") else family.channels
    return Converted(model, family.name, channels, others)


def _family(path: Path, weights: Weights) -> tuple[Family, str]:
    """Whose network it is, and what stands before its names (``state_dict.model.``)."""
    found = [
        (family, name.removesuffix(family.sign))
        for family in (ARCFACE_TORCH, ADAFACE_IR)
        for name in weights
        if f".{name}".endswith(f".{family.sign}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(repr(prefix[:40]) for _, prefix in found[:3])
        raise InputError(
            f"{path}: holds {len(found)} networks, under {places}; save the state dict of one"
        )
    shown = _some(list(weights)) or "no tensor"
    raise InputError(
        f"{path}: weights of a network that is not known: expected arcface_torch's iresnet or "
        f"AdaFace's or CVLface's IR, found {shown}; export it to ONNX where it was trained"
    )


def _network(path: Path, family: Family, weights: Weights) -> keras.Model:
    """The network of these weights' names and shapes, not yet filled."""
    filters = _filters(path, family, weights)
    blocks = [len(stage) for stage in filters]
    widths = [stage[0] for stage in filters]
    dense = weights.get(f"{family.head[1]}.weight")
    if dense is None or dense.ndim != 2:
        raise InputError(f"{path}: expected a matrix {family.head[1]}.weight, the last dense layer")
    side = math.isqrt(dense.shape[1] // widths[-1]) << len(blocks)
    if widths[-1] * (side >> len(blocks)) ** 2 != dense.shape[1] or not 0 < side <= _LARGEST_SIDE:
        raise InputError(
            f"{path}: expected {family.head[1]}.weight of a square map of {widths[-1]} channels, "
            f"found {dense.shape}"
        )
    images = keras.Input((side, side, 3), name="images")
    features = residual_network(images, blocks, widths=widths, names=family.names)
    return keras.Model(images, flat(features, dense.shape[0], 0.0), name=family.name.lower())


def _filters(path: Path, family: Family, weights: Weights) -> list[list[int]]:
    """Channels of each block of each stage, as its second convolution has them."""
    conv = re.escape(family.names.block[4])
    block = re.compile(rf"(?:layer(\d{{1,4}})|body)\.(\d{{1,4}})\.{conv}\.weight")
    found: dict[tuple[int, int], int] = {}
    for name, value in weights.items():
        if (match := block.fullmatch(name)) and value.ndim == 4 and value.shape[0]:
            found[int(match[1] or 1), int(match[2])] = value.shape[0]
    stages: list[list[int]] = []
    last = (0, 0)
    for (stage, _), width in sorted(found.items()):
        # AdaFace counts blocks through all stages, each of which is wider than the one before.
        if not stages or stage != last[0] or (family is ADAFACE_IR and width != last[1]):
            stages.append([])
        stages[-1].append(width)
        last = (stage, width)
    if not 0 < len(found) <= _MOST_BLOCKS or len(stages) > _MOST_STAGES:
        raise InputError(
            f"{path}: expected a residual network of 1 to {_MOST_BLOCKS} blocks in up to "
            f"{_MOST_STAGES} stages, found {len(found)} in {len(stages)}"
        )
    return stages


# ---- Weight by weight ----------------------------------------------------------------------------


def _fill(path: Path, model: keras.Model, family: Family, weights: Weights) -> None:
    """Puts each weight in its place. Raises InputError with what is missing, left over or of
    another shape.
    """
    layers = [layer for layer in model.layers if layer.weights]
    names = [layer.name for layer in layers[:-3]] + list(family.head)
    last = family.head[2]
    left = dict(weights)
    gain = left.pop(f"{last}.weight", None)
    if family is ADAFACE_IR:  # whose last batch norm shifts nothing
        left.setdefault(f"{last}.bias", np.zeros(layers[-1].beta.shape, np.float32))
    missing, wrong = [], []
    for layer, name in zip(layers, names, strict=True):
        for variable, part in _parts(layer):
            value = left.pop(f"{name}.{part}", None)
            turned = None if value is None else _turned(value, layer, model)
            if value is None:
                missing.append(f"{name}.{part}")
            elif turned is None or turned.shape != tuple(variable.shape):
                wrong.append(f"{name}.{part} {value.shape}")
            else:
                variable.assign(turned)
    lists = {"missing": missing, "unexpected": list(left), "of another shape": wrong}
    if any(lists.values()):
        said = "; ".join(f"{what}: {_some(each)}" for what, each in lists.items() if each)
        raise InputError(
            f"{path}: not the weights of the {family.name} network that it names; {said}"
        )
    if gain is not None:
        _absorb(path, layers[-1], gain)


def _parts(layer: keras.Layer) -> list[tuple[Any, str]]:
    """A layer's variables, each with what PyTorch calls it."""
    if isinstance(layer, keras.layers.BatchNormalization):
        gain = [(layer.gamma, "weight")] if layer.scale else []
        seen = [(layer.moving_mean, "running_mean"), (layer.moving_variance, "running_var")]
        return [*gain, (layer.beta, "bias"), *seen]
    if isinstance(layer, keras.layers.PReLU):
        return [(layer.alpha, "weight")]
    return [(layer.kernel, "weight"), *([(layer.bias, "bias")] if layer.use_bias else [])]


def _turned(value: NDArray[Any], layer: keras.Layer, model: keras.Model) -> NDArray[Any] | None:
    """PyTorch's array in Keras's order of axes; None for one that cannot be so.

    Kernels (out, in, height, width) become (height, width, in, out). The columns of the dense
    matrix (out, in) count a map's channels first, its rows here last.
    """
    if value.dtype.kind != "f":
        return None
    if isinstance(layer, keras.layers.PReLU):
        return value.reshape(1, 1, -1)
    if isinstance(layer, keras.layers.Dense) and value.ndim == 2:
        flat_layer = next(each for each in model.layers if isinstance(each, keras.layers.Flatten))
        high, wide, channels = flat_layer.input.shape[1:]
        if value.shape[1] != high * wide * channels:
            return None
        maps = value.reshape(-1, channels, high, wide)
        return maps.transpose(2, 3, 1, 0).reshape(-1, len(value))
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def _absorb(path: Path, last: keras.layers.BatchNormalization, gain: NDArray[Any]) -> None:
    """Makes the gain of PyTorch's last batch norm part of the variance that it divides by."""
    if gain.shape != tuple(last.beta.shape) or not (gain > 0).all():
        raise InputError(f"{path}: expected gains above 0 in the last batch norm")
    if (gain != 1).any():
        spread = np.asarray(last.moving_variance) + last.epsilon
        last.moving_variance.assign(spread / gain.astype(np.float64) ** 2 - last.epsilon)


def _some(names: list[str]) -> str:
    shown = ", ".join(cause_of(name)[:60] for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
