"""A recipe's model: embedding, head, centers, loss and optimizer, put together for one stage."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from evaluator.errors import InputError
from training.network.backbones import build_embedding_model
from training.network.centers import CenterLoss
from training.network.heads import NormDense
from training.network.losses import (
    MARGINS,
    CountedAccuracy,
    CountedFigure,
    CountedLoss,
    CountedShare,
    MarginLoss,
    NearestAccuracy,
    SoftmaxLoss,
)
from training.network.margin_head import MarginHead
from training.network.margins import MARGIN_KINDS
from training.network.optimizers import stage_optimizer
from training.network.running import SUMS
from training.network.start import start_weights
from training.network.triplet_losses import TRIPLET_LOSSES, triplet_metrics
from training.recipes import registry
from training.recipes.parts import LOSSES, LossRecipe, Recipe, Stage


def embedding_model(recipe: Recipe, *, precision: str | None = None) -> keras.Model:
    """The recipe's embedding model, its weights fresh (or from ImageNet, or another model's), at
    its precision.

    Raises InputError for what `build_embedding_model` and `start_weights` refuse.
    """
    height, width = recipe.preprocess.size
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision or recipe.precision)
    try:
        model = build_embedding_model(
            recipe.model.backbone,
            input_shape=(height, width, 1 if recipe.preprocess.channels == "gray" else 3),
            embedding_size=recipe.model.embedding_size,
            weights=None if recipe.model.weights == "none" else recipe.model.weights,
            pooling=recipe.model.pooling,
            dropout=recipe.model.dropout,
        )
    finally:
        keras.config.set_dtype_policy(before)
    if recipe.model.start is not None:
        start_weights(model, recipe.model.start)
    return model


def embedding_copy(recipe: Recipe, *, precision: str | None = None) -> keras.Model:
    """A model with the recipe's embedding layers for another's weights, at the recipe's precision
    or another: float32 is what is exported.
    """
    fresh = dataclasses.replace(recipe.model, weights="none", start=None)
    return embedding_model(dataclasses.replace(recipe, model=fresh), precision=precision)


def stage_model(
    recipe: Recipe,
    stage: Stage,
    embedding: keras.Model,
    *,
    classes: int,
    steps_per_epoch: int,
    head_parts: int = 1,
) -> keras.Model:
    """A compiled model from images (with a center, or a stage whose head has the loss: [images,
    labels]) to logits (batch, classes); where the head has the loss, to its figures (batch, 2).

    ``loss`` is the stage's, plus the center's; the metric ``accuracy`` is that of the logits
    without the margin. What the stage freezes does not train. A triplet stage has no head: from
    images to embeddings, with the metrics of `triplet_metrics`; so has one of a registered loss of
    embeddings, whose ``accuracy`` is `NearestAccuracy`. ``head_parts``: so many devices
    share head and centers, each an equal part, of some zeros if need be.

    ``counted`` is the share of images with a label from 0 on: others only fill up a batch.
    Raises InputError for a head that cannot be shared so.
    """
    _freeze(embedding, stage.freeze)
    images = keras.Input(embedding.input_shape[1:], name="images")
    loss: Any = None if stage.head_has_loss else _loss(stage.loss)
    labels = keras.Input((), dtype="int32", name="labels")
    outputs = embedding(images)
    if stage.head != "none" and recipe.center is not None:
        center = CenterLoss(
            classes,
            alpha=recipe.center.alpha,
            factor=recipe.center.factor,
            multiple=head_parts,
            name="center",
        )
        outputs = center(outputs, labels)
    metrics: list[Any] = [CountedShare(name="counted")]
    if stage.head_has_loss:
        outputs = _margin_head(stage, classes, head_parts)(outputs, labels, figures=True)
        metrics = [CountedFigure(1, name="accuracy"), *metrics]
    elif stage.head != "none":
        outputs = _head(stage, classes, head_parts)(outputs)
        metrics = [CountedAccuracy(name="accuracy"), *metrics]
    elif stage.loss.name in TRIPLET_LOSSES:
        metrics = triplet_metrics(loss)
    else:
        metrics = [NearestAccuracy(name="accuracy"), *metrics]
    model = keras.Model([images, labels] if recipe.labels_too else images, outputs)
    model.compile(
        optimizer=stage_optimizer(stage, steps_per_epoch, model.trainable_variables),
        loss=loss,
        metrics=metrics,
        # JAX without jit would run one operation after another from Python.
        jit_compile=recipe.xla or keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def shared_weights(model: keras.Model) -> list[Any]:
    """What outlives a stage besides the embedding model: the head's weight, then the centers."""
    layers = {layer.name: layer for layer in model.layers}
    if "head" not in layers:
        return []
    found = [layers["head"].weights[0]]
    return [*found, layers["center"].centers] if "center" in layers else found


