"""What a figure says of itself: results, tables, rankings and reports learn it from there alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.text import Digits, percent

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Interval = tuple[float, float]
Stored = Mapping[str, Any]  # the ``figures`` object of a result, as JSON has it

_NORMAL_95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution

# What a leaf of a figure's JSON is.
SHARE, NUMBER, INTERVAL, NUMBERS = "share", "number", "interval", "numbers"


@dataclass(frozen=True)
class Each:
    """The shape of a mapping from any text to values of one shape, or None."""

    shape: Shape


#: A leaf; a block with these keys, made of the attributes of those names; or a mapping.
Shape = str | Mapping[str, "Shape"] | Each


@dataclass(frozen=True, eq=False)
class Influence:
    """What each pair adds to the error of a figure, to first order.

    ``contributions`` (pairs,) sum to 0, and are 0 for a pair without a score; ``decision`` is what
    one more wrong decision would change, 0 for a figure without decisions. Intervals and paired
    tests rest on it: the variance of a figure is the sum of squares, that of a difference the sum
    of squares of the differences, and pairs that share images or people are summed by these.
    """

    contributions: FloatArray
    decision: float = 0.0

    @classmethod
    def none(cls, pairs: int) -> Influence:
        """That of an undefined figure."""
        return cls(np.zeros(pairs))

    @classmethod
    def of_classes(
        cls, genuine: BoolArray, own: FloatArray, impostors: FloatArray, decision: float = 0.0
    ) -> Influence:
        """That of what genuine pairs and impostors add, each in the order of their pairs."""
        contributions = np.empty(len(genuine))
        contributions[genuine], contributions[~genuine] = own, impostors
        return cls(contributions, decision)

    @classmethod
    def of_decisions(cls, correct: BoolArray) -> Influence:
        """That of the share of pairs decided rightly."""
        return cls((correct - correct.mean()) / len(correct), 1 / len(correct))


def lacks_a_class(genuine: int, impostors: int) -> str:
    """Why a figure that needs both classes is undefined on so many pairs of them, if that is it."""
    if not genuine:
        return "no genuine pairs"
    return "" if impostors else "no impostor pairs"


def no_interval(stored: Stored, scores: FloatArray, genuine: BoolArray) -> None:
    """The interval of a figure that is fitted to its pairs so closely that none holds."""
    del stored, scores, genuine


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure. None is undefined everywhere, never 0 and never NaN.

    ``of`` computes its fields of `Figures` from the pairs; ``shape`` is their JSON; ``at`` is where
    the number stands in that. ``influence`` of scores (pairs,) and labels (pairs,) is what its
    interval and its paired tests rest on; ``interval`` of (stored figures, scores, labels) gives a
    better 95 % interval of the figure alone, where there is one. ``lacks`` says why the figure is
    undefined on so many genuine and impostor pairs.
    """

    name: str  # what --metric takes
    label: str  # before it in `print`
    title: str  # over a table of it
    words: str  # in the caption of a ranking
    shape: Mapping[str, Shape]
    at: tuple[str, ...]
    of: Callable[[SortedPairs], Mapping[str, Any]]
    influence: Callable[[FloatArray, BoolArray], Influence]
    interval: Callable[[Stored, FloatArray, BoolArray], Interval | None] | None = None
    explanation: str = ""  # what a report says of it; a figure without one is in no report
    higher_is_better: bool = True
    protocol: str | None = None  # that of published figures which it is comparable with
    fits_threshold: bool = False  # whether a threshold fitted to pairs adds to its noise
    digits: Digits = percent
    ranking_digits: Digits | None = None  # where models differ by less than ``digits`` show
    cell: Callable[[Stored], str] | None = None  # in tables, instead of the number alone
    line: Callable[[Stored], str] | None = None  # in `print`, instead of the cell
    note: Callable[[Stored], str] | None = None  # under it in a report
    lacks: Callable[[int, int], str] = lacks_a_class
    in_every_result: bool = False  # else results from before there was this figure are whole too

    def read(self, stored: Stored | None) -> float | None:
        """The number in a result's figures, None where it is undefined or not there."""
        value: Any = stored
        for key in self.at:
            if value is None:
                return None
            value = value.get(key)
        return None if value is None else float(value)

    def cell_of(self, stored: Stored) -> str:
        """The figure as a table shows it, ``-`` where it is undefined."""
        value = self.read(stored)
        return self.digits(value) if value is None or self.cell is None else self.cell(stored)

    def line_of(self, stored: Stored) -> str:
        """The figure as `print` shows it, ``-`` where it is undefined."""
        defined = self.read(stored) is not None
        return self.line(stored) if defined and self.line else self.cell_of(stored)

    def why_undefined(self, stored: Stored, genuine: int, impostors: int) -> str:
        """Why there is no number in these figures of so many pairs; empty where it is not known."""
        if stored.keys().isdisjoint(self.shape):
            return "this result is older than the figure; zoo eval --fresh adds it"
        return self.lacks(genuine, impostors)

    def interval_of(
        self, stored: Stored, scores: FloatArray, genuine: BoolArray
    ) -> Interval | None:
        """The 95 % interval, as if pairs were independent; None where none can be told."""
        if self.interval is not None:
            return self.interval(stored, scores, genuine)
        value = self.read(stored)
        contributions = self.influence(scores, genuine).contributions
        half = _NORMAL_95 * math.sqrt(contributions @ contributions)
        return None if value is None or half == 0 else (value - half, value + half)


def as_json(value: Any, shape: Shape) -> Any:
    """A value of a figure as JSON of that shape; None (null) is undefined."""
    if value is None:
        return None
    if isinstance(shape, Each):
        return {key: as_json(each, shape.shape) for key, each in value.items()}
    if isinstance(shape, Mapping):
        return {
            key: as_json(getattr(value, key.replace("-", "_")), each) for key, each in shape.items()
        }
    return list(value) if isinstance(value, tuple) else value
