"""TensorFlow SavedModels: folders written by Keras 2, by Keras 3's export, or from a tf.Module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.images.inputs import Embedder
from evaluator.models.foreign import foreign_errors
from evaluator.models.graph_embedder import GraphModel, graph_embedder
from evaluator.models.graph_scan import refuse_unsafe
from evaluator.models.identity import model_files
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras, native_messages_held
from evaluator.models.savedmodel.graph import check_checkpoint, check_declared, unsafe_parts
from evaluator.models.savedmodel.proto import read_saved_model
from evaluator.models.shapes import (
    EMBEDDING,
    Shape,
    check_one_input,
    chosen_output,
    fed_values,
    input_spec,
)

# In this order: TensorFlow's own name, then the one of Keras 3's export.
_SIGNATURE_NAMES = ("serving_default", "serve")
_SERVING_TAG = "serve"
_INIT_OP = "__saved_model_init_op"


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError for a folder that is none of TensorFlow's, or holds what leads out of it;
    reads none of its graph. Raises OSError for what cannot be read.
    """
    del options
    model_files(path)
    graph = path / "saved_model.pb"
    if not graph.stat().st_size:
        raise ModelError(f"{graph}: the file is empty; it is damaged")


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a SavedModel. Raises ModelError.

    What it would run is read first, by TensorFlow's own parser: it may compute, and nothing else.
    """
    check(path, options)
    import_keras()  # TensorFlow, without its start-up notes
    saved = read_saved_model(path, checked=not options.trusted)
    if not options.trusted:
        _refuse_unsafe(path, saved)
    meta = _served(saved)
    check_declared(path, meta)
    name, signature = _signature(path, meta)
    given, fed_notes = fed_values(_switches(signature), options.profile)
    images = [each for key, each in signature.inputs.items() if key not in given]
    check_one_input(path, [_shape(each.tensor_shape) for each in images])
    if not signature.outputs:
        raise ModelError(f"{path}: the model has no outputs")
    shapes = {key: _shape(each.tensor_shape) or () for key, each in signature.outputs.items()}
    output, output_notes = chosen_output(path, dict(sorted(shapes.items())), options.output)
    tags = list(meta.meta_info_def.tags) if len(saved.meta_graphs) > 1 else None
    loaded, function = _loaded(path, name, tags)
    if given:
        function = _fed(path, function, given)
    notes = (*output_notes, *fed_notes)
    return _embedder(path, loaded, function, options, output=output, fed=tuple(given), notes=notes)


def _embedder(
    path: Path,
    loaded: Any,
    function: Any,
    options: LoadOptions,
    *,
    output: str,
    fed: tuple[str, ...],
    notes: tuple[str, ...],
) -> Embedder:
    """The Embedder of a loaded signature. ``loaded`` is kept alive with it."""
    with foreign_errors(f"{path}: cannot be loaded"):
        [(image, takes), *_] = function.structured_input_signature[1].items()
    if takes.shape.rank is None:
        raise ModelError(
            f"{path}: the model does not say what images it takes; save it with an input_signature"
        )
    shape = tuple(takes.shape.as_list())
    spec = input_spec(path, shape, options, kind=takes.dtype.name, fed=fed)

    def call(batch: Any, _keep_alive: Any = loaded) -> Any:
        return function(**{image: batch})[output]

    with foreign_errors(f"{path}: cannot be loaded"):
        index = sorted(function.structured_outputs).index(output)  # the function may have others
    model = GraphModel(
        function=function,
        index=index,
        call=call,
        shape=shape,
        kind=takes.dtype,
        named=output == EMBEDDING,
        inner=False,
    )
    return graph_embedder(path, model, spec, options, model_format="savedmodel", notes=notes)


def _switches(signature: Any) -> list[str]:
    """The names of a signature's inputs that are one boolean, as ``phase_train`` is."""
    import tensorflow as tf

    kind = tf.bool.as_datatype_enum
    return sorted(
        key
        for key, each in signature.inputs.items()
        if each.dtype == kind and _shape(each.tensor_shape) in ((), (1,))
    )


def _fed(path: Path, function: Any, given: Mapping[str, bool]) -> Any:
    """A signature that takes the image alone, and is given these booleans."""
    import tensorflow as tf

    takes = function.structured_input_signature[1]

    def fed(**image: Any) -> Any:
        known = {name: tf.constant(on, shape=takes[name].shape) for name, on in given.items()}
        return function(**image, **known)

    with foreign_errors(f"{path}: cannot be loaded"):
        images = {name: each for name, each in takes.items() if name not in given}
        return tf.function(fed, autograph=False).get_concrete_function(**images)


def _refuse_unsafe(path: Path, saved: Any) -> None:
    # As TensorFlow decides which of its two loaders reads the folder.
    objects = len(saved.meta_graphs) == 1 and saved.meta_graphs[0].HasField("object_graph_def")
    found = [each for meta in saved.meta_graphs for each in unsafe_parts(meta, objects=objects)]
    refuse_unsafe(path, found)


def _served(saved: Any) -> Any:
    """The graph to load: the only one, or of several the one for serving without an accelerator."""
    tagged = [meta for meta in saved.meta_graphs if _SERVING_TAG in meta.meta_info_def.tags]
    plain = [meta for meta in tagged if len(meta.meta_info_def.tags) == 1]
    return [*plain, *tagged, *saved.meta_graphs][0]


def _loaded(path: Path, name: str, tags: list[str] | None) -> tuple[Any, Any]:
    """What TensorFlow makes of the folder, and the signature of a name."""
    import tensorflow as tf

    with foreign_errors(f"{path}: cannot be loaded"):
        check_checkpoint(path)
        with native_messages_held():
            loaded = tf.saved_model.load(str(path), tags=tags)
        return loaded, loaded.signatures[name]


def _signature(path: Path, meta: Any) -> tuple[str, Any]:
    """The signature that takes an image, and its name."""
    found = {name: each for name, each in meta.signature_def.items() if name != _INIT_OP}
    names = [name for name in _SIGNATURE_NAMES if name in found]
    if not names and len(found) == 1:
        names = list(found)
    if not names:
        there = cause_of(", ".join(sorted(found)) or "none")
        raise ModelError(
            f"{path}: it has no signature 'serving_default' (there is: {there}); save it with "
            "tf.saved_model.save(model, folder, signatures=...)"
        )
    return names[0], found[names[0]]


def _shape(shape: Any) -> Shape | None:
    """The sizes of a ``TensorShapeProto``; None if it does not say how many there are."""
    if shape.unknown_rank:
        return None
    return tuple(axis.size if axis.size >= 0 else None for axis in shape.dim)
