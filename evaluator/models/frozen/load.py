"""Frozen TensorFlow graphs: old FaceNet's, and what TensorFlow's freezing tools write."""

from __future__ import annotations

from pathlib import Path

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.foreign import foreign_errors
from evaluator.models.frozen.graph import FrozenGraph, embedding_graph, read_graph
from evaluator.models.graph import pruned
from evaluator.models.graph_embedder import GraphModel, graph_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras
from evaluator.models.shapes import Shape, input_spec, is_embedding


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
    spec = input_spec(path, shape, options, kind=kind.name, fed=found.fed)
    with foreign_errors(f"{path}: cannot be loaded"):
        function = pruned(found.definition, f"{found.image}:0", f"{found.output}:0")

    model = GraphModel(
        function=function,
        index=0,
        call=function,
        shape=shape,
        kind=kind,
        named=is_embedding([found.output.removesuffix("s")]),
        inner=True,
    )
    return graph_embedder(
        path, model, spec, options, model_format="frozen-graph", notes=found.notes
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
