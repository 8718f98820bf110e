"""The Embedder of a TensorFlow function, of SavedModels and frozen graphs alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.models.foreign import foreign_errors
from evaluator.models.graph import (
    cast_batch,
    check_graph_tensors,
    compiled_forward,
    frozen_function,
    pruned,
)
from evaluator.models.graph_head import Place, class_head, unnamed_dense
from evaluator.models.graph_macs import graph_counts
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import device
from evaluator.models.shapes import (
    Shape,
    check_embedding_shape,
    class_note,
    class_refusal,
    dense_note,
)


@dataclass(frozen=True)
class GraphModel:
    """What TensorFlow has loaded: ``call``, from images of a ``shape`` and a ``kind`` of numbers to
    embeddings, is the output of a concrete ``function`` with the place ``index`` among its outputs.

    ``named`` says that this is the embedding by its name, ``inner`` whether ``--output`` can name
    a tensor inside.
    """

    function: Any
    index: int
    call: Callable[[Any], Any]
    shape: Shape
    kind: Any
    named: bool
    inner: bool


def graph_embedder(
    path: Path,
    model: GraphModel,
    image: tuple[InputSpec, tuple[str, ...]],
    options: LoadOptions,
    *,
    model_format: str,
    notes: tuple[str, ...],
) -> Embedder:
    """The Embedder of a model. ``image`` is what `input_spec` says of its input, ``notes`` what is
    said first. Raises ModelError.
    """
    spec, input_notes = image
    batch = model.shape[0]
    with foreign_errors(f"{path}: cannot be loaded"):
        check_graph_tensors(path, model.function.graph, batch)
        compute, part_notes = _computation(path, model, options)

        def call(images: Any) -> Any:
            return compute(cast_batch(images, model.kind))

        forward = compiled_forward(path, call, (batch, *spec.batch_shape), options=options)

    return Embedder(
        forward=forward,
        input=spec,
        format=model_format,
        fixed_batch=batch,
        notes=(*notes, *part_notes, *input_notes),
        device=device(options),
        count=graph_counts(path, call, (batch or 1, *spec.batch_shape)),
    )


def _computation(
    path: Path, model: GraphModel, options: LoadOptions
) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """What makes embeddings of images, and notes. Raises ModelError."""
    output = model.function.outputs[model.index]
    if not (output.dtype.is_floating or output.dtype.is_integer):
        raise ModelError(f"{path}: the model's output is {output.dtype.name}; expected numbers")
    place = Place(output, model.function.graph)
    told = model.named or options.output is not None
    if not told and (head := class_head(path, place)) is not None:
        return _before_classes(path, model, head[1])
    if output.shape.rank is None:
        return model.call, ()
    shape = tuple(output.shape.as_list())
    notes = check_embedding_shape(path, shape)
    if not told and (dense := unnamed_dense(place)) is not None:
        notes = (*notes, dense_note(dense, shape, inner=model.inner))
    return model.call, notes


def _before_classes(
    path: Path, model: GraphModel, sign: str
) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """What computes that which goes into the classes, and notes. Raises ModelError."""
    frozen = frozen_function(model.function)
    head = class_head(path, Place(frozen.outputs[model.index], frozen.graph))
    if head is None:
        raise ModelError(class_refusal(path, sign))
    embedding = head[0]
    shape = (None, embedding.shape[-1] if embedding.shape.rank else None)
    part = pruned(frozen.graph.as_graph_def(), frozen.inputs[0].name, embedding.name)
    return part, (*check_embedding_shape(path, shape), class_note(sign, shape))
