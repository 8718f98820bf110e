"""Models around an embedding: read, put together, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

import training.network.registered  # noqa: F401 - what a model file may hold
from evaluator.errors import InputError, check_choice
from training.api.embedding import embedding_part
from training.network.backbones import BACKBONES, build_embedding_model
from training.network.backbones.pooling import POOLINGS
from training.network.centers import CenterLoss
from training.network.heads import NormDense, assign
from training.network.margin_head import MarginHead
from training.recipes.registry import found


def load_model(path: str | Path, **options: Any) -> keras.Model:
    """`keras.models.load_model` for files with layers, losses and optimizers of ours, of this and
    earlier releases; ``options`` are Keras's own.
    """
    return keras.models.load_model(path, **options)


def embedding_model(
    backbone: str | Path | keras.Model,
    *,
    input_shape: tuple[int, int, int] = (112, 112, 3),
    embedding_size: int = 512,
    pooling: str = "gap",
    dropout: float = 0.1,
    weights: str | None = None,
) -> keras.Model:
    """A model from images (batch, height, width, 3) to embeddings (batch, embedding_size).

    ``backbone``: a name that recipes know; or a Keras model, or the path of one. A model that ends
    in a feature map gets ``pooling``, ``dropout`` and a last layer ``embedding``, as
    `training.network.backbones` says; of one that ends in a vector, or in classes behind a layer
    ``embedding``, the embedding is taken as it is. ``weights``: None or "imagenet", for a name.

    Raises:
        InputError: no such backbone, pooling or file; images too small; ``weights`` with a model.
    """
    check_choice("pooling", pooling, tuple(POOLINGS))
    if isinstance(backbone, str) and (
        backbone in BACKBONES or found("backbone", backbone) is not None
    ):
        return build_embedding_model(
            backbone,
            input_shape=input_shape,
            embedding_size=embedding_size,
            weights=weights,
            pooling=pooling,
            dropout=dropout,
        )
    if weights is not None:
        raise InputError("weights: a model brings its own; leave weights out")
    if not isinstance(backbone, keras.Model):
        if not Path(backbone).is_file():
            check_choice("backbone", str(backbone), tuple(BACKBONES))
        backbone = load_model(backbone, compile=False)
    if len(backbone.output_shape) == 4:
        embedding = POOLINGS[pooling](backbone.output, embedding_size, dropout)
        return keras.Model(backbone.input, embedding, name=backbone.name)
    return embedding_of(backbone) if _named_embedding(backbone) is not None else backbone


def whole_model(
    basic: keras.Model,
    head: keras.layers.Layer,
    *,
    center: CenterLoss | None = None,
    cosine: bool | None = None,
) -> keras.Model:
    """A functional model, not compiled, from images to logits (batch, classes) of ``head``; with a
    `MarginHead`, which adds its loss itself, to the embedding.

    Its inputs are ``images``, and ``labels`` (int32, one an image) if ``center`` or the head wants
    them: [images, labels]. ``cosine`` is that of `NormDense`'s call; None leaves it to the layer.
    Layers are not copied: several whole models may share them, and what they learn.

    Raises:
        InputError: ``basic`` does not give one vector an image; ``cosine`` with another head than
            `NormDense`; a head and a center of different classes.
    """
    if isinstance(basic.output, list | dict) or len(basic.output_shape) != 2:
        raise InputError(
            f"{basic.name}: expected one embedding (batch, features) as output, found "
            f"{basic.output_shape}"
        )
    if cosine is not None and not isinstance(head, NormDense):
        raise InputError(f"cosine: belongs to NormDense; found {type(head).__name__}")
    classes = getattr(head, "classes", getattr(head, "units", None))
    if center is not None and classes != center.classes:
        raise InputError(f"head has {classes} classes and center {center.classes}")
    images = keras.Input(basic.input_shape[1:], name="images")
    labels = keras.Input((), dtype="int32", name="labels")
    outputs = basic(images)
    if center is not None:
        outputs = center(outputs, labels)
    if isinstance(head, MarginHead):
        outputs = head(outputs, labels)
    else:
        outputs = head(outputs) if cosine is None else head(outputs, cosine=cosine)
    wanted = center is not None or isinstance(head, MarginHead)
    return keras.Model([images, labels] if wanted else images, outputs)


def embedding_of(model: keras.Model) -> keras.Model:
    """The model from images to embeddings that a whole model holds, with its variables.

    That is a nested model whose last layer is called ``embedding``, or all up to the layer of that
    name. Raises InputError where there is none.
    """
    found = _named_embedding(model)
    if isinstance(found, keras.Model):
        return found
    if found is not None and found.output is model.output:
        return model
    return embedding_part(model)


def _named_embedding(model: keras.Model) -> keras.layers.Layer | None:
    """The layer called embedding, or the nested model that ends in it."""
    for layer in model.layers:
        last = layer.layers[-1] if isinstance(layer, keras.Model) else layer
        if "embedding" in (layer.name, last.name):
            return layer
    return None


def copy_head(source: keras.layers.Layer | str | Path, target: keras.layers.Layer) -> None:
    """Puts one head's class vectors into another: `NormDense`, Keras's Dense, `MarginHead`, and the
    centers of a `CenterLoss` into another's. Each is a layer, or a model that has it; of two models
    head and centers, as far as both have them. ``source`` may be the path of a model file.

    Raises:
        InputError: nothing to copy; other features, classes or sub-centers; a bias that is not 0
            and that the target has no place for.
    """
    if isinstance(source, str | Path):
        source = load_model(source, compile=False)
    given, wanted = _parts(source), _parts(target)
    both = [name for name in given if name in wanted]
    if not both:
        raise InputError(
            f"copy_head: expected heads or centers in both; {source.name} has "
            f"{', '.join(given) or 'none'} and {target.name} {', '.join(wanted) or 'none'}"
        )
    for name in both:
        _copy(given[name], wanted[name])


def _parts(of: keras.layers.Layer) -> Mapping[str, keras.layers.Layer]:
    """``head`` and ``center`` of a model, or the one that a layer is."""
    if not isinstance(of, keras.Model):
        return {"center" if isinstance(of, CenterLoss) else "head": of}
    last = of.outputs[0]._keras_history.operation
    found = {"head": last} if isinstance(last, keras.layers.Dense) else {}
    for layer in of.layers:
        if isinstance(layer, NormDense | MarginHead):
            found["head"] = layer
        elif isinstance(layer, CenterLoss):
            found["center"] = layer
    return MappingProxyType(found)


def _copy(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    vectors, sub_centers = _rows(source)
    if not target.built:
        shape = (None, vectors.shape[1])
        target.build(shape, (None,)) if isinstance(target, CenterLoss) else target.build(shape)
    own, own_sub_centers = _rows(target)
    if (own.shape, own_sub_centers) != (vectors.shape, sub_centers):
        raise InputError(
            f"copy_head: {source.name} has {_said(vectors, sub_centers)}, {target.name} "
            f"{_said(own, own_sub_centers)}"
        )
    bias = getattr(source, "bias", None)
    if bias is not None and getattr(target, "bias", None) is None and np.any(bias):
        raise InputError(f"copy_head: {source.name} has a bias, {target.name} has no place for it")
    if getattr(target, "bias", None) is not None:
        target.bias.assign(np.zeros(target.bias.shape) if bias is None else bias)
    turned = isinstance(target, NormDense | keras.layers.Dense)
    assign(_weight(target), vectors.T if turned else vectors)


def _weight(layer: keras.layers.Layer) -> Any:
    """The variable that has the class vectors. Raises InputError where a layer has none."""
    if not layer.built:
        raise InputError(f"copy_head: {layer.name} has no weights yet: call it first")
    names = ("norm_dense_w", "class_vectors", "centers", "kernel")
    found = next((name for name in names if hasattr(layer, name)), None)
    if found is None:
        raise InputError(
            f"copy_head: expected NormDense, Dense, MarginHead or CenterLoss; found "
            f"{type(layer).__name__}"
        )
    return getattr(layer, found)


def _rows(layer: keras.layers.Layer) -> tuple[NDArray[Any], int]:
    """Vectors (classes * sub_centers, features) without zeros after them, and sub_centers."""
    array = np.asarray(ops.convert_to_numpy(_weight(layer)))
    if isinstance(layer, NormDense | keras.layers.Dense):
        array = array.T
    sub_centers: int = getattr(layer, "sub_centers", 1)
    classes: int = getattr(layer, "classes", len(array))
    return array[: classes * sub_centers], sub_centers


def _said(vectors: NDArray[Any], sub_centers: int) -> str:
    classes = len(vectors) // sub_centers
    return f"{classes} classes x {sub_centers} of {vectors.shape[1]} features"
