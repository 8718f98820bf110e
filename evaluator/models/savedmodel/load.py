"""TensorFlow SavedModels: folders written by Keras 2, by Keras 3's export, or from a tf.Module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.images.inputs import Embedder
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
from evaluator.models.identity import model_files
from evaluator.models.options import NATIVE, LoadOptions
from evaluator.models.runtime import gpus, import_keras, native_messages_held
from evaluator.models.savedmodel.graph import check_checkpoint, check_declared, unsafe_parts
from evaluator.models.savedmodel.proto import read_saved_model
from evaluator.models.shapes import (
    EMBEDDING,
    Shape,
    check_embedding_shape,
    check_one_input,
    chosen_output,
    class_note,
    class_refusal,
    dense_note,
    fed_values,
    input_spec,
    takes_whole_numbers,
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
    given, fed_note = fed_values(_switches(signature), options.profile)
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
    notes = (*output_notes, *([fed_note] if fed_note else []))
    fed = tuple(given)
    return _embedder(path, loaded, function, options, output=output, notes=notes, fed=fed)


def _embedder(
    path: Path,
    loaded: Any,
    function: Any,
    options: LoadOptions,
    *,
    output: str,
    notes: tuple[str, ...],
    fed: tuple[str, ...],
) -> Embedder:
    """The Embedder of a loaded signature. ``loaded`` is kept alive with it."""
    with foreign_errors(f"{path}: cannot be loaded"):
        [(name, image), *_] = function.structured_input_signature[1].items()
    if image.shape.rank is None:
        raise ModelError(
            f"{path}: the model does not say what images it takes; save it with an input_signature"
        )
    shape = tuple(image.shape.as_list())
    integer = takes_whole_numbers(path, image.dtype.name)
    spec, input_notes = input_spec(path, shape, options, integer=integer, fed=fed)
    with foreign_errors(f"{path}: cannot be loaded"):
        check_graph_tensors(path, function.graph, shape[0])
        compute, part_notes = _computation(path, function, name, output, options)

        def call(batch: Any, _keep_alive: Any = loaded) -> Any:
            return compute(cast_batch(batch, image.dtype))

        forward = compiled_forward(path, call, (shape[0], *spec.batch_shape), options=options)

    return Embedder(
        forward=forward,
        input=spec,
        format="savedmodel",
        fixed_batch=shape[0],
        notes=(*notes, *part_notes, *input_notes),
        device="gpu" if gpus() and options.engine == NATIVE else "cpu",
        count=graph_counts(path, call, (shape[0] or 1, *spec.batch_shape)),
    )


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


def _computation(
    path: Path, function: Any, image: str, output: str, options: LoadOptions
) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """What makes embeddings of images in a signature, and notes. Raises ModelError."""
    found = function.structured_outputs[output]
    if not (found.dtype.is_floating or found.dtype.is_integer):
        raise ModelError(f"{path}: the model's output is {found.dtype.name}; expected numbers")
    told = options.output is not None or output == EMBEDDING
    if not told and (cut := without_classes(path, function, output)) is not None:
        part, shape, note = cut
        check_embedding_shape(path, shape)
        return part, (note,)
    shape = () if found.shape.rank is None else tuple(found.shape.as_list())
    notes = () if found.shape.rank is None else check_embedding_shape(path, shape)
    if not told and (dense := unnamed_dense(_place_of(function, output))) is not None:
        notes = (*notes, dense_note(dense, shape, inner=False))
    return (lambda batch: function(**{image: batch})[output]), notes


def _refuse_unsafe(path: Path, saved: Any) -> None:
    # As TensorFlow decides which of its two loaders reads the folder.
    objects = len(saved.meta_graphs) == 1 and saved.meta_graphs[0].HasField("object_graph_def")
    found = [each for meta in saved.meta_graphs for each in unsafe_parts(meta, objects=objects)]
    unsafe = list(dict.fromkeys(found))
    if unsafe:
        shown = cause_of(", ".join(unsafe[:5]))
        more = len(unsafe) - 5
        raise ModelError(
            f"{path}: not loaded, because its graph could reach beyond its own numbers: {shown}"
            f"{f' and {more} more' if more > 0 else ''}. "
            "If you know who made it, repeat with --trust"
        )


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


def without_classes(
    path: Path, function: Any, output: str
) -> tuple[Callable[[Any], Any], Shape, str] | None:
    """What a concrete function computes before its classes: a function from image to embedding,
    the embedding's shape and a note; None if its output is no classes by any sign.

    Raises ModelError where there are classes and no layer before them.
    """
    index = sorted(function.structured_outputs).index(output)
    found = class_head(path, _place_of(function, output))
    if found is None:
        return None
    frozen = frozen_function(function)
    again = class_head(path, Place(frozen.outputs[index], frozen.graph))
    if again is None:
        raise ModelError(class_refusal(path, found[1]))
    embedding = again[0]
    part = pruned(frozen.graph.as_graph_def(), frozen.inputs[0].name, embedding.name)
    shape = (None, embedding.shape[-1] if embedding.shape.rank else None)
    return part, shape, class_note(found[1], shape)


def _place_of(function: Any, output: str) -> Place:
    index = sorted(function.structured_outputs).index(output)
    return Place(function.outputs[index], function.graph)
