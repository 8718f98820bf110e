"""Axes of drawings: where values lie, and the round numbers that stand beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluator.array_types import FloatArray

# Below this, powers of ten lose their digits.
_LEAST = 1e-100


@dataclass(frozen=True)
class Axis:
    """A range of values laid over a range of the drawing: evenly ("linear"), by their logarithm
    ("log"), or, for rates, by the normal deviate that they are the tail of ("probit").
    """

    low: float
    high: float
    start: float
    end: float
    scale: Literal["linear", "log", "probit"] = "linear"

    def place(self, values: FloatArray) -> FloatArray:
        """Where values lie in the drawing; values outside the range lie outside too."""
        low, high = self._scaled(np.array([self.low, self.high]))
        places = (self._scaled(values) - low) / (high - low)
        placed: FloatArray = self.start + places * (self.end - self.start)
        return placed

    def _scaled(self, values: FloatArray) -> FloatArray:
        from scipy.special import ndtri

        scales = {"linear": lambda x: x, "log": np.log10, "probit": ndtri}
        scaled: FloatArray = scales[self.scale](values)
        return scaled

    def at(self, value: float) -> float:
        """Where one value lies."""
        return float(self.place(np.array([value], np.float64))[0])


def line_path(places: Iterable[tuple[float, float]] | FloatArray) -> str:
    """The ``d`` of a path through places in the drawing."""
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in places)


def even_ticks(
    low: float, high: float, within: tuple[float, float] = (-math.inf, math.inf)
) -> list[float]:
    """Four to seven multiples of 1, 2 or 5 times a power of ten that reach from low to high.

    A constant gets room of a tenth of itself, or of 1 around 0, on each side, but none beyond
    ``within``, the ends of what such a figure can be.
    """
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _LEAST):
        room = abs(low) / 10 if abs(low) > _LEAST else 1.0
        low, high = max(low - room, within[0]), min(high + room, within[1])
    step = even_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def even_step(step: float) -> float:
    """The next larger of 1, 2 or 5 times a power of ten; ``step`` itself if it is one."""
    power = 10.0 ** math.floor(math.log10(step) + 1e-9)
    return next(each * power for each in (1, 2, 5, 10) if each * power >= step * (1 - 1e-9))
