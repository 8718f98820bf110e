"""Classification losses over integer labels: softmax and the margins on its target logit.

Only the target's logit is read and changed: no one-hot labels, no arccosine of a whole row. A loss
that keeps state or draws random numbers is a layer's: `margins`, `margin_head`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from evaluator.errors import InputError, check_choice
from training.network.heads import inverse_lengths

# The arccosine's gradient is infinite at a cosine of ±1; this is the nearest float32 below 1 but
# one, where it is finite.
LARGEST_COSINE = 1 - 1e-7


def cross_entropy(
    scores: Any, labels: Any, *, scale: float, target: Any, slope: Any, smoothing: float = 0.0
) -> Any:
    """-log softmax at each row's label, (batch,), of ``scale * scores`` with ``target`` put there.

    ``scores`` are (batch, classes), ``labels``, ``target`` and ``slope`` (batch, 1). ``slope`` is
    the derivative of ``target`` by the score it stands for; what else ``target`` depends on gets
    its own gradient. With ``smoothing`` the labels are 1 - smoothing, plus smoothing / classes for
    each class (Szegedy et al., CVPR 2016, section 7). The gradient is written out because the one
    that Keras derives for a gather is as large as ``scores``, twice: this keeps two arrays of that
    size beside ``scores``, and one of them is the gradient.
    """
    slope = ops.stop_gradient(slope)
    rows = ops.expand_dims(ops.arange(ops.shape(labels)[0], dtype="int32"), 1)
    places = ops.concatenate([rows, labels], axis=1)
    each = smoothing / ops.cast(ops.shape(scores)[1], "float32") if smoothing else 0.0

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def losses(scores: Any, target: Any) -> Any:
        logits = ops.scatter_update(scale * scores, places, ops.squeeze(target, axis=-1))
        largest = ops.max(logits, axis=-1, keepdims=True)
        terms = ops.exp(logits - largest)
        total = ops.sum(terms, axis=-1, keepdims=True)
        wanted = target
        if smoothing:
            mean = ops.mean(logits, axis=-1, keepdims=True)
            wanted = (1.0 - smoothing) * target + smoothing * mean

        def gradient(*upstreams: Any, upstream: Any = None) -> Any:
            (upstream,) = upstreams or (upstream,)
            upstream = ops.expand_dims(upstream, 1)
            at_label = ops.exp(target - largest) / total - (1.0 - smoothing + each)
            by_scores = terms * (scale * upstream / total)
            if smoothing:
                by_scores = by_scores - each * scale * upstream
            by_score = ops.squeeze(at_label * upstream * slope, axis=-1)
            return ops.scatter_update(by_scores, places, by_score), at_label * upstream

        return ops.squeeze(ops.log(total) + largest - wanted, axis=-1), gradient

    return losses(scores, target)


@keras.saving.register_keras_serializable(package="face_zoo")
class SoftmaxLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of softmax: labels (batch,) or (batch, 1), logits (batch, classes).

    In float32 whatever the global precision. A label below 0 is that of an image that only fills
    up a batch: its loss is 0. One above classes-1 is the caller's error: it raises on TensorFlow's
    CPU and gives NaN or a wrong value elsewhere. ``label_smoothing`` is that of `cross_entropy`.

    Raises:
        InputError: ``label_smoothing`` not from 0 up to below 1; in a call, one-hot labels.
    """

    def __init__(
        self,
        name: str = "softmax",
        reduction: str = "sum_over_batch_size",
        *,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(name=name, reduction=reduction, **options)
        self.label_smoothing = share_below_one("SoftmaxLoss: label_smoothing", label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        given = label_column(y_true)
        labels = ops.maximum(given, 0)
        target = ops.take_along_axis(ops.stop_gradient(y_pred), labels, axis=-1)
        slope = ops.ones_like(target)
        losses = cross_entropy(
            y_pred, labels, scale=1.0, target=target, slope=slope, smoothing=self.label_smoothing
        )
        return counted(losses, given)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="face_zoo", name="MarginSoftmax")
class MarginLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of scaled cosines with a margin on the target's.

    The target's logit is ``scale * (cos(angular_mul * theta + angular_add) - cosine_sub)``, theta
    being the angle between the embedding and its class vector; the others are ``scale * cosine``.
    ArcFace (Deng et al., CVPR 2019, eq. 4) is (1, 0.5, 0), CosFace (Wang et al., CVPR 2018, eq. 4)
    (1, 0, 0.4). `MARGINS` names these and others.

    Where ``angular_mul * theta + angular_add`` passes pi, the cosine would rise again, and
    ``fallback`` says what stands there instead:
        "linear": cosine - angular_add * sin(angular_add) - cosine_sub, which goes on falling;
        "cosine": the cosine itself, without any margin;
        "none": nothing; the formula above goes on.

    Labels (batch,) or (batch, 1), cosines (batch, classes), as `NormDense` with ``cosine`` gives
    them; a target's cosine is clipped to ±(1 - 1e-7), where its gradient ends. In float32 whatever
    the global precision. A label below 0 has the loss 0, as in `SoftmaxLoss`.

    Raises:
        InputError: a parameter that is not finite, ``angular_mul`` or ``scale`` not above 0, an
            unknown ``fallback``, other systems' ``s``, ``m`` or ``easy_margin``; in a call, one-hot
            labels.
    """

    def __init__(
        self,
        angular_mul: float = 1.0,
        angular_add: float = 0.0,
        cosine_sub: float = 0.0,
        *,
        scale: float = 64.0,
        fallback: str = "linear",
        name: str = "margin_softmax",
        reduction: str = "sum_over_batch_size",
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        refuse_foreign("MarginLoss", options)
        super().__init__(name=name, reduction=reduction, **options)
        self.angular_mul = finite("MarginLoss: angular_mul", angular_mul, positive=True)
        self.angular_add = finite("MarginLoss: angular_add", angular_add)
        self.cosine_sub = finite("MarginLoss: cosine_sub", cosine_sub)
        self.scale = finite("MarginLoss: scale", scale, positive=True)
        if fallback not in FALLBACKS:
            names = ", ".join(FALLBACKS)
            raise InputError(f"MarginLoss: fallback: expected one of {names}; found {fallback!r}")
        self.fallback = fallback

    @classmethod
    def preset(cls, name: str, **changes: Any) -> MarginLoss:
        """The margin of that name in `presets`, with what ``changes`` says else; ``seed``, as
        recipes have it, is ``founding``.

        Raises:
            InputError: there is no such name.
        """
        name = name.replace("founding", "seed", 1) if name.startswith("founding") else name
        if name not in MARGINS:
            check_choice("margin", name, cls.presets())
        return cls(**{**MARGINS[name], **changes})

    @staticmethod
    def presets() -> tuple[str, ...]:
        """The names that `preset` takes."""
        return tuple(name.replace("seed", "founding", 1) for name in MARGINS)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        given = label_column(y_true)
        labels = ops.maximum(given, 0)
        cosine = ops.take_along_axis(ops.stop_gradient(y_pred), labels, axis=-1)
        target, slope = self.target_and_slope(cosine)
        losses = cross_entropy(
            y_pred,
            labels,
            scale=self.scale,
            target=self.scale * target,
            slope=self.scale * slope,
        )
        return counted(losses, given)

    def target_and_slope(self, cosine: Any) -> tuple[Any, Any]:
        """The target's logit before ``scale`` and its derivative by the cosine, elementwise."""
        less = FALLBACKS[self.fallback](self.angular_add, self.cosine_sub)
        return moved_target(cosine, self.angular_mul, self.angular_add, self.cosine_sub, less)

    def get_config(self) -> dict[str, Any]:
        names = ("angular_mul", "angular_add", "cosine_sub", "scale", "fallback")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def moved_target(cosine: Any, mul: float, add: Any, sub: Any, less: Any) -> tuple[Any, Any]:
    """cos(mul * theta + add) - sub and its derivative by the cosine; beyond pi, cosine - less
    unless that is None. ``add``, ``sub`` and ``less`` are numbers, or a row's own: (batch, 1).
    """
    clipped = ops.clip(cosine, -LARGEST_COSINE, LARGEST_COSINE)
    angle = mul * ops.arccos(clipped) + add
    target = ops.cos(angle) - sub
    slope = mul * ops.sin(angle) * ops.rsqrt(1.0 - ops.square(clipped))
    slope = ops.where(clipped == cosine, slope, 0.0)
    if less is None:
        return target, slope
    beyond = angle > math.pi
    return ops.where(beyond, cosine - less, target), ops.where(beyond, 1.0, slope)


# What is taken off the plain cosine beyond pi, from angular_add and cosine_sub.
FALLBACKS: Mapping[str, Callable[[float, float], float | None]] = MappingProxyType(
    {
        "linear": lambda add, sub: add * math.sin(add) + sub,
        "cosine": lambda _, __: 0.0,
        "none": lambda _, __: None,
    }
)


def margin(
    angular_mul: float, angular_add: float, cosine_sub: float, fallback: str = "linear"
) -> Mapping[str, Any]:
    """The keyword arguments of `MarginLoss` for one named margin, at scale 64."""
    return MappingProxyType(
        {
            "angular_mul": angular_mul,
            "angular_add": angular_add,
            "cosine_sub": cosine_sub,
            "scale": 64.0,
            "fallback": fallback,
        }
    )


MARGINS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "arcface": margin(1.0, 0.5, 0.0),
        "cosface": margin(1.0, 0.0, 0.4),
        # insightface's combined margin (1, 0.3, 0.2).
        "combined": margin(1.0, 0.3, 0.2),
        # cos(0.9 theta + 0.15) - 0.4, as the seed runs: margin2 is subtracted, margin3 added.
        "seed": margin(0.9, 0.15, 0.4, "cosine"),
        # The same three numbers in insightface's order, which the seed may have meant.
        "seed_swapped": margin(0.9, 0.4, 0.15, "cosine"),
        # The seed's second form, with its threshold.
        "seed_threshold": margin(1.0, 0.45, 0.0, "linear"),
    }
)


