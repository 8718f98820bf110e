"""Margins of `MarginHead`: what becomes of a target's cosine, as data without weights.

``cosine`` are the targets' and ``length`` the embeddings' L2 lengths, both (batch, 1) float32.
``value`` is what stands in the target's place before the scale, ``slope`` its derivative by the
cosine; what it depends on besides, Keras differentiates. Angles are in radians.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import keras
from keras import ops

from evaluator.errors import InputError
from training.network.losses import LARGEST_COSINE, finite, moved_target

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Margin:
    """What all margins share; this one moves nothing.

    ``STATE``: running values, by name with what they begin at, which the head holds as weights.
    ``DRAWS``: whether `target` wants a standard normal number an image.
    """

    STATE: ClassVar[Mapping[str, float]] = MappingProxyType({})
    DRAWS: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str):
                finite(f"{type(self).__name__}: {each.name}", value)

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        """``value`` and ``slope``. ``drawn`` is 0 outside of training."""
        raise NotImplementedError

    def others(self, cosines: Any, cosine: Any, state: Values) -> Any:
        """What stands in the places of other classes, from the cosines (batch, classes)."""
        return cosines

    def moved(self, state: Values, cosine: Any, length: Any, counts: Any) -> Values:
        """The running values after a batch of all devices, (batch, 1) each; before it is used."""
        return state

    def penalty(self, length: Any) -> Any:
        """What each image adds to the loss besides; None for nothing."""

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Margin:
        """The margin with these arguments."""
        return cls(**config)


# Makes a class known to Keras.
registered = keras.saving.register_keras_serializable(package="face_zoo")


@registered
@dataclass(frozen=True)
class CombinedMargin(Margin):
    """cos(angular_mul * theta + angular_add) - cosine_sub, `MarginLoss` with ``linear``."""

    angular_mul: float = 1.0
    angular_add: float = 0.0
    cosine_sub: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        finite("CombinedMargin: angular_mul", self.angular_mul, positive=True)

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        return _linear(cosine, self.angular_mul, self.angular_add, self.cosine_sub)


@registered
@dataclass(frozen=True)
class ArcFace(Margin):
    """cos(theta + margin); beyond pi, cosine - margin * sin(margin) (Deng et al., CVPR 2019)."""

    margin: float = 0.5

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        return _linear(cosine, 1.0, self.margin, 0.0)


@registered
@dataclass(frozen=True)
class CosFace(Margin):
    """cos(theta) - margin (Wang et al., CVPR 2018, eq. 4)."""

    margin: float = 0.4

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        return cosine - self.margin, ops.ones_like(cosine)


@registered
@dataclass(frozen=True)
class AdaFace(Margin):
    """cos(theta + g_angle) - g_add by the length of the embedding, as a sign of how good the image
    is (Kim et al., CVPR 2022, eqs. 9 to 12).

    With z = (length - mean) / (std / h), clipped to -1..1, g_angle is -margin * z and g_add margin
    * z + margin. Lengths are clipped to 0.001..100 and get no gradient; their running mean and
    standard deviation (of n - 1) move by ``momentum`` with each training batch. theta + g_angle is
    clipped to 0..pi (the paper's code: 0.001 inside of that, as it clips each cosine).
    """

    margin: float = 0.4
    h: float = 0.333
    momentum: float = 0.01
    STATE: ClassVar[Mapping[str, float]] = MappingProxyType({"mean": 20.0, "std": 100.0})

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        length = ops.clip(ops.stop_gradient(length), 0.001, 100.0)
        z = (length - state["mean"]) / (state["std"] + 0.001) * self.h
        z = ops.clip(z, -1.0, 1.0)
        clipped = ops.clip(cosine, -LARGEST_COSINE, LARGEST_COSINE)
        angle = ops.arccos(clipped) - self.margin * z
        slope = ops.sin(angle) * ops.rsqrt(1.0 - ops.square(clipped))
        inside = ops.logical_and(clipped == cosine, ops.logical_and(angle > 0, angle < math.pi))
        value = ops.cos(ops.clip(angle, 0.0, math.pi)) - self.margin * (1.0 + z)
        return value, ops.where(inside, slope, 0.0)

    def moved(self, state: Values, cosine: Any, length: Any, counts: Any) -> Values:
        length = ops.clip(length, 0.001, 100.0)
        images = ops.sum(counts)
        mean = ops.sum(length * counts) / ops.maximum(images, 1.0)
        squares = ops.sum(ops.square(length - mean) * counts)
        std = ops.sqrt(squares / ops.maximum(images - 1.0, 1.0))
        share = ops.where(images > 0, self.momentum, 0.0)
        return {
            "mean": share * mean + (1.0 - share) * state["mean"],
            "std": share * std + (1.0 - share) * state["std"],
        }


@registered
@dataclass(frozen=True)
class CurricularFace(Margin):
    """ArcFace's target; another class with a larger cosine than it has cosine * (t + cosine)
    (Huang et al., CVPR 2020, eqs. 4 to 7).

    t is the running mean of the targets' cosines, which moves by ``momentum`` with each training
    batch, from 0 on.
    """

    margin: float = 0.5
    momentum: float = 0.01
    STATE: ClassVar[Mapping[str, float]] = MappingProxyType({"t": 0.0})

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        return _linear(cosine, 1.0, self.margin, 0.0)

    def others(self, cosines: Any, cosine: Any, state: Values) -> Any:
        # Harder than cos(theta + margin) itself, not than what stands in its place beyond pi.
        bound, _ = moved_target(cosine, 1.0, self.margin, 0.0, None)
        return ops.where(cosines > bound, cosines * (state["t"] + cosines), cosines)

    def moved(self, state: Values, cosine: Any, length: Any, counts: Any) -> Values:
        images = ops.sum(counts)
        mean = ops.sum(cosine * counts) / ops.maximum(images, 1.0)
        share = ops.where(images > 0, self.momentum, 0.0)
        return {"t": share * mean + (1.0 - share) * state["t"]}


@registered
@dataclass(frozen=True)
class MagFace(Margin):
    """ArcFace with the margin m(a), and ``lambda_g`` * g(a) added to the loss (Meng et al., CVPR
    2021, eqs. 4 to 7).

    a is the embedding's length, clipped to l_a..u_a; m goes in a line from l_margin to u_margin,
    and g(a) = 1/a + a/u_a^2 draws lengths to u_a. Both give the length a gradient inside the clip.
    """

    l_a: float = 10.0
    u_a: float = 110.0
    l_margin: float = 0.45
    u_margin: float = 0.8
    lambda_g: float = 35.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.l_a < self.u_a:
            raise InputError(f"MagFace: expected 0 < l_a < u_a, found {self.l_a} and {self.u_a}")

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        rise = (self.u_margin - self.l_margin) / (self.u_a - self.l_a)
        margin = self.l_margin + rise * (ops.clip(length, self.l_a, self.u_a) - self.l_a)
        return moved_target(cosine, 1.0, margin, 0.0, margin * ops.sin(margin))

    def penalty(self, length: Any) -> Any:
        length = ops.clip(length, self.l_a, self.u_a)
        return self.lambda_g * (1.0 / length + length / self.u_a**2)


@registered
@dataclass(frozen=True)
class ElasticFace(Margin):
    """ArcFace (``kind`` "arc") or CosFace ("cos") whose margin is drawn anew for each image, normal
    with mean ``margin`` and standard deviation ``std`` (Boutros et al., CVPRW 2022, eqs. 4 and 5).

    Outside of training it is ``margin``. Beyond pi as in `ArcFace`, of which the paper is silent.
    """

    kind: str = "arc"
    margin: float = 0.5
    std: float = 0.0125
    DRAWS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("arc", "cos"):
            raise InputError(f"ElasticFace: kind: expected arc or cos, found {self.kind!r}")

    def target(self, cosine: Any, length: Any, state: Values, drawn: Any) -> tuple[Any, Any]:
        margin = self.margin + self.std * drawn
        if self.kind == "cos":
            return cosine - margin, ops.ones_like(cosine)
        return moved_target(cosine, 1.0, margin, 0.0, margin * ops.sin(margin))


def _linear(cosine: Any, mul: float, add: float, sub: float) -> tuple[Any, Any]:
    return moved_target(cosine, mul, add, sub, add * math.sin(add) + sub)


# By their names in recipes.
MARGIN_KINDS: Mapping[str, type[Margin]] = MappingProxyType(
    {
        "arcface": ArcFace,
        "cosface": CosFace,
        "combined": CombinedMargin,
        "adaface": AdaFace,
        "curricularface": CurricularFace,
        "magface": MagFace,
        "elasticface": ElasticFace,
    }
)


def margin_plain(margin: Margin) -> dict[str, Any]:
    """``{"name": "adaface", "margin": 0.4, ...}``, from which `margin_of` makes an equal one."""
    name = next(name for name, kind in MARGIN_KINDS.items() if type(margin) is kind)
    return {"name": name, **margin.get_config()}


def margin_of(plain: Mapping[str, Any]) -> Margin:
    """The margin that `margin_plain` described, or the one a recipe names."""
    options = dict(plain)
    return MARGIN_KINDS[options.pop("name")](**options)
