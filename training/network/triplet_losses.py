"""Losses on embeddings themselves: triplets that were mined, and triplets found in each batch.

The margin's name says its unit, and so the distance that it is a difference of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
from keras import ops

from evaluator.errors import InputError, check_choice
from training.network.centers import whole_batch
from training.network.heads import inverse_lengths, root


class Found(NamedTuple):
    """What a batch's triplets say: the loss ((1,), or one a triplet); the share of them with a
    loss, and the share whose positive is nearer than the negative (scalars, no gradient).
    """

    loss: Any
    active: Any
    accuracy: Any


class _TripletLoss(keras.losses.Loss):  # type: ignore[misc]
    """The margin, the distance that it implies, and what the triplet losses share.

    Exactly one margin is given:
        ``margin_cosine``: of 1 - cosine, 0 to 2 (TensorFlow Addons' ``angular``);
        ``margin_euclidean``: of the Euclidean distance (``L2``);
        ``margin_squared_euclidean``: of its square (``squared-L2``; Schroff et al. 2015, eq. 1).
    The last two are of unit-length embeddings unless ``unit_length`` is false. In float32 whatever
    the global precision.

    Raises:
        InputError: none or several margins, or one that is not a finite number above 0.
    """

    def __init__(
        self,
        *,
        margin_cosine: float | None = None,
        margin_euclidean: float | None = None,
        margin_squared_euclidean: float | None = None,
        unit_length: bool = True,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(name=name or type(self).__name__.lower(), reduction=reduction, **options)
        given = {
            "cosine": margin_cosine,
            "euclidean": margin_euclidean,
            "squared_euclidean": margin_squared_euclidean,
        }
        named = [(each, value) for each, value in given.items() if value is not None]
        if len(named) != 1:
            names = ", ".join(f"margin_{each}" for each in given)
            raise InputError(f"{self.name}: expected one of {names}; found {len(named)} of them")
        self.distance, margin = named[0]
        if not (math.isfinite(margin) and margin > 0):
            raise InputError(
                f"{self.name}: margin_{self.distance}: expected a number above 0; found {margin!r}"
            )
        self.margin = float(margin)
        self.unit_length = bool(unit_length)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.found(y_true, y_pred).loss

    def found(self, labels: Any, embeddings: Any) -> Found:
        """The triplets of a batch: labels (batch,) or (batch, 1), embeddings (batch, features)."""
        raise NotImplementedError

    def points(self, embeddings: Any) -> Any:
        """The embeddings in float32, at unit length if the distance is taken there."""
        points = ops.cast(embeddings, "float32")
        if self.unit_length or self.distance == "cosine":
            points = points * inverse_lengths(points, axis=-1)
        return points

    def get_config(self) -> dict[str, Any]:
        own = {f"margin_{self.distance}": self.margin, "unit_length": self.unit_length}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="face_zoo", name="MinedTriplets")
class TripletMined(_TripletLoss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) of each triplet: (triplets,).

    The batch holds triplets row after row: anchor, positive, negative, anchor, ...; its size is a
    multiple of 3. Labels are not looked at.
    """

    def found(self, labels: Any, embeddings: Any) -> Found:
        points = self.points(embeddings)
        triplets = ops.reshape(points, (-1, 3, points.shape[-1]))
        anchors, positives, negatives = (triplets[:, i] for i in range(3))
        near = BETWEEN[self.distance](anchors, positives)
        far = BETWEEN[self.distance](anchors, negatives)
        loss = ops.relu(near - far + self.margin)
        return Found(loss, _mean(loss > 0), _mean(near < far))


class _BatchLoss(_TripletLoss):
    """A loss on triplets of the batch's own people; memory grows with batch squared.

    A batch without two images of any person has the loss 0. Under ``tf.distribute`` the batch is
    that of all replicas: triplets are not found per replica.
    """

    def found(self, labels: Any, embeddings: Any) -> Found:
        points, labels = whole_batch(self.points(embeddings), ops.reshape(labels, (-1, 1)))
        same = ops.equal(labels, ops.reshape(labels, (1, -1)))
        itself = ops.equal(*(ops.reshape(ops.arange(ops.shape(labels)[0]), s) for s in _CROSS))
        positive = ops.logical_and(same, ops.logical_not(itself))
        distances = ops.where(itself, 0.0, PAIRWISE[self.distance](points))
        loss, active = self.chosen(distances, positive, ops.logical_not(same))
        # Not a scalar: Keras would not scale that by the number of replicas.
        accuracy = _right(ops.stop_gradient(distances), positive, ops.logical_not(same))
        return Found(ops.reshape(loss, (1,)), active, accuracy)

    def chosen(self, distances: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
        """The loss and the share of active triplets, from three (batch, batch) arrays."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="face_zoo", name="SemiHardTriplets")
class TripletSemiHard(_BatchLoss):
    """Online semi-hard triplets as the code of TensorFlow Addons' ``TripletSemiHardLoss`` has them.

    For each two images of a person, the negative is the nearest of those farther from the anchor
    than the positive, whether within the margin or not; if there is none, the farthest of all. The
    loss is the mean over all such pairs, active or not. A batch of one person alone: the negative
    counts as the anchor itself. One deviation: without any pair, Addons divides by zero, and this
    is 0. Of negatives equally far, the first gets the gradient, where Addons shares it out. Addons
    leaves bringing the embeddings to unit length to the model: ``unit_length=False`` here.
    """

    def chosen(self, distances: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
        fixed = ops.stop_gradient(distances)
        far = ops.where(negative, fixed, _INFINITY)
        nearer = _counted(ops.sort(far, axis=1), fixed, "right")
        # In the order of the negatives, the first that is not nearer than the positive.
        place = ops.minimum(nearer, ops.shape(fixed)[1] - 1)
        nearest = ops.take_along_axis(ops.argsort(far, axis=1), place, axis=1)
        farthest = ops.argmax(ops.where(negative, fixed, -1.0), axis=-1, keepdims=True)
        beyond = ops.take_along_axis(distances, ops.cast(nearest, "int32"), axis=1)
        inside = ops.take_along_axis(distances, ops.cast(farthest, "int32"), axis=1)
        inside = ops.where(ops.any(negative, axis=1, keepdims=True), inside, 0.0)
        chosen = ops.where(nearer < _number(negative), beyond, inside)
        losses = ops.where(positive, ops.relu(distances - chosen + self.margin), 0.0)
        return ops.sum(losses) / _at_least_one(positive), _share(losses > 0, positive)


@keras.saving.register_keras_serializable(package="face_zoo", name="BatchHardTriplets")
class TripletBatchHard(_BatchLoss):
    """Each image with its farthest positive and its nearest negative (Hermans et al. 2017, eq. 5).

    The mean over the images that have both.
    """

    def chosen(self, distances: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
        farthest = ops.max(ops.where(positive, distances, 0.0), axis=1)
        nearest = ops.min(ops.where(negative, distances, _INFINITY), axis=1)
        both = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
        nearest = ops.where(both, nearest, 0.0)
        losses = ops.where(both, ops.relu(farthest - nearest + self.margin), 0.0)
        return ops.sum(losses) / _at_least_one(both), _share(losses > 0, both)


@keras.saving.register_keras_serializable(package="face_zoo", name="BatchAllTriplets")
class TripletBatchAll(_BatchLoss):
    """The mean over all triplets of the batch that have a loss (Hermans et al. 2017, eq. 6, as
    their text averages it: those without one do not water it down).
    """

    def chosen(self, distances: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
        fixed = ops.stop_gradient(distances)
        # How many negatives each positive has a loss with, and how many positives each negative.
        near = ops.sort(ops.where(negative, fixed, _INFINITY), axis=1)
        negatives = _counted(near, fixed + self.margin, "left")
        negatives = ops.where(positive, ops.cast(negatives, "float32"), 0.0)
        far = ops.sort(ops.where(positive, fixed, _INFINITY), axis=1)
        without = _counted(far, fixed - self.margin, "right")
        positives = ops.cast(_number(positive) - without, "float32")
        positives = ops.where(negative, positives, 0.0)
        total = ops.sum(negatives * (distances + self.margin) - positives * distances)
        active = ops.sum(negatives)
        triplets = ops.sum(ops.cast(_number(positive) * _number(negative), "float32"))
        return total / ops.maximum(active, 1.0), active / ops.maximum(triplets, 1.0)


_CROSS = ((-1, 1), (1, -1))
_INFINITY = float("inf")


def _counted(rows: Any, values: Any, side: str) -> Any:
    """How many of a row's numbers, which rise, are below each of its values (``left``), or not
    above it (``right``): two (batch, batch) arrays.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.searchsorted(rows, values, side=side)
    return ops.vectorized_map(lambda pair: ops.searchsorted(*pair, side=side), (rows, values))


def _number(flags: Any) -> Any:
    """How many of each row, (batch, 1)."""
    return ops.sum(ops.cast(flags, "int32"), axis=1, keepdims=True)


def _right(distances: Any, positive: Any, negative: Any) -> Any:
    """The share of all triplets whose positive is nearer than the negative."""
    negatives = _number(negative)
    far = ops.sort(ops.where(negative, distances, _INFINITY), axis=1)
    right = ops.where(positive, negatives - _counted(far, distances, "right"), 0)
    triplets = ops.sum(ops.cast(_number(positive) * negatives, "float32"))
    return ops.sum(ops.cast(right, "float32")) / ops.maximum(triplets, 1.0)


def _all_squared(points: Any) -> Any:
    squares = ops.sum(ops.square(points), axis=1, keepdims=True)
    products = ops.matmul(points, ops.transpose(points))
    return ops.relu(squares + ops.transpose(squares) - 2.0 * products)


def _squared(a: Any, b: Any) -> Any:
    return ops.sum(ops.square(a - b), axis=-1)


# Distances of each row of two arrays, and of each two rows of one. Cosine: of unit rows.
BETWEEN: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "cosine": lambda a, b: 1.0 - ops.sum(a * b, axis=-1),
        "euclidean": lambda a, b: root(_squared(a, b)),
        "squared_euclidean": _squared,
    }
)
PAIRWISE: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "cosine": lambda points: ops.relu(1.0 - ops.matmul(points, ops.transpose(points))),
        "euclidean": lambda points: root(_all_squared(points)),
        "squared_euclidean": _all_squared,
    }
)