@keras.saving.register_keras_serializable(package="face_zoo")
class CountedLoss(keras.losses.Loss):  # type: ignore[misc]
    """Another loss on logits or cosines, which sees no label below 0: such an image's is 0."""

    def __init__(self, loss: Any, name: str = "counted", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.loss = keras.losses.get(loss)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        given = label_column(y_true)
        return counted(self.loss.call(ops.maximum(given, 0), y_pred), given)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": keras.losses.serialize(self.loss)}


def counted(losses: Any, labels: Any) -> Any:
    """``losses`` (batch,), 0 where the label (batch, 1) is below 0."""
    return ops.where(ops.squeeze(labels, axis=-1) < 0, ops.zeros_like(losses), losses)


class _Counted(keras.metrics.Mean):  # type: ignore[misc]
    """The mean of a value of each image, of those with a label from 0 on."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch; weights are not looked at."""
        labels = ops.squeeze(label_column(y_true), axis=-1)
        values = ops.cast(self.values_of(labels, y_pred), "float32")
        super().update_state(values, ops.cast(labels >= 0, "float32"))

    def values_of(self, labels: Any, y_pred: Any) -> Any:
        """(batch,) values, from labels (batch,) and what the model gives."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="face_zoo")
class CountedAccuracy(_Counted):
    """The share of images whose largest logit is their label's, of those with a label from 0 on."""

    def values_of(self, labels: Any, y_pred: Any) -> Any:
        return _hits(labels, y_pred)


@keras.saving.register_keras_serializable(package="face_zoo")
class CountedFigure(_Counted):
    """The mean of a column of what the model gives, of the images with a label from 0 on."""

    def __init__(self, column: int, **options: Any) -> None:
        super().__init__(**options)
        self.column = column

    def values_of(self, labels: Any, y_pred: Any) -> Any:
        return y_pred[:, self.column]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "column": self.column}


