"""The part of a Keras network that goes from one image to one embedding."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.models.keras.head import Head, gives_classes, head_of
from evaluator.models.keras.trail import (
    Place,
    flat,
    output_of,
    part_until,
    places_before,
    settled,
)
from evaluator.models.options import LoadOptions
from evaluator.models.shapes import (
    EMBEDDING,
    check_embedding_shape,
    check_one_input,
    chosen_output,
    dense_note,
)


def checked_part(path: Path, model: Any, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The part from one image to one embedding, and notes. Raises ModelError."""
    part, notes = _embedding_part(path, model, options)
    check_one_input(path, [tuple(tensor.shape) for tensor in part.inputs])
    check_embedding_shape(path, tuple(part.outputs[0].shape))
    return part, notes


def _embedding_part(path: Path, model: Any, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The part of the model that ends in the embedding, and a note where that is a part."""
    outputs = _outputs(model)
    wanted = options.output
    images = [tensor for tensor in model.inputs if len(tensor.shape) == 4]
    several = len(model.inputs) > 1 and len(images) == 1
    if wanted is not None:
        if wanted not in outputs and (place := output_of(model.layers, wanted)) is not None:
            # Not an output of the whole, but a layer of it: the network up to there.
            return part_until(path, model, images or model.inputs, place), ()
    elif several and (named := _embedding_layer(model)) is not None:
        # Training code hands the labels to its head as a second input.
        part = part_until(path, model, images, named)
        return part, (f"of a model with {len(model.inputs)} inputs, its layer 'embedding' is used",)
    elif len(outputs) == 1 and (found := _before_concatenated_logits(model)) is not None:
        note = (
            "a training checkpoint (embedding and logits concatenated): "
            f"the embedding, its first {found.tensor.shape[-1]} values, is used"
        )
        return part_until(path, model, images or model.inputs, found), (note,)
    elif len(outputs) == 1 and (head := head_of(model.outputs[0])) is not None:
        return _before_head(path, model, images or model.inputs, head)
    return _chosen(path, model, outputs, wanted)


def _chosen(
    path: Path, model: Any, outputs: dict[str, Any], wanted: str | None
) -> tuple[Any, tuple[str, ...]]:
    """The model up to one of its outputs, and a note where that needs one."""
    shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
    name, notes = chosen_output(path, shapes, wanted)
    if len(outputs) == 1 and wanted is None:
        notes = (*notes, *_last_dense_note(model))
    if len(outputs) == 1 and hasattr(model.output, "shape"):
        return model, notes
    return part_until(path, model, model.inputs, settled(outputs[name])), notes


def _last_dense_note(model: Any) -> tuple[str, ...]:
    """What to know of a network that ends in a dense layer without a telling name."""
    last = settled(model.outputs[0])
    if last.is_input:
        return ()
    layer = last.layer
    if type(layer).__name__ == "Concatenate" and len(places_before(last)) == 2:
        return (
            f"its last layer, {layer.name!r}, joins two outputs, which are the embedding; "
            "if one gives classes, name the layer of the other with --output",
        )
    if type(layer).__name__ != "Dense" or layer.name == EMBEDDING:
        return ()
    return (dense_note(layer.name, layer.units),)


def _embedding_layer(model: Any) -> Place | None:
    """What the layer named embedding gives; None if the model itself has none."""
    own = [layer for layer in model.layers if layer.name == EMBEDDING]
    return output_of(own, EMBEDDING)


def _outputs(model: Any) -> dict[str, Any]:
    """Output name -> tensor: the keys of what the model returns, joined by a slash where it is
    nested; the names of its layers where it returns a list.
    """
    whole = model.output
    nested = isinstance(whole, list | tuple) and len(whole) != len(model.outputs)
    if isinstance(whole, dict) or nested:
        return dict(_named(whole))
    names = list(getattr(model, "output_names", None) or [])
    if len(set(names)) != len(model.outputs):
        names = [f"output_{i}" for i in range(len(model.outputs))]
    return dict(zip(names, model.outputs, strict=True))


def _named(structure: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(structure, dict | list | tuple):
        parts = structure.items() if isinstance(structure, dict) else enumerate(structure)
        for key, each in parts:
            yield from _named(each, f"{name}/{key}" if name else str(key))
    else:
        yield name, structure


def _before_head(path: Path, model: Any, images: Any, head: Head) -> tuple[Any, tuple[str, ...]]:
    """The network up to what goes into its classes, and a note. Raises ModelError where that is no
    vector that the image alone decides.
    """
    layer = head.layer.name
    package = importlib.import_module(type(model).__module__.split(".")[0])
    found, refused = None, None
    for place in head.places:
        if len(flat(package, place.tensor).shape) != 2 or place.is_input:
            continue
        try:
            found = part_until(path, model, images, place)
            break
        except ModelError as error:
            refused = error
    if found is None:
        if refused is not None:
            raise refused
        raise ModelError(
            f"{path}: it ends in classes (layer {layer!r}: {head.sign}), and what goes into them "
            f"is no vector; name the layer that gives the embedding with --output, or {layer!r} "
            "for the classes"
        )
    size, classes = found.outputs[0].shape[-1], model.outputs[0].shape[-1]
    note = (
        f"a whole training model, which ends in {classes} classes (layer {layer!r}: {head.sign}): "
        f"what goes into them, {size} values, is the embedding; --output {layer} gives the classes"
    )
    return found, (note,)


def _before_concatenated_logits(model: Any) -> Place | None:
    """The embedding, if the model ends in concatenate([embedding, head(embedding)])."""
    last = settled(model.outputs[0])
    if type(last.layer).__name__ != "Concatenate":
        return None
    before = places_before(last)
    if len(before) != 2 or before[1].is_input:
        return None
    embedding, logits = before
    source = places_before(logits)
    if len(source) != 1 or source[0].tensor is not embedding.tensor:
        return None
    return embedding if gives_classes(logits.layer, embedding.tensor.shape[-1]) else None