def embedding_spread(_: Any, embeddings: Any) -> Any:
    """The variance of the unit-length embeddings, summed over features: 0 where all point the same
    way, near 1 where they point everywhere. A metric in the form that Keras takes.
    """
    points = ops.cast(embeddings, "float32")
    mean = ops.mean(points * inverse_lengths(points, axis=-1), axis=0)
    return 1.0 - ops.sum(ops.square(mean))


def triplet_metrics(loss: _TripletLoss) -> list[Callable[[Any, Any], Any]]:
    """Metrics ``accuracy``, ``active`` and ``spread`` of the triplets that a loss looks at."""

    def accuracy(labels: Any, embeddings: Any) -> Any:
        return loss.found(labels, embeddings).accuracy

    def active(labels: Any, embeddings: Any) -> Any:
        return loss.found(labels, embeddings).active

    def spread(labels: Any, embeddings: Any) -> Any:
        return embedding_spread(labels, embeddings)

    return [accuracy, active, spread]


@keras.saving.register_keras_serializable(package="face_zoo")
class ActiveTriplets(keras.metrics.Mean):  # type: ignore[misc]
    """The share of a batch's triplets that have a loss, of those that a triplet loss looks at.

    ``loss`` is its name in recipes: triplet_semihard, triplet_batch_hard, triplet_batch_all, or
    triplet (mined); the margin is its own. Labels and embeddings as the loss takes them.

    Raises:
        InputError: another ``loss``, or none or several margins.
    """

    def __init__(
        self,
        *,
        loss: str = "triplet_semihard",
        name: str = "active_triplets",
        dtype: Any = None,
        **margin: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        check_choice("ActiveTriplets: loss", loss, tuple(TRIPLET_LOSSES))
        self.loss = loss
        self.triplets = TRIPLET_LOSSES[loss](**margin)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch; weights are not looked at."""
        super().update_state(self.triplets.found(y_true, y_pred).active)

    def get_config(self) -> dict[str, Any]:
        margin = {f"margin_{self.triplets.distance}": self.triplets.margin}
        own = {"loss": self.loss, "unit_length": self.triplets.unit_length, **margin}
        return {**super().get_config(), **own}


def _mean(flags: Any) -> Any:
    return ops.mean(ops.cast(flags, "float32"))


def _at_least_one(flags: Any) -> Any:
    return ops.maximum(ops.sum(ops.cast(flags, "float32")), 1.0)


def _share(flags: Any, among: Any) -> Any:
    return ops.sum(ops.cast(flags, "float32")) / _at_least_one(among)


# The losses by their names in recipes.
TRIPLET_LOSSES: Mapping[str, type[_TripletLoss]] = MappingProxyType(
    {
        "triplet": TripletMined,
        "triplet_semihard": TripletSemiHard,
        "triplet_batch_hard": TripletBatchHard,
        "triplet_batch_all": TripletBatchAll,
    }
)