@keras.saving.register_keras_serializable(package="face_zoo")
class NearestAccuracy(_Counted):
    """The share of images whose nearest other one in the batch, by cosine, is of the same person,
    of those with a label from 0 on; ``y_pred`` are embeddings (batch, features).
    """

    def values_of(self, labels: Any, y_pred: Any) -> Any:
        points = ops.cast(y_pred, "float32")
        points = points * inverse_lengths(points, axis=-1)
        own = 3.0 * ops.eye(ops.shape(points)[0])
        nearest = ops.argmax(ops.matmul(points, ops.transpose(points)) - own, axis=-1)
        return ops.equal(ops.take(labels, nearest), labels)


@keras.saving.register_keras_serializable(package="face_zoo")
class CountedShare(keras.metrics.Mean):  # type: ignore[misc]
    """The share of a batch's images that have a label from 0 on."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch; weights are not looked at."""
        super().update_state(ops.cast(label_column(y_true) >= 0, "float32"))


@keras.saving.register_keras_serializable(package="face_zoo")  # type: ignore[untyped-decorator]
def logits_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest of the logits (or cosines; (batch, classes)) is the label's, else 0:
    (batch,), a metric in the form that Keras takes.

    Rows with a label below 0 do not count; the others of their batch count for them.
    """
    labels = ops.squeeze(label_column(y_true), axis=-1)
    counts = ops.cast(labels >= 0, "float32")
    right = ops.cast(_hits(labels, y_pred), "float32")
    return right * counts / ops.maximum(ops.mean(counts), keras.config.epsilon())


def _hits(labels: Any, logits: Any) -> Any:
    """Whether the largest logit of each image is its label's."""
    return ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), labels)


