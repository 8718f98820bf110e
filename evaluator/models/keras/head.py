"""Where a Keras network ends in classes, told by what says so, and what goes into them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evaluator.models.keras.trail import Place, places_before, settled
from evaluator.models.shapes import EMBEDDING

_SOFTMAX = frozenset({"softmax", "softmax_v2", "log_softmax", "log_softmax_v2", "logsoftmax"})
# Class names of the layers that hold a vector for each class and a margin for training.
_MARGIN = re.compile(
    r"norm_?dense|margin|(arc|cos|sphere|mag|ada|curricular|elastic|circle|air)_?face|ada_?cos"
    r"|am_?softmax|sub_?center",
    re.IGNORECASE,
)
_CLASSES = frozenset({"logit", "logits", "pred", "preds", "prediction", "predictions"})
_DENSE = frozenset({"Dense", "EinsumDense"})
_CONVOLUTIONS = frozenset({"Conv2D", "Convolution2D"})
# What may stand between an embedding and the layer of the classes; none mixes the values.
_BETWEEN = frozenset(
    "Dropout SpatialDropout1D SpatialDropout2D GaussianDropout GaussianNoise AlphaDropout Identity "
    "BatchNormalization SyncBatchNormalization Activation ReLU LeakyReLU PReLU ELU "
    "ActivityRegularization CenterLoss".split()
)
# What may stand between the layer of the classes and the end, besides.
_BEHIND = _BETWEEN | frozenset(
    "Softmax LogSoftmax Flatten Reshape Rescaling Multiply Divide TrueDivide Cast "
    "GlobalAveragePooling2D LayerNormalization".split()
)


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
            return Head(layer, f"margin head {kind}", _vectors(place))
        if _is_softmax(layer):
            sign = "softmax"
        elif _says_classes(layer):
            sign = sign or f"its name {layer.name!r}"
        if kind in _DENSE or (kind in _CONVOLUTIONS and sign):
            return _dense_head(place, sign)
        if layer.name == EMBEDDING:
            return Head(layer, sign, (place,)) if sign == "softmax" else None
        before = places_before(place)
        if not (kind in _BEHIND or _is_softmax(layer) or _scales(layer)) or not before:
            break
        if len(before) > 1 and kind != "CenterLoss":
            break
        place = before[0]
    return Head(settled(output).layer, sign, ()) if sign == "softmax" else None


def _dense_head(place: Place, sign: str) -> Head | None:
    """The head whose classes a dense layer gives, if something says that it is one."""
    before = places_before(place)
    named = next((found for found in map(_named_embedding, before) if found), None)
    if named is not None:
        sign = sign or f"it stands behind a layer named {EMBEDDING!r}"
    places = before if named is None else [named]
    return Head(place.layer, sign, tuple(map(_through_centers, places))) if sign else None


def _named_embedding(place: Place) -> Place | None:
    """The place of a layer, or nested model, named embedding, behind what changes no places."""
    for found in _back_through(place, _BETWEEN):
        nested = found.calls[-1][0] if found.calls else None
        if found.layer.name == EMBEDDING or getattr(nested, "name", None) == EMBEDDING:
            return found
    return None


def _back_through(place: Place, kinds: frozenset[str]) -> Iterator[Place]:
    """The place, and those before it as long as layers of these kinds make them."""
    while not place.is_input:
        yield place
        before = places_before(place)
        kind = type(place.layer).__name__
        if kind not in kinds or not before or (len(before) > 1 and kind != "CenterLoss"):
            return
        place = before[0]


def _through_centers(place: Place) -> Place:
    """The place before a CenterLoss, which takes the labels and hands the embedding through."""
    if not place.is_input and type(place.layer).__name__ == "CenterLoss":
        return places_before(place)[0]
    return place


def _vectors(place: Place) -> tuple[Place, ...]:
    """What goes into a head: the embedding, and the labels where it takes them."""
    return tuple(_through_centers(each) for each in places_before(place))


def _is_margin(layer: Any) -> bool:
    """Whether a layer's class is a margin head by its name, and takes vectors."""
    own = type(layer).__module__.split(".")[0] in ("keras", "tf_keras")
    if own or not _MARGIN.search(type(layer).__name__):
        return False
    return getattr(layer, "layers", None) is None


def _is_softmax(layer: Any) -> bool:
    kind = type(layer).__name__.lower()
    if kind == "tfoplambda":
        function = str(layer.get_config().get("function"))
        return function.rpartition(".")[2] in _SOFTMAX
    activation = getattr(layer, "activation", None)
    named = getattr(activation, "__name__", type(activation).__name__).lower()
    return kind in _SOFTMAX or named in _SOFTMAX


def _says_classes(layer: Any) -> bool:
    """Whether a layer's name says logits or predictions: a word of it, not of 'pre_logits'."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", layer.name).lower())
    return any(
        word in _CLASSES and (i == 0 or words[i - 1] != "pre") for i, word in enumerate(words)
    )


def _scales(layer: Any) -> bool:
    """Whether a layer is one of TensorFlow's functions that multiply by a number, or cast."""
    if type(layer).__name__ != "TFOpLambda":
        return False
    function = str(layer.get_config().get("function"))
    return function.rpartition(".")[2] in {"multiply", "divide", "truediv", "cast", "mul", "div"}
