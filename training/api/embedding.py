"""The embedding model inside a network that is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from evaluator.errors import InputError
from evaluator.models.keras.head import output_of, part_until
from evaluator.models.keras.load import checked_part
from evaluator.models.options import LoadOptions


def embedding_part(model: keras.Model, layer: str | None = None) -> keras.Model:
    """The part of a model from its image to what the layer (or model inside it) of that name gives,
    (batch, size), by default the one called ``embedding``. It shares the weights.

    Raises InputError where there is no such layer, where it gives no vector, or needs more than
    the image.
    """
    _check_functional(model)
    name = layer or "embedding"
    place = output_of(model, name)
    if place is None:
        there = ", ".join(_vectors(model)) or "none"
        raise InputError(
            f"{model.name}: no layer is named {name!r}; layers that give a vector: {there}; name "
            "the embedding's with embedding=, or give embedding= a keras.Model"
        )
    images = [tensor for tensor in model.inputs if len(tensor.shape) == 4]
    part = part_until(Path(model.name), model, images or model.inputs, place)
    shape = tuple(part.outputs[0].shape)
    if len(shape) != 2:
        raise InputError(
            f"{model.name}: layer {name!r} gives shape {shape}; expected one embedding an image, "
            "(batch, size)"
        )
    return part


def embedding_alone(model: keras.Model) -> tuple[keras.Model, tuple[str, ...]]:
    """An embedding model with the same weights and no compilation, without the head if it is seen
    to end in one, and notes. Raises InputError for a model that is none.
    """
    _check_functional(model)
    if len(model.outputs) > 1:
        return embedding_part(model), ()
    alone = keras.Model(model.inputs, model.outputs, name=model.name)
    return checked_part(Path(model.name), alone, LoadOptions())


def _check_functional(model: keras.Model) -> None:
    if not getattr(model, "inputs", None):
        raise InputError(
            f"{model.name}: the model declares no input (it is a subclass, or was never built), so "
            "that no part of it can be found; give embedding= a functional keras.Model that "
            "shares its layers"
        )


def _vectors(model: keras.Model) -> list[str]:
    """The layers, of models inside too, whose output is (batch, size)."""
    found = []
    for layer in model.layers:
        found += _vectors(layer) if getattr(layer, "layers", None) else []
        shape: tuple[Any, ...] = getattr(getattr(layer, "output", None), "shape", ())
        if len(shape) == 2:
            found.append(f"{layer.name!r} ({shape[-1]})")
    return found