def label_column(labels: Any) -> Any:
    """Labels of shape (batch,) or (batch, 1) as int32 (batch, 1).

    Raises:
        InputError: they have another shape, as one-hot labels do.
    """
    shape = tuple(labels.shape)
    if len(shape) > 2 or (len(shape) == 2 and (shape[1] or 1) > 1):
        raise InputError(
            f"labels: expected a whole number an image, (batch,) or (batch, 1); found {shape}: of "
            "one-hot labels use argmax(labels, axis=-1)"
        )
    return ops.cast(ops.reshape(labels, (-1, 1)), "int32")


# What others call the parameters of a margin.
FOREIGN: Mapping[str, str] = MappingProxyType(
    {
        "s": "scale",
        "m": "angular_add (ArcFace, radians) or cosine_sub (CosFace); of a margin object, margin",
        "easy_margin": 'fallback="cosine"',
    }
)


def refuse_foreign(owner: str, options: Mapping[str, Any]) -> None:
    """Nothing.

    Raises:
        InputError: there is one of `FOREIGN` among the options.
    """
    for name in options:
        if name in FOREIGN:
            raise InputError(f"{owner}: {name}: there is no such option; use {FOREIGN[name]}")


def share_below_one(what: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        InputError: it is not from 0 up to below 1.
    """
    if not 0 <= float(value) < 1:
        raise InputError(f"{what}: expected a number from 0 up to below 1, found {value!r}")
    return float(value)


def finite(what: str, value: float, *, positive: bool = False) -> float:
    """``value`` as a float.

    Raises:
        InputError: it is not finite, or not above 0 where ``positive`` asks for that.
    """
    number = float(value)
    if not math.isfinite(number) or (positive and number <= 0):
        expected = "a finite number above 0" if positive else "a finite number"
        raise InputError(f"{what}: expected {expected}, found {value!r}")
    return number
