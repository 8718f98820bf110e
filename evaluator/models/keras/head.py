"""Ways back through a Keras network, nested models included, and where it ends in classes: told by
what says so, and what goes into them. Keras 3 and tf_keras alike.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.models.shapes import EMBEDDING


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


def output_of(model: Any, name: str, *, nested: bool = True) -> Place | None:
    """What the layer of that name gives where the model calls it first, in models nested in it too
    if ``nested``; None if there is no such layer.
    """
    # Of a Sequential: those of the functional model inside it.
    depths = getattr(getattr(model, "_functional", None) or model, "_nodes_by_depth", {})
    own = {id(node) for nodes in depths.values() for node in nodes}
    called = []
    for layer in model.layers:
        nodes = layer._inbound_nodes
        # A layer that several models share has a node for each.
        node = next((each for each in nodes if id(each) in own), nodes[0] if nodes else None)
        if node is not None:
            called.append((layer, node))
    for layer, node in called:
        if layer.name == name:
            found = getattr(node, "output_tensors", None)  # Keras 3's
            found = node.outputs if found is None else found
            return settled(found[0] if isinstance(found, list | tuple) else found)
    for layer, node in called if nested else ():
        if getattr(layer, "layers", None) and getattr(layer, "outputs", None):
            place = output_of(layer, name)
            if place is not None:
                return settled(place.tensor, ((layer, node), *place.calls))
    return None


def part_until(path: Path, model: Any, inputs: Any, place: Place) -> Any:
    """The model from ``inputs`` to a place. Raises ModelError where it needs others too."""
    package = importlib.import_module(type(model).__module__.split(".")[0])
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


_SOFTMAX = frozenset({"softmax", "softmax_v2", "log_softmax", "log_softmax_v2", "logsoftmax"})
# Class names of the layers that hold a vector for each class and a margin for training.
_MARGIN = re.compile(
    r"norm_?dense|margin|(arc|cos|sphere|mag|ada|curricular|elastic|circle|air)_?face|ada_?cos"
    r"|am_?softmax|sub_?center",
    re.IGNORECASE,
)
_CLASSES = frozenset({"logit", "logits", "pred", "preds", "prediction", "predictions"})
# What gives an embedding says so itself, whatever else its name says.
_EMBEDDINGS = frozenset({"embed", "embedding", "embeddings", "feature", "features"})
_DENSE = frozenset({"Dense", "EinsumDense"})
_CONVOLUTIONS = frozenset({"Conv2D", "Convolution2D"})
# What may stand between an embedding and the layer of the classes; none mixes the values.
_BETWEEN = frozenset(
    "Dropout SpatialDropout1D SpatialDropout2D GaussianDropout GaussianNoise AlphaDropout Identity "
    "BatchNormalization SyncBatchNormalization Activation ReLU LeakyReLU PReLU ELU "
    "ActivityRegularization CenterLoss".split()
)
# What may stand between an embedding that is called so and the layer of the classes, besides.
_BEHIND_NAMED = _BETWEEN | {"UnitNormalization", "LayerNormalization", "Normalize"}
# What may stand between the layer of the classes and the end, besides.
_BEHIND = _BETWEEN | frozenset(
    "Softmax LogSoftmax Flatten Reshape Rescaling Multiply Divide TrueDivide Cast "
    "GlobalAveragePooling2D LayerNormalization".split()
)


# TensorFlow's functions that multiply by a number, or cast, there too.
_SCALING = frozenset({"multiply", "divide", "truediv", "cast", "mul", "div"})


@dataclass(frozen=True)
class Head:
    """Where a network ends in classes: the ``layer`` that gives them, the ``sign`` that says so,
    and the ``places`` of what goes into it, one of which is the embedding. No places where what
    goes into the classes could not be found.
    """

    layer: Any
    sign: str
    places: tuple[Place, ...]


def head_of(output: Any) -> Head | None:
    """The head that ends in the ``output`` of a model; None if nothing says that it has one.

    A last Dense layer alone says nothing: many embeddings come out of one.
    """
    place, sign = settled(output), ""
    while not place.is_input:
        layer = place.layer
        kind = type(layer).__name__
        if _is_margin(layer):
            # The embedding, and the labels where it takes them.
            vectors = tuple(map(_through_centers, places_before(place)))
            return Head(layer, f"margin head {kind}", vectors)
        if _is_softmax(layer):
            sign = "softmax"
        elif _says_classes(layer):
            sign = sign or f"its name {layer.name!r}"
        if kind in _DENSE or (kind in _CONVOLUTIONS and sign):
            return _dense_head(place, sign)
        if layer.name == EMBEDDING:
            return Head(layer, sign, (place,)) if sign == "softmax" else None
        passed = kind in _BEHIND or _is_softmax(layer) or _function(layer) in _SCALING
        before = _before(place) if passed else None
        if before is None:
            break
        place = before
    return Head(settled(output).layer, sign, ()) if sign == "softmax" else None


def _dense_head(place: Place, sign: str) -> Head | None:
    """The head whose classes a dense layer gives, if something says that it is one."""
    before = places_before(place)
    named = next((found for found in map(_named_embedding, before) if found), None)
    if named is not None and _EMBEDDINGS.isdisjoint(_words(place.layer)):
        sign = sign or f"it stands behind a layer named {EMBEDDING!r}"
    places = before if named is None else [named]
    return Head(place.layer, sign, tuple(map(_through_centers, places))) if sign else None


def _named_embedding(place: Place) -> Place | None:
    """The place of a layer, or nested model, named embedding, behind what changes no places."""
    for found in _back_through(place, _BEHIND_NAMED):
        nested = found.calls[-1][0] if found.calls else None
        if found.layer.name == EMBEDDING or getattr(nested, "name", None) == EMBEDDING:
            return found
    return None


def _back_through(place: Place, kinds: frozenset[str]) -> Iterator[Place]:
    """The place, and those before it as long as layers of these kinds make them."""
    while not place.is_input:
        yield place
        passed = type(place.layer).__name__ in kinds or (
            _function(place.layer) == "l2_normalize" and "Normalize" in kinds
        )
        before = _before(place) if passed else None
        if before is None:
            return
        place = before


def _before(place: Place) -> Place | None:
    """The place of the one tensor that a layer changes; a CenterLoss hands its first one on."""
    before = places_before(place)
    one = len(before) == 1 or (before and type(place.layer).__name__ == "CenterLoss")
    return before[0] if one else None


def _through_centers(place: Place) -> Place:
    """The place before a CenterLoss, which takes the labels and hands the embedding through."""
    if not place.is_input and type(place.layer).__name__ == "CenterLoss":
        return places_before(place)[0]
    return place


def _is_margin(layer: Any) -> bool:
    """Whether a layer's class is a margin head by its name, and takes vectors."""
    own = type(layer).__module__.split(".")[0] in ("keras", "tf_keras")
    if own or not _MARGIN.search(type(layer).__name__):
        return False
    return getattr(layer, "layers", None) is None


