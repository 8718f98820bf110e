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


def cross_entropy(logits: Any, target: Any) -> Any:
    """-log softmax at each row's label, (batch,): ``target`` is the logit there, (batch, 1)."""
    return ops.logsumexp(logits, axis=-1) - ops.squeeze(target, axis=-1)


@keras.saving.register_keras_serializable(package="face_zoo")
class SoftmaxLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of softmax: labels (batch,) or (batch, 1), logits (batch, classes).

    In float32 whatever the global precision. A label outside 0..classes-1 is the caller's error:
    it raises on TensorFlow's CPU and gives NaN or a wrong value elsewhere.
    """

    def __init__(
        self, name: str = "softmax", reduction: str = "sum_over_batch_size", **options: Any
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(name=name, reduction=reduction, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        labels = label_column(y_true)
        return cross_entropy(y_pred, ops.take_along_axis(y_pred, labels, axis=-1))


@keras.saving.register_keras_serializable(package="face_zoo")
class MarginSoftmax(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of scaled cosines with a margin on the target's.

    The target's logit is ``scale * (cos(angular_mul * theta + angular_add) - cosine_sub)``, theta
    being the angle between the embedding and its class vector; the others are ``scale * cosine``.
    ArcFace (Deng et al., CVPR 2019, eq. 4) is (1, 0.5, 0), CosFace (Wang et al., CVPR 2018, eq. 4)
    (1, 0, 0.4). `MARGINS` names these and others.

    Where ``angular_mul * theta + angular_add`` passes pi, the cosine would rise again, and
    ``fallback`` says what stands there instead:
        "linear": cosine - angular_add * sin(angular_add) - cosine_sub, which falls on with theta;
        "cosine": the cosine itself, without any margin;
        "none": nothing; the formula above goes on.

    Labels (batch,) or (batch, 1), cosines (batch, classes), as `NormDense` with ``cosine`` gives
    them; a target's cosine is clipped to ±(1 - 1e-7), where its gradient ends. In float32 whatever
    the global precision.

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
            raise InputError(f"MarginSoftmax: fallback: expected one of {names}; found {fallback}")
        self.fallback = fallback

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        labels = label_column(y_true)
        target = self.scale * self.target_cosine(ops.take_along_axis(y_pred, labels, axis=-1))
        rows = ops.expand_dims(ops.arange(ops.shape(labels)[0], dtype="int32"), 1)
        places = ops.concatenate([rows, labels], axis=1)
        logits = ops.scatter_update(self.scale * y_pred, places, ops.squeeze(target, axis=-1))
        return cross_entropy(logits, target)

    def target_cosine(self, cosine: Any) -> Any:
        """The target's logit before ``scale``, elementwise."""
        cosine = ops.clip(cosine, -LARGEST_COSINE, LARGEST_COSINE)
        angle = self.angular_mul * ops.arccos(cosine) + self.angular_add
        with_margin = ops.cos(angle) - self.cosine_sub
        return ops.where(
            angle > math.pi, FALLBACKS[self.fallback](self, cosine, with_margin), with_margin
        )

    def get_config(self) -> dict[str, Any]:
        names = ("angular_mul", "angular_add", "cosine_sub", "scale", "fallback")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


FALLBACKS: Mapping[str, Callable[[MarginSoftmax, Any, Any], Any]] = MappingProxyType(
    {
        "linear": lambda loss, cosine, _: (
            cosine - loss.angular_add * math.sin(loss.angular_add) - loss.cosine_sub
        ),
        "cosine": lambda _, cosine, __: cosine,
        "none": lambda _, __, with_margin: with_margin,
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
