"""A recipe's model: embedding, head, centers, loss and optimizer, put together for one stage."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from evaluator.errors import InputError
from training.network.backbones import build_embedding_model
from training.network.centers import CenterLoss
from training.network.heads import NormDense
from training.network.losses import (
    MARGINS,
    CountedAccuracy,
    CountedShare,
    MarginSoftmax,
    SoftmaxLoss,
)
from training.network.start import start_weights
from training.network.triplet_losses import TRIPLET_LOSSES, triplet_metrics
from training.recipes.recipe import LossRecipe, Recipe, Stage

# Knots of a rate that changes with every step; between two of them it runs straight. A quadratic
# decay is met within 2e-8 of its first value.
_KNOTS = 4096


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
            head=recipe.model.pooling,
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
    """A compiled model from images (with a center: [images, labels]) to logits (batch, classes).

    ``loss`` is the stage's, plus the center's; the metric ``accuracy`` is that of the logits
    without the margin. What the stage freezes does not train. A triplet stage has no head: from
    images to embeddings, with the metrics of `triplet_metrics`. ``head_parts``: so many devices
    share head and centers, each an equal part, of some zeros if need be.

    ``counted`` is the share of images with a label from 0 on: others only fill up a batch.
    Raises InputError for a head that cannot be shared so.
    """
    _freeze(embedding, stage.freeze)
    images = keras.Input(embedding.input_shape[1:], name="images")
    loss = _loss(stage.loss)
    inputs: Any = images
    outputs = embedding(images)
    if stage.head != "none" and recipe.center is not None:
        labels = keras.Input((), dtype="int32", name="labels")
        center = CenterLoss(
            classes,
            alpha=recipe.center.alpha,
            factor=recipe.center.factor,
            multiple=head_parts,
            name="center",
        )
        outputs = center(outputs, labels)
        inputs = [images, labels]
    if stage.head != "none":
        outputs = _head(stage, classes, head_parts)(outputs)
        metrics: list[Any] = [CountedAccuracy(name="accuracy"), CountedShare(name="counted")]
    else:
        metrics = triplet_metrics(loss)
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=_optimizer(stage, steps_per_epoch),
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


def _head(stage: Stage, classes: int, parts: int) -> keras.layers.Layer:
    if stage.head == "norm_dense":
        return NormDense(classes, cosine=stage.loss.name == "margin", multiple=parts, name="head")
    if classes % parts:
        raise InputError(
            f"--shard-head: {parts} devices cannot share the {classes} classes of a dense head "
            "equally; use head norm_dense, or another number of devices"
        )
    return keras.layers.Dense(classes, use_bias=False, dtype="float32", name="head")


def _loss(recipe: LossRecipe) -> keras.losses.Loss:
    if recipe.name == "softmax":
        return SoftmaxLoss()
    given = recipe.given
    if recipe.name in TRIPLET_LOSSES:
        return TRIPLET_LOSSES[recipe.name](**given)
    return MarginSoftmax(**{**MARGINS.get(given.pop("preset", ""), {}), **given})


def _optimizer(stage: Stage, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    schedule = stage.learning_rate.over(stage.epochs)
    rate: Any = schedule(0)
    if stage.learning_rate.by_step:
        knots = np.linspace(0, stage.epochs, _KNOTS + 1)
        rates = np.array([schedule(float(epoch)) for epoch in knots], np.float32)
        rate = StepRates(rates.tolist(), stage.epochs * steps_per_epoch)
    recipe = stage.optimizer
    options: dict[str, Any] = {"learning_rate": rate}
    if recipe.clip_norm:
        options["global_clipnorm"] = recipe.clip_norm
    if recipe.name == "sgd":
        return L2SGD(l2=recipe.weight_decay, momentum=recipe.momentum, **options)
    kind = {"adam": keras.optimizers.Adam, "adamax": keras.optimizers.Adamax}[recipe.name]
    return kind(weight_decay=recipe.weight_decay or None, **options)


@keras.saving.register_keras_serializable(package="face_zoo")
class StepRates(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The rate at each of ``steps`` steps, read off knots that lie evenly over them."""

    def __init__(self, rates: list[float], steps: int) -> None:
        self.rates = rates
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        last = len(self.rates) - 1
        place = ops.clip(ops.cast(step, "float32") * (last / self.steps), 0.0, float(last))
        below = ops.minimum(ops.floor(place), float(last - 1))
        share = place - below
        number = ops.cast(below, "int32")
        rates = ops.convert_to_tensor(self.rates, dtype="float32")
        return (1.0 - share) * ops.take(rates, number) + share * ops.take(rates, number + 1)

    def get_config(self) -> dict[str, Any]:
        return {"rates": self.rates, "steps": self.steps}


@keras.saving.register_keras_serializable(package="face_zoo")
class L2SGD(keras.optimizers.SGD):  # type: ignore[misc]
    """SGD whose weight decay is part of the gradient, and so of the momentum, as in PyTorch.

    Keras's own ``weight_decay`` is decoupled: with momentum 0.9 it is a tenth as strong.
    """

    def __init__(self, l2: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step."""
        if self.l2:
            gradient = ops.add(gradient, ops.multiply(ops.cast(variable, gradient.dtype), self.l2))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2}
