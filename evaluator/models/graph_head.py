"""Where a TensorFlow graph ends in classes, and in which layer: SavedModels and frozen graphs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.models.shapes import class_refusal, class_sign, is_embedding

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# What hands its first input on, as far as classes are concerned.
_HANDING = ("Identity", "Cast", "EnsureShape", "StopGradient", "Reshape", "Squeeze")
_BIASES = ("BiasAdd", "Add", "AddV2")
# Arithmetic that a margin head makes its weights of length one with; others use them as they are.
_NORMALISING = ("Mul", "RealDiv", "Div", "DivNoNan")


@dataclass(frozen=True)
class Place:
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

    def source(self, index: int = 0) -> Place:
        """Where an input of the operation comes from, through calls and what hands it on."""
        return Place(self.operation.inputs[index], self.graph, self.calls).resolved()

    def resolved(self) -> Place:
        place = self
        while (further := place._further()) is not None:
            place = further
        return place

    def _further(self) -> Place | None:
        operation = self.operation
        if operation.type in _CALLS:
            inner = getattr(self.graph._get_function(operation.get_attr("f").name), "graph", None)
            if inner is None:
                return None
            calls = (*self.calls, (operation, self.graph))
            return Place(inner.outputs[self.tensor.value_index], inner, calls)
        if operation.type == "Placeholder" and self.calls:
            (call, graph), calls = self.calls[-1], self.calls[:-1]
            places = [i for i, each in enumerate(self.graph.inputs) if each is self.tensor]
            return Place(call.inputs[places[0]], graph, calls) if places else None
        if operation.type in _HANDING and len(operation.inputs):
            return Place(operation.inputs[0], self.graph, self.calls)
        return None


def class_head(path: Path, last: Place) -> tuple[Any, str] | None:
    """The tensor that goes into a last layer of classes, and the sign that it is one; None if there
    is no sign of classes. Raises ModelError where there are classes and no layer before them.
    """
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


def _product(place: Place) -> Place | None:
    """The matrix product of a dense layer that gives a tensor."""
    if place.operation.type in _BIASES:
        place = place.source()
    return place if place.operation.type == "MatMul" else None


def unnamed_dense(last: Place) -> str | None:
    """The name of the dense layer that gives a tensor, where no name in it says embedding."""
    product = _product(last.resolved())
    if product is None or is_embedding(product.names):
        return None
    return str(product.operation.name.rpartition("/")[0] or product.operation.name)
