"""Keras models written as Keras 2 and Keras 3 write them: a config, and weights that fit it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from fuzz.keras_layers import Config, Layer, Shape, Words

INPUT: Shape = (8, 8, 3)


@dataclass(frozen=True)
class Network:
    """A config and the weights of its layers; ``version`` of Keras, which tells the format."""

    config: Config
    weights: tuple[tuple[str, tuple[Shape, ...]], ...]
    version: int


def network(words: Words, layers: Sequence[Layer], *, functional: bool) -> Network:
    """Layers behind one another, as a Sequential or a Functional."""
    config = _functional(words, layers) if functional else _sequential(words, layers)
    by_path = words.version == 3
    weights = _by_path(layers, "layers") if by_path else _by_name(layers)
    return Network(config, tuple(weights), words.version)


def h5_file(config: Config | str, weights: Sequence[tuple[str, tuple[Shape, ...]]]) -> bytes:
    """An .h5 as Keras 2 writes it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        group = file.create_group("model_weights")
        group.attrs["keras_version"] = "2.15.0"
        group.attrs["backend"] = "tensorflow"
        _names(group, "layer_names", [name for name, _ in weights])
        for name, shapes in weights:
            inner = group.create_group(name)
            own = [f"{name}/weight_{i}:0" for i in range(len(shapes))]
            _names(inner, "weight_names", own)
            for path, shape in zip(own, shapes, strict=True):
                inner.create_dataset(path, data=_values(shape))
    return buffer.getvalue()


def keras_file(config: Config | str, weights: Sequence[tuple[str, tuple[Shape, ...]]]) -> bytes:
    """A .keras as Keras 3 writes it."""
    stored = io.BytesIO()
    with h5py.File(stored, "w") as file:
        for path, shapes in weights:
            for i, shape in enumerate(shapes):
                file.create_dataset(f"{path}/vars/{i}", data=_values(shape))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.10.0", "date_saved": "2026"}')
        text = config if isinstance(config, str) else json.dumps(config)
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", stored.getvalue())
    return buffer.getvalue()


def _names(group: h5py.Group, key: str, names: list[str]) -> None:
    group.attrs[key] = np.array([name.encode() for name in names], dtype=bytes) if names else []


def _values(shape: Shape) -> Any:
    size = int(np.prod(shape, dtype=int))
    return (np.arange(size, dtype=np.float32).reshape(shape) % 7 - 3) / 10


# ---- Configs -------------------------------------------------------------------------------------


def _sequential(words: Words, layers: Sequence[Layer]) -> Config:
    described = [_input(words), *(_layer(words, layer, i) for i, layer in enumerate(layers))]
    config = {"name": "sequential", "layers": described}
    return words.named("keras", "Sequential", config, registered="Sequential")


def _functional(words: Words, layers: Sequence[Layer]) -> Config:
    described = [{**_input(words), "name": "image", "inbound_nodes": []}]
    before, shape = "image", INPUT
    for i, layer in enumerate(layers):
        each = _layer(words, layer, i)
        name = each["config"]["name"]
        described.append(
            {**each, "name": name, "inbound_nodes": [_call(words, layer, before, shape)]}
        )
        before, shape = name, layer.output
    config = {
        "name": "functional",
        "trainable": True,
        "layers": described,
        "input_layers": [["image", 0, 0]],
        "output_layers": [[before, 0, 0]],
    }
    return words.named("keras.src.models.functional", "Functional", config, registered="Functional")


def _call(words: Words, layer: Layer, before: str, shape: Shape) -> Any:
    if words.version == 3:
        tensor = {
            "class_name": "__keras_tensor__",
            "config": {
                "shape": [None, *shape],
                "dtype": "float32",
                "keras_history": [before, 0, 0],
            },
        }
        return {"args": [tensor, *layer.args], "kwargs": {}}
    if layer.kind == "TFOpLambda":
        second = dict(zip(("axis" if layer.args == (1,) else "y",), layer.args, strict=False))
        return [before, 0, 0, second]
    return [[before, 0, 0, {}]]


def _input(words: Words) -> Config:
    key = "batch_shape" if words.version == 3 else "batch_input_shape"
    config = {key: [None, *INPUT], "dtype": "float32", "sparse": False, "name": "image"}
    return words.named("keras.layers", "InputLayer", config)


def _layer(words: Words, layer: Layer, number: int) -> Config:
    name = f"{_snake(layer.kind)}_{number}"
    config = {"name": name, **layer.config}
    if layer.inner:
        inner = [_layer(words, each, i) for i, each in enumerate(layer.inner)]
        config = {"name": name, "layers": inner}
    elif not layer.module.startswith("keras.src.ops"):
        config = {"name": name, "trainable": True, "dtype": words.dtype(), **layer.config}
    registered = layer.kind if layer.module != "keras.layers" else None
    return words.named(layer.module, layer.kind, config, registered=registered)


# ---- Where weights are stored --------------------------------------------------------------------


def _by_name(layers: Sequence[Layer]) -> Iterator[tuple[str, tuple[Shape, ...]]]:
    for i, layer in enumerate(layers):
        yield f"{_snake(layer.kind)}_{i}", tuple(_flat(layer))


def _flat(layer: Layer) -> Iterator[Shape]:
    """A layer's weights as an .h5 lists them: of a nested model, those that are trained first."""
    if not layer.inner:
        yield from layer.weights
        return
    leaves = list(_leaves(layer))
    for each in leaves:
        yield from each.weights[: _trained(each)]
    for each in leaves:
        yield from each.weights[_trained(each) :]


def _leaves(layer: Layer) -> Iterator[Layer]:
    for each in layer.inner:
        yield from _leaves(each) if each.inner else (each,)


def _trained(layer: Layer) -> int:
    return 2 if layer.kind == "BatchNormalization" else len(layer.weights)


def _by_path(layers: Sequence[Layer], folder: str) -> Iterator[tuple[str, tuple[Shape, ...]]]:
    counts: dict[str, int] = {}
    for layer in layers:
        name = _snake(layer.kind)
        count = counts.get(name, 0)
        counts[name] = count + 1
        path = f"{folder}/{name}{f'_{count}' if count else ''}"
        if layer.inner:
            yield from _by_path(layer.inner, f"{path}/layers")
        elif layer.weights:
            yield path, layer.weights


def _snake(name: str) -> str:
    """As Keras spells it: 'conv2d' of 'Conv2D'."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
