"""TensorFlow SavedModels: folders written by Keras 2, by Keras 3's export, or from a tf.Module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.images.inputs import Embedder
from evaluator.models.foreign import foreign_errors
from evaluator.models.graph import compiled_forward
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras, native_messages_held
from evaluator.models.savedmodel.classes import unnamed_dense, without_classes
from evaluator.models.savedmodel.folder import check_folder
from evaluator.models.savedmodel.graph import Signature, signatures, unsafe_parts
from evaluator.models.savedmodel.limits import (
    check_checkpoint,
    check_declared,
    check_graph_tensors,
)
from evaluator.models.savedmodel.proto import read_saved_model
from evaluator.models.shapes import (
    EMBEDDING,
    check_embedding_shape,
    check_image_shape,
    chosen_output,
    dense_note,
    flattened_shape,
    input_spec,
    takes_whole_numbers,
)

# In this order: TensorFlow's own name, then the one of Keras 3's export.
_SIGNATURE_NAMES = ("serving_default", "serve")
_SERVING_TAG = "serve"


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError for a folder that is none of TensorFlow's; reads none of its graph."""
    del options
    check_folder(path)


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
    name, signature = _signature(path, signatures(meta))
    shape = next(iter(signature.inputs.values())).shape
    if shape is not None:
        check_image_shape(path, shape)
    output, output_notes = chosen_output(path, _output_shapes(signature), options.output)
    tags = list(meta.meta_info_def.tags) if len(saved.meta_graphs) > 1 else None
    loaded, function = _loaded(path, name, tags)
    return _embedder(path, loaded, function, options, output=output, notes=output_notes)


def _embedder(
    path: Path,
    loaded: Any,
    function: Any,
    options: LoadOptions,
    *,
    output: str,
    notes: tuple[str, ...],
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
    spec, input_notes = input_spec(path, shape, options, integer=integer)
    with foreign_errors(f"{path}: cannot be loaded"):
        check_graph_tensors(path, function, shape[0])
        compute, part_notes = _computation(path, function, name, output, options)

        def call(batch: Any, _keep_alive: Any = loaded) -> Any:
            return compute(_cast(batch, image.dtype))

        forward = compiled_forward(path, call, (shape[0], *spec.batch_shape), options=options)
    return Embedder(
        forward=forward,
        input=spec,
        format="savedmodel",
        fixed_batch=shape[0],
        notes=(*notes, *part_notes, *input_notes),
    )


def _computation(
    path: Path, function: Any, image: str, output: str, options: LoadOptions
) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """What makes embeddings of images in a signature, and notes. Raises ModelError."""
    found = function.structured_outputs[output]
    if not (found.dtype.is_floating or found.dtype.is_integer):
        raise ModelError(f"{path}: the model's output is {found.dtype.name}; expected numbers")
    if options.output is None and output != EMBEDDING:
        cut = without_classes(path, function, output)
        if cut is not None:
            part, size, note = cut
            check_embedding_shape(path, (None, size))
            return part, (note,)
    notes: tuple[str, ...] = ()
    if found.shape.rank is not None:
        shape = tuple(found.shape.as_list())
        check_embedding_shape(path, shape)
        _, flat = flattened_shape(shape)
        notes = () if flat is None else (flat,)
    if options.output is None and output != EMBEDDING:
        dense = unnamed_dense(function, output)
        if dense is not None:
            size = found.shape[-1] if found.shape.rank else None
            notes = (*notes, dense_note(dense, size, inner=False))
    return (lambda batch: function(**{image: batch})[output]), notes


def _cast(batch: Any, kind: Any) -> Any:
    """A batch as numbers of a type: pixels as they are; a resized one lies between two levels."""
    import tensorflow as tf

    if kind.is_integer:
        batch = tf.clip_by_value(tf.round(batch), 0.0, 255.0)
    return tf.cast(batch, kind)


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


def _signature(path: Path, found: dict[str, Signature]) -> tuple[str, Signature]:
    """The signature that takes an image."""
    names = [name for name in _SIGNATURE_NAMES if name in found]
    if not names and len(found) == 1:
        names = list(found)
    if not names:
        there = cause_of(", ".join(sorted(found)) or "none")
        raise ModelError(
            f"{path}: it has no signature 'serving_default' (there is: {there}); save it with "
            "tf.saved_model.save(model, folder, signatures=...)"
        )
    signature = found[names[0]]
    if len(signature.inputs) != 1:
        raise ModelError(
            f"{path}: the model takes {len(signature.inputs)} inputs; expected one image"
        )
    if not signature.outputs:
        raise ModelError(f"{path}: the model has no outputs")
    return names[0], signature


def _output_shapes(signature: Signature) -> dict[str, tuple[int | None, ...]]:
    return {name: info.shape or () for name, info in sorted(signature.outputs.items())}
