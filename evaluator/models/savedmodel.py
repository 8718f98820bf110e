"""TensorFlow SavedModels: folders written by Keras 2, by Keras 3's export, or from a tf.Module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.inputs import Embedder
from evaluator.models import LoadOptions
from evaluator.models.graph import compiled_forward
from evaluator.models.runtime import import_keras
from evaluator.models.saved_model_graph import SavedModelGraph, Signature, read_graph
from evaluator.models.shapes import (
    check_embedding_shape,
    check_image_shape,
    chosen_output,
    input_spec,
)

# In this order: TensorFlow's own name, then the one of Keras 3's export.
_SIGNATURE_NAMES = ("serving_default", "serve")


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError for what the graph shows to be unusable or unsafe; runs none of it."""
    graph = read_graph(path)
    if graph.unsafe and not options.trusted:
        shown = ", ".join(graph.unsafe[:5])
        more = len(graph.unsafe) - 5
        raise ModelError(
            f"{path}: not loaded, because its graph could reach beyond its own numbers: {shown}"
            f"{f' and {more} more' if more > 0 else ''}. "
            "If you know who made it, repeat with --trust"
        )
    _, signature = _signature(path, graph)
    shape = next(iter(signature.inputs.values())).shape
    if shape is not None:
        check_image_shape(path, shape)
    chosen_output(path, _output_shapes(signature), options.output)


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a SavedModel. Raises ModelError."""
    check(path, options)
    name, signature = _signature(path, read_graph(path))
    output, output_notes = chosen_output(path, _output_shapes(signature), options.output)
    import_keras()  # TensorFlow, without its start-up notes
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        function = loaded.signatures[name]
    except (tf.errors.OpError, OSError, ValueError, KeyError, RuntimeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ModelError(f"{path}: cannot be loaded: {lines[0][:200]}") from None
    image_name, image = next(iter(function.structured_input_signature[1].items()))
    if image.shape.rank is None:
        raise ModelError(
            f"{path}: the model does not say what images it takes; save it with an input_signature"
        )
    shape = tuple(image.shape.as_list())
    spec, input_notes = input_spec(path, shape, options)
    found = function.structured_outputs[output].shape
    if found.rank is not None:
        check_embedding_shape(path, tuple(found.as_list()))

    def call(batch: Any, _keep_alive: Any = loaded) -> Any:
        if image.dtype.is_integer:  # pixels as they are; a resized one lies between two levels
            batch = tf.clip_by_value(tf.round(batch), image.dtype.min, image.dtype.max)
        return function(**{image_name: tf.cast(batch, image.dtype)})[output]

    return Embedder(
        forward=compiled_forward(path, call, (shape[0], *spec.batch_shape), options=options),
        input=spec,
        format="savedmodel",
        fixed_batch=shape[0],
        notes=(*output_notes, *input_notes),
    )


def _signature(path: Path, graph: SavedModelGraph) -> tuple[str, Signature]:
    """The signature that takes an image."""
    names = [name for name in _SIGNATURE_NAMES if name in graph.signatures]
    if not names and len(graph.signatures) == 1:
        names = list(graph.signatures)
    if not names:
        there = ", ".join(graph.signatures) or "none"
        raise ModelError(
            f"{path}: it has no signature 'serving_default' (there is: {there}); save it with "
            "tf.saved_model.save(model, folder, signatures=...)"
        )
    signature = graph.signatures[names[0]]
    if len(signature.inputs) != 1:
        raise ModelError(
            f"{path}: the model takes {len(signature.inputs)} inputs; expected one image"
        )
    if not signature.outputs:
        raise ModelError(f"{path}: the model has no outputs")
    return names[0], signature


def _output_shapes(signature: Signature) -> dict[str, tuple[int | None, ...]]:
    return {name: info.shape or () for name, info in sorted(signature.outputs.items())}
