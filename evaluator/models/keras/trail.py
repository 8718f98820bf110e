"""Ways back through a Keras network, nested models included; Keras 3 and tf_keras alike."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError


@dataclass(frozen=True)
class Place:
    """A ``tensor`` of a network: of a model nested in it where there are ``calls``, each the nested
    model and the node that calls it, outermost first.
    """

    tensor: Any
    calls: tuple[tuple[Any, Any], ...] = ()

    @property
    def layer(self) -> Any:
        """The layer that makes the tensor."""
        return self.tensor._keras_history[0]

    @property
    def is_input(self) -> bool:
        """Whether nothing in the network makes it."""
        return is_input(self.layer)


def is_input(layer: Any) -> bool:
    """Whether a layer is an input, and computes nothing."""
    return type(layer).__name__ == "InputLayer"


def settled(tensor: Any, calls: tuple[tuple[Any, Any], ...] = ()) -> Place:
    """The place where a tensor is made: in a nested model if one gives it, outside if it is one's
    input.
    """
    while True:
        layer, number, index = tensor._keras_history
        if getattr(layer, "layers", None) and getattr(layer, "outputs", None):
            calls = (*calls, (layer, layer._inbound_nodes[number]))
            tensor = layer.outputs[index]
        elif is_input(layer) and calls:
            nested, node = calls[-1]
            position = [id(each) for each in nested.inputs].index(id(tensor))
            tensor, calls = _inputs(node)[position], calls[:-1]
        else:
            return Place(tensor, calls)


def places_before(place: Place) -> list[Place]:
    """Where the inputs of the layer come from that makes a tensor."""
    layer, number, _ = place.tensor._keras_history
    return [settled(each, place.calls) for each in _inputs(layer._inbound_nodes[number])]


def output_of(layers: Sequence[Any], name: str) -> Place | None:
    """What the layer of that name gives where it is called first, in nested models too; None if
    there is no such layer.
    """
    for layer in layers:
        nodes = layer._inbound_nodes
        if layer.name == name and nodes:
            found = getattr(nodes[0], "output_tensors", None)  # Keras 3's
            found = nodes[0].outputs if found is None else found
            return settled(found[0] if isinstance(found, list | tuple) else found)
    for layer in layers:
        nodes = layer._inbound_nodes
        inner = getattr(layer, "layers", None)
        if inner and getattr(layer, "outputs", None) and nodes:
            place = output_of(inner, name)
            if place is not None:
                return settled(place.tensor, ((layer, nodes[0]), *place.calls))
    return None


def part_until(path: Path, model: Any, inputs: Any, place: Place) -> Any:
    """The model from ``inputs`` to a place. Raises ModelError where it needs others too."""
    package = importlib.import_module(type(model).__module__.split(".")[0])
    part = None
    try:
        tensor = place.tensor
        for nested, node in reversed(place.calls):
            tensor = package.Model(_alone(nested.inputs), tensor)(_alone(_inputs(node)))
        part = package.Model(_alone(inputs), flat(package, tensor))
    except ValueError:
        part = None
    # Keras 3.12 leaves another input that it meets in the model, later ones refuse.
    if part is None or len(part.inputs) < sum(is_input(layer) for layer in part.layers):
        raise ModelError(f"{path}: its embedding cannot be computed from the image alone")
    return part


def _alone(tensors: Any) -> Any:
    """The one tensor of a list of one: Keras 3 complains of a tensor where it knows a list."""
    return tensors[0] if isinstance(tensors, list | tuple) and len(tensors) == 1 else tensors


def flat(package: Any, tensor: Any) -> Any:
    """A map of one place, (batch, 1, 1, size) in any order, as a vector; else the tensor."""
    sizes = tuple(tensor.shape)[1:]
    if len(sizes) > 1 and sorted(size or 0 for size in sizes)[:-1] == [1] * (len(sizes) - 1):
        return package.layers.Flatten()(tensor)
    return tensor


def _inputs(node: Any) -> list[Any]:
    """The tensors that a call was given, in order."""
    found = getattr(node, "keras_inputs", None)  # tf_keras's; one tensor is no list elsewhere
    found = node.input_tensors if found is None else found
    return list(found) if isinstance(found, list | tuple) else [found]
