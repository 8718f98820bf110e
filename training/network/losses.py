"""Classification losses over integer labels: softmax and the margins on its target logit.

Only the target's logit is read and changed: no one-hot labels, no arccosine of a whole row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from evaluator.errors import InputError

# The arccosine's gradient is infinite at a cosine of ±1; this is the nearest float32 below 1 but
# one, where it is finite.
LARGEST_COSINE = 1 - 1e-7


def cross_entropy(scores: Any, labels: Any, *, scale: float, target: Any, slope: Any) -> Any:
    """-log softmax at each row's label, (batch,), of ``scale * scores`` with ``target`` put there.

    ``scores`` are (batch, classes), ``labels``, ``target`` and ``slope`` (batch, 1). ``slope`` is
    the derivative of ``target`` by the score it stands for. The gradient is written out because
    the one that Keras derives for a gather is as large as ``scores``, twice: this keeps two arrays
    of that size beside ``scores``, and one of them is the gradient.
    """
    rows = ops.expand_dims(ops.arange(ops.shape(labels)[0], dtype="int32"), 1)
    places = ops.concatenate([rows, labels], axis=1)

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def losses(scores: Any) -> Any:
        logits = ops.scatter_update(scale * scores, places, ops.squeeze(target, axis=-1))
        largest = ops.max(logits, axis=-1, keepdims=True)
        terms = ops.exp(logits - largest)
        total = ops.sum(terms, axis=-1, keepdims=True)

        def gradient(*upstreams: Any, upstream: Any = None) -> Any:
            (upstream,) = upstreams or (upstream,)
            upstream = ops.expand_dims(upstream, 1)
            at_label = (ops.exp(target - largest) / total - 1.0) * upstream * slope
            return ops.scatter_update(
                terms * (scale * upstream / total), places, ops.squeeze(at_label, axis=-1)
            )

        return ops.squeeze(ops.log(total) + largest - target, axis=-1), gradient

    return losses(scores)


@keras.saving.register_keras_serializable(package="face_zoo")
class SoftmaxLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of softmax: labels (batch,) or (batch, 1), logits (batch, classes).

    In float32 whatever the global precision. A label below 0 is that of an image that only fills
    up a batch: its loss is 0. One above classes-1 is the caller's error: it raises on TensorFlow's
    CPU and gives NaN or a wrong value elsewhere.
    """

    def __init__(
        self, name: str = "softmax", reduction: str = "sum_over_batch_size", **options: Any
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(name=name, reduction=reduction, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        given = label_column(y_true)
        labels = ops.maximum(given, 0)
        target = ops.take_along_axis(ops.stop_gradient(y_pred), labels, axis=-1)
        slope = ops.ones_like(target)
        losses = cross_entropy(y_pred, labels, scale=1.0, target=target, slope=slope)
        return counted(losses, given)


@keras.saving.register_keras_serializable(package="face_zoo")
class MarginSoftmax(keras.losses.Loss):  # type: ignore[misc]
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
        InputError: a parameter that is not finite, ``angular_mul`` or ``scale`` not above 0,
            an unknown ``fallback``.
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
        super().__init__(name=name, reduction=reduction, **options)
        self.angular_mul = finite("angular_mul", angular_mul, positive=True)
        self.angular_add = finite("angular_add", angular_add)
        self.cosine_sub = finite("cosine_sub", cosine_sub)
        self.scale = finite("scale", scale, positive=True)
        if fallback not in FALLBACKS:
            names = ", ".join(FALLBACKS)
            raise InputError(
                f"MarginSoftmax: fallback: expected one of {names}; found {fallback!r}"
            )
        self.fallback = fallback

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
        clipped = ops.clip(cosine, -LARGEST_COSINE, LARGEST_COSINE)
        angle = self.angular_mul * ops.arccos(clipped) + self.angular_add
        target = ops.cos(angle) - self.cosine_sub
        slope = self.angular_mul * ops.sin(angle) * ops.rsqrt(1.0 - ops.square(clipped))
        slope = ops.where(clipped == cosine, slope, 0.0)
        less = FALLBACKS[self.fallback](self.angular_add, self.cosine_sub)
        if less is None:
            return target, slope
        beyond = angle > math.pi
        return ops.where(beyond, cosine - less, target), ops.where(beyond, 1.0, slope)

    def get_config(self) -> dict[str, Any]:
        names = ("angular_mul", "angular_add", "cosine_sub", "scale", "fallback")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


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
    """The keyword arguments of `MarginSoftmax` for one named margin, at scale 64."""
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


def counted(losses: Any, labels: Any) -> Any:
    """``losses`` (batch,), 0 where the label (batch, 1) is below 0."""
    return ops.where(ops.squeeze(labels, axis=-1) < 0, ops.zeros_like(losses), losses)


@keras.saving.register_keras_serializable(package="face_zoo")
class CountedAccuracy(keras.metrics.Mean):  # type: ignore[misc]
    """The share of images whose largest logit is their label's, of those with a label from 0 on."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch; weights are not looked at."""
        del sample_weight
        labels = ops.squeeze(label_column(y_true), axis=-1)
        right = ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), labels)
        super().update_state(ops.cast(right, "float32"), ops.cast(labels >= 0, "float32"))


@keras.saving.register_keras_serializable(package="face_zoo")
class CountedShare(keras.metrics.Mean):  # type: ignore[misc]
    """The share of a batch's images that have a label from 0 on."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch; weights are not looked at."""
        del y_pred, sample_weight
        super().update_state(ops.cast(label_column(y_true) >= 0, "float32"))


def label_column(labels: Any) -> Any:
    """Labels of shape (batch,) or (batch, 1) as int32 (batch, 1)."""
    return ops.cast(ops.reshape(labels, (-1, 1)), "int32")


def finite(name: str, value: float, *, positive: bool = False) -> float:
    """``value`` as a float.

    Raises:
        InputError: it is not finite, or not above 0 where ``positive`` asks for that.
    """
    number = float(value)
    if not math.isfinite(number) or (positive and number <= 0):
        expected = "a finite number above 0" if positive else "a finite number"
        raise InputError(f"MarginSoftmax: {name}: expected {expected}, found {value!r}")
    return number
