"""The embedding of a SavedModel that ends in classes, told by its last operations."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.models.shapes import class_note, class_refusal

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What hands its first input on, as far as classes are concerned.
_HANDING = ("Identity", "Cast", "EnsureShape", "StopGradient", "Reshape", "Squeeze")
_BIASES = ("BiasAdd", "Add", "AddV2")
# Arithmetic that a margin head makes its weights of length one with; others use them as they are.
_NORMALISING = ("Mul", "RealDiv", "Div", "DivNoNan")
_HEAD = re.compile(r"(logits|predictions)(_\d+)?")
_EMBEDDING = re.compile(r"embedding(_\d+)?")


def without_classes(
    path: Path, function: Any, output: str
) -> tuple[Callable[[Any], Any], int | None, str] | None:
    """What a concrete function computes before its classes: a function from image to embedding,
    the embedding's size and a note; None if its output is no classes by any sign.

    Raises ModelError where there are classes and no layer before them.
    """
    index = sorted(function.structured_outputs).index(output)
    found = _head(path, _Place(function.outputs[index], function.graph))
    if found is None:
        return None
    import tensorflow as tf

    from evaluator.models.graph import frozen_function

    frozen = frozen_function(function)
    again = _head(path, _Place(frozen.outputs[index], frozen.graph))
    if again is None:
        raise ModelError(class_refusal(path, found.sign))
    definition = frozen.graph.as_graph_def()
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    pruned = whole.prune(frozen.inputs[0].name, again.embedding.name)
    size = again.embedding.shape[-1] if again.embedding.shape.rank else None
    return pruned, size, class_note(found.sign, size)


def unnamed_dense(function: Any, output: str) -> str | None:
    """The name of the dense layer that gives an output, where no name in it says embedding."""
    index = sorted(function.structured_outputs).index(output)
    product = _product(_Place(function.outputs[index], function.graph).resolved())
    if product is None or _is_embedding(product.operation.name.split("/")):
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


@dataclass(frozen=True)
class _Head:
    """What goes into a last layer of classes, and the sign that it is one."""

    embedding: Any
    sign: str


def _head(path: Path, last: _Place) -> _Head | None:
    place = last.resolved()
    softmax = place.operation.type in ("Softmax", "LogSoftmax")
    if softmax:
        place = place.source()
    product = _product(place)
    if product is None:
        if softmax:
            raise ModelError(class_refusal(path, "softmax"))
        return None
    sign = "softmax" if softmax else _sign(product)
    return None if sign is None else _Head(product.operation.inputs[0], sign)


def _product(place: _Place) -> _Place | None:
    """The matrix product of a dense layer that gives a tensor."""
    if place.operation.type in _BIASES:
        place = place.source()
    return place if place.operation.type == "MatMul" else None


def _sign(product: _Place) -> str | None:
    own = product.operation.name.split("/")
    if any(_HEAD.fullmatch(part) for part in own):
        return "a last layer of that name"
    before = product.source().operation.name.split("/")
    if _is_embedding(before) and not _is_embedding(own):
        return "a layer behind the one named embedding"
    if product.source(1).operation.type in _NORMALISING:
        return "a margin head"
    return None


def _is_embedding(parts: list[str]) -> bool:
    return any(_EMBEDDING.fullmatch(part) for part in parts)