def _is_softmax(layer: Any) -> bool:
    kind = type(layer).__name__.lower()
    if kind == "tfoplambda":
        return _function(layer) in _SOFTMAX
    activation = getattr(layer, "activation", None)
    named = getattr(activation, "__name__", type(activation).__name__).lower()
    return kind in _SOFTMAX or named in _SOFTMAX


def _says_classes(layer: Any) -> bool:
    """Whether a layer's name says logits or predictions: a word of it, not of 'pre_logits'."""
    words = _words(layer)
    return _EMBEDDINGS.isdisjoint(words) and any(
        word in _CLASSES and (i == 0 or words[i - 1] != "pre") for i, word in enumerate(words)
    )


def _words(layer: Any) -> list[str]:
    """The words of a layer's name: 'fc', 'logits' of 'fcLogits_1'."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", layer.name).lower())


def gives_classes(layer: Any, values: int | None) -> bool:
    """Whether something says that a layer on an embedding of so many values gives classes: its
    kind, its name, or that it gives more values than it gets.
    """
    if _is_margin(layer) or _is_softmax(layer) or _says_classes(layer):
        return True
    units = getattr(layer, "units", None)
    wider = units is not None and values is not None and bool(units > values)
    return type(layer).__name__ in _DENSE and wider


def _function(layer: Any) -> str | None:
    """The name of the TensorFlow function that a layer calls, without its module."""
    if type(layer).__name__ != "TFOpLambda":
        return None
    return str(layer.get_config().get("function")).rpartition(".")[2]