def whole_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """The shape without shared-out zeros of each variable that has some, by its path: head, centers
    and what the optimizer keeps of the head.
    """
    layers = {layer.name: layer for layer in model.layers}
    found: dict[str, tuple[int, ...]] = {}
    head = layers.get("head")
    if isinstance(head, NormDense):
        padded = tuple(head.norm_dense_w.shape)
        columns = head.classes * head.sub_centers
        slots = [each for each in model.optimizer.variables if "head_norm_dense_w" in each.path]
        found = {
            each.path: (padded[0], columns)
            for each in (head.norm_dense_w, *slots)
            if tuple(each.shape) == padded
        }
    if "center" in layers:
        centers = layers["center"].centers
        found[centers.path] = (layers["center"].classes, centers.shape[1])
    return found


def backbone_end(embedding: keras.Model) -> int:
    """How many of the model's layers belong to the backbone: up to its last feature map, which is
    the last output of more than one position.
    """
    ends = [
        number
        for number, layer in enumerate(embedding.layers)
        if len(layer.output.shape) == 4 and layer.output.shape[1] * layer.output.shape[2] > 1
    ]
    return ends[-1] + 1


def _freeze(embedding: keras.Model, what: str) -> None:
    embedding.trainable = what != "embedding"
    if what == "backbone":
        for layer in embedding.layers[: backbone_end(embedding)]:
            layer.trainable = False


def turned(model: keras.Model, arrays: list[Any]) -> list[Any]:
    """Those of `shared_weights`, the head's between the ways in which a `MarginHead` and other
    heads hold it: what another stage's head takes, and what it leaves.
    """
    heads = [layer for layer in model.layers if isinstance(layer, MarginHead)]
    return [arrays[0].T, *arrays[1:]] if heads and arrays else arrays


def kept_variables(model: keras.Model) -> list[Any]:
    """All that a checkpoint holds, in an order that is the same in each process."""
    own = [each for each in model.variables if each.name != SUMS]
    return [*own, *model.optimizer.variables]


def _margin_head(stage: Stage, classes: int, parts: int) -> MarginHead:
    if parts > 1:
        raise InputError(
            f"--shard-head: loss {stage.loss.name} with sample_rate {stage.sample_rate:g} keeps "
            "its head whole; expected softmax, or a margin without sampling"
        )
    options = stage.loss.given
    if stage.loss.name == "margin":
        preset = options.pop("preset", "").replace("founding", "seed")
        options = {**MARGINS.get(preset, {}), **options}
        options.pop("fallback", None)
    own = {name: options.pop(name) for name in ("scale", "label_smoothing") if name in options}
    kind = "combined" if stage.loss.name == "margin" else stage.loss.name
    return MarginHead(
        classes,
        MARGIN_KINDS[kind](**options),
        sample_rate=stage.sample_rate,
        sub_centers=stage.sub_centers,
        name="head",
        **own,
    )


def _head(stage: Stage, classes: int, parts: int) -> keras.layers.Layer:
    if stage.head == "norm_dense":
        return NormDense(
            classes,
            cosine=stage.loss.name == "margin" or registry.taken_by(stage.loss.name) == "cosines",
            sub_centers=stage.sub_centers,
            multiple=parts,
            name="head",
        )
    if classes % parts:
        raise InputError(
            f"--shard-head: {parts} devices cannot share the {classes} classes of a dense head "
            "equally; use head norm_dense, or another number of devices"
        )
    return keras.layers.Dense(classes, use_bias=False, dtype="float32", name="head")


def _loss(recipe: LossRecipe) -> keras.losses.Loss:
    given = recipe.given
    if recipe.name == "softmax":
        return SoftmaxLoss(**given)
    if recipe.name in TRIPLET_LOSSES:
        return TRIPLET_LOSSES[recipe.name](**given)
    if recipe.name not in LOSSES:
        loss = registry.made("loss", recipe.name, given)
        return loss if registry.taken_by(recipe.name) == "embeddings" else CountedLoss(loss)
    preset = given.pop("preset", None)
    return MarginLoss.preset(preset, **given) if preset else MarginLoss(**given)
