"""TensorFlow SavedModels: folders written by Keras 2, by Keras 3's export, or from a tf.Module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.images.inputs import Counts, Embedder
from evaluator.models.foreign import foreign_errors
from evaluator.models.graph import (
    check_graph_tensors,
    compiled_forward,
    frozen_function,
    pruned,
)
from evaluator.models.graph_macs import graph_macs, graph_parameters, traced_graph
from evaluator.models.identity import model_files
from evaluator.models.macs import counts
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
    class_sign,
    dense_note,
    input_spec,
    is_embedding,
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
    check_one_input(path, [_shape(each.tensor_shape) for each in signature.inputs.values()])
    if not signature.outputs:
        raise ModelError(f"{path}: the model has no outputs")
    shapes = {key: _shape(each.tensor_shape) or () for key, each in signature.outputs.items()}
    output, output_notes = chosen_output(path, dict(sorted(shapes.items())), options.output)
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
        check_graph_tensors(path, function.graph, shape[0])
        compute, part_notes = _computation(path, function, name, output, options)

        def call(batch: Any, _keep_alive: Any = loaded) -> Any:
            return compute(_cast(batch, image.dtype))

        forward = compiled_forward(path, call, (shape[0], *spec.batch_shape), options=options)

    def count() -> Counts:
        images = shape[0] or 1
        with foreign_errors(f"{path}: its graph cannot be counted"):
            graph = traced_graph(call, (images, *spec.batch_shape))
        return counts(lambda: graph_parameters(graph), lambda: graph_macs(graph, images))

    return Embedder(
        forward=forward,
        input=spec,
        format="savedmodel",
        fixed_batch=shape[0],
        notes=(*notes, *part_notes, *input_notes),
        device="gpu" if gpus() and options.engine == NATIVE else "cpu",
        count=count,
    )


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
    if not told and (dense := unnamed_dense(function, output)) is not None:
        notes = (*notes, dense_note(dense, shape, inner=False))
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


_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What hands its first input on, as far as classes are concerned.
_HANDING = ("Identity", "Cast", "EnsureShape", "StopGradient", "Reshape", "Squeeze")
_BIASES = ("BiasAdd", "Add", "AddV2")
# Arithmetic that a margin head makes its weights of length one with; others use them as they are.
_NORMALISING = ("Mul", "RealDiv", "Div", "DivNoNan")


def without_classes(
    path: Path, function: Any, output: str
) -> tuple[Callable[[Any], Any], Shape, str] | None:
    """What a concrete function computes before its classes: a function from image to embedding,
    the embedding's shape and a note; None if its output is no classes by any sign.

    Raises ModelError where there are classes and no layer before them.
    """
    index = sorted(function.structured_outputs).index(output)
    found = _head(path, _Place(function.outputs[index], function.graph))
    if found is None:
        return None
    frozen = frozen_function(function)
    again = _head(path, _Place(frozen.outputs[index], frozen.graph))
    if again is None:
        raise ModelError(class_refusal(path, found[1]))
    embedding = again[0]
    part = pruned(frozen.graph.as_graph_def(), frozen.inputs[0].name, embedding.name)
    shape = (None, embedding.shape[-1] if embedding.shape.rank else None)
    return part, shape, class_note(found[1], shape)


def unnamed_dense(function: Any, output: str) -> str | None:
    """The name of the dense layer that gives an output, where no name in it says embedding."""
    index = sorted(function.structured_outputs).index(output)
    product = _product(_Place(function.outputs[index], function.graph).resolved())
    if product is None or is_embedding(product.names):
        return None
    return str(product.operation.name.rpartition("/")[0] or product.operation.name)


@dataclass(frozen=True)
class _Place:
    """A tensor, its graph, and the calls through which that graph is reached."""

    tensor: Any
    graph: Any
    calls: tuple[tuple[Any, Any], ...] = ()

    @property
    def operation(self) -> Any:
        return self.tensor.op

    @property
    def names(self) -> list[str]:
        return list(self.operation.name.split("/"))

    def source(self, index: int = 0) -> _Place:
        """Where an input of the operation comes from, through calls and what hands it on."""
        return _Place(self.operation.inputs[index], self.graph, self.calls).resolved()

    def resolved(self) -> _Place:
        place = self
        while (further := place._further()) is not None:
            place = further
        return place

    def _further(self) -> _Place | None:
        operation = self.operation
        if operation.type in _CALLS:
            inner = getattr(self.graph._get_function(operation.get_attr("f").name), "graph", None)
            if inner is None:
                return None
            calls = (*self.calls, (operation, self.graph))
            return _Place(inner.outputs[self.tensor.value_index], inner, calls)
        if operation.type == "Placeholder" and self.calls:
            (call, graph), calls = self.calls[-1], self.calls[:-1]
            places = [i for i, each in enumerate(self.graph.inputs) if each is self.tensor]
            return _Place(call.inputs[places[0]], graph, calls) if places else None
        if operation.type in _HANDING and len(operation.inputs):
            return _Place(operation.inputs[0], self.graph, self.calls)
        return None


def _head(path: Path, last: _Place) -> tuple[Any, str] | None:
    """The tensor that goes into a last layer of classes, and the sign that it is one."""
    place = last.resolved()
    softmax = place.operation.type in ("Softmax", "LogSoftmax")
    if softmax:
        place = place.source()
    product = _product(place)
    if product is None:
        if softmax:
            raise ModelError(class_refusal(path, "softmax"))
        return None
    sign = "softmax" if softmax else class_sign(product.names, product.source().names)
    if sign is None and product.source(1).operation.type in _NORMALISING:
        sign = "a margin head"
    return None if sign is None else (product.operation.inputs[0], sign)


def _product(place: _Place) -> _Place | None:
    """The matrix product of a dense layer that gives a tensor."""
    if place.operation.type in _BIASES:
        place = place.source()
    return place if place.operation.type == "MatMul" else None
