"""The Embedder of a TensorFlow function, of SavedModels and frozen graphs alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.models.foreign import foreign_errors
from evaluator.models.graph import cast_batch, check_graph_tensors, compiled_forward
from evaluator.models.graph_head import Place, class_head, unnamed_dense
from evaluator.models.graph_macs import graph_counts
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import device
from evaluator.models.shapes import (
    Shape,
    check_embedding_shape,
    class_note,
    dense_note,
)


@dataclass(frozen=True)
class GraphModel:
    """A function that TensorFlow has loaded: from images of a ``shape`` and ``kind`` of numbers to
    its ``output``, a tensor or what describes one, which is made at ``place``.

    ``before`` gives the function that ends in another tensor, which goes into classes, and what
    that gives; the second argument is the sign of the classes. ``named`` says that the output is
    the embedding by its name, ``inner`` whether ``--output`` can name a tensor inside.
    """

    call: Callable[[Any], Any]
    shape: Shape
    kind: Any
    output: Any
    place: Place
    before: Callable[[Any, str], tuple[Callable[[Any], Any], Any]]
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
        check_graph_tensors(path, model.place.graph, batch)
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
    kind = model.output.dtype
    if not (kind.is_floating or kind.is_integer):
        raise ModelError(f"{path}: the model's output is {kind.name}; expected numbers")
    told = model.named or options.output is not None
    found = None if told else class_head(path, model.place)
    if found is not None:
        compute, embedding = model.before(*found)
        shape = (None, embedding.shape[-1] if embedding.shape.rank else None)
        return compute, (*check_embedding_shape(path, shape), class_note(found[1], shape))
    if model.output.shape.rank is None:
        return model.call, ()
    shape = tuple(model.output.shape.as_list())
    notes = check_embedding_shape(path, shape)
    if not told and (dense := unnamed_dense(model.place)) is not None:
        notes = (*notes, dense_note(dense, shape, inner=model.inner))
    return model.call, notes
