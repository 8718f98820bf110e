"""Frozen TensorFlow graphs: old FaceNet's, and what TensorFlow's freezing tools write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.foreign import foreign_errors
from evaluator.models.frozen.graph import FrozenGraph, embedding_graph, read_graph
from evaluator.models.graph import cast_batch, check_graph_tensors, compiled_forward, pruned
from evaluator.models.graph_head import Place, class_head, unnamed_dense
from evaluator.models.graph_macs import graph_counts
from evaluator.models.options import NATIVE, LoadOptions
from evaluator.models.runtime import gpus, import_keras
from evaluator.models.shapes import (
    Shape,
    check_embedding_shape,
    class_note,
    dense_note,
    input_spec,
    is_embedding,
    takes_whole_numbers,
)


def check(path: Path, options: LoadOptions) -> None:
    """Nothing that could be told without TensorFlow's parser. Raises OSError."""
    del options
    path.stat()


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a frozen graph. Raises ModelError, OSError.

    What of it would run is read first, by TensorFlow's own parser: it may compute, and nothing
    else.
    """
    import_keras()  # TensorFlow, without its start-up notes
    import tensorflow as tf

    found = embedding_graph(
        path, read_graph(path), options.output, trusted=options.trusted, profile=options.profile
    )
    shape = _image_shape(path, found, options)
    with foreign_errors(f"{path}: its input is of an unknown type"):
        kind = tf.dtypes.as_dtype(found.kind)
    integer = takes_whole_numbers(path, kind.name)
    spec, input_notes = input_spec(path, shape, options, integer=integer, fed=found.fed)
    with foreign_errors(f"{path}: cannot be loaded"):
        function = pruned(found.definition, f"{found.image}:0", f"{found.output}:0")
        check_graph_tensors(path, function.graph, shape[0])
        compute, notes = _computation(path, found, function, options)

        def call(batch: Any) -> Any:
            return compute(cast_batch(batch, kind))

        forward = compiled_forward(path, call, (shape[0], *spec.batch_shape), options=options)

    return Embedder(
        forward=forward,
        input=spec,
        format="frozen-graph",
        fixed_batch=shape[0],
        notes=(*found.notes, *notes, *input_notes),
        device="gpu" if gpus() and options.engine == NATIVE else "cpu",
        count=graph_counts(path, call, (shape[0] or 1, *spec.batch_shape)),
    )


def _image_shape(path: Path, found: FrozenGraph, options: LoadOptions) -> Shape:
    """The shape of the images, of which old graphs do not say anything."""
    if found.shape is not None:
        return found.shape
    if options.size is None:
        raise ModelError(
            f"{path}: its input {found.image!r} does not say what images it takes; give --size "
            "(FaceNet's are of 160)"
        )
    return (None, None, None, 3)


def _computation(
    path: Path, found: FrozenGraph, function: Any, options: LoadOptions
) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """What makes embeddings of images, and notes. Raises ModelError."""
    tensor = function.outputs[0]
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        raise ModelError(f"{path}: the model's output is {tensor.dtype.name}; expected numbers")
    place = Place(tensor, function.graph)
    told = options.output is not None or is_embedding([found.output.removesuffix("s")])
    head = None if told else class_head(path, place)
    notes: tuple[str, ...] = ()
    if head is not None:
        tensor, sign = head
        function = pruned(found.definition, f"{found.image}:0", tensor.name)
        tensor = function.outputs[0]
        notes = (class_note(sign, (None, tensor.shape[-1] if tensor.shape.rank else None)),)
    if tensor.shape.rank is not None:
        shape = tuple(tensor.shape.as_list())
        notes = (*notes, *check_embedding_shape(path, shape))
        if not told and head is None and (dense := unnamed_dense(place)) is not None:
            notes = (*notes, dense_note(dense, shape))
    return function, notes
