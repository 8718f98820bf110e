"""What a figure says of itself: results, tables, rankings and reports learn it from there alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evaluator.array_types import BoolArray, FloatArray
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing, Spread, spread_of
from evaluator.metrics.text import Digits, percent

Interval = tuple[float, float]
Stored = Mapping[str, Any]  # the ``figures`` object of a result, as JSON has it

# What a leaf of a figure's JSON is; OWN_SCALE is an interval of no share. An interval may be None.
SHARE, NUMBER, NUMBERS = "share", "number", "numbers"
INTERVAL, OWN_SCALE = "interval", "own scale"
TEXT, COUNT, MAYBE = "text", "count", "number or none"
#: How keys end that may lack: results from before there were intervals are whole too.
MAY_LACK = ("_ci95", "_bound95", "standard_error")


@dataclass(frozen=True)
class Each:
    """The shape of a mapping from any text to values of one shape, or None."""

    shape: Shape


@dataclass(frozen=True)
class Listed:
    """The shape of a list of values of one shape."""

    shape: Shape


#: A leaf; a block with these keys, made of the attributes of those names; a mapping; or a list.
Shape = str | Mapping[str, "Shape"] | Each | Listed


@dataclass(frozen=True, eq=False)
class Influence:
    """What each pair adds to the error of a figure, to first order: 0 in all for either class.

    ``genuine`` (G,) and ``impostor`` (I,) are in the order of `ScoredPairs`, or in that of `Sweep`
    where it is ``ascending``, equal where scores are. ``event`` is what one more wrong decision
    would change, at most. The variance of a figure is the sum of squares, that of a difference the
    sum of squares of the differences, and pairs that share images or people are summed by these.
    """

    genuine: FloatArray
    impostor: FloatArray
    event: float = 0.0
    ascending: bool = False

    @classmethod
    def none(cls, pairs: SortedPairs) -> Influence:
        """That of an undefined figure."""
        return cls(np.zeros(len(pairs.sweep.genuine)), np.zeros(len(pairs.sweep.impostor)))

    @classmethod
    def of_decisions(cls, correct: BoolArray, genuine: BoolArray) -> Influence:
        """That of the share of pairs decided rightly; both arguments have shape (pairs,)."""
        errors = (correct - correct.mean()) / len(correct)
        return cls(errors[genuine], errors[~genuine], 1 / len(correct))

    def contributions(self, pairs: SortedPairs) -> FloatArray:
        """What each pair adds (pairs,), in file order."""
        found = np.empty(len(pairs.pairs))
        for part, scores, where in (
            (self.genuine, pairs.pairs.genuine, pairs.pairs.is_genuine),
            (self.impostor, pairs.pairs.impostor, ~pairs.pairs.is_genuine),
        ):
            own = part
            if self.ascending:
                own = np.empty_like(part)
                own[np.argsort(scores)] = part  # equal scores have equal parts
            found[where] = own
        return found

    def spread(self, pairs: SortedPairs, sharing: Sharing | None) -> Spread:
        """How much the figure moves by chance, with what its pairs share."""
        if sharing is None or sharing.method == "pairs":
            # Sums round by their order, and a list has one figure in any order of its lines.
            genuine, impostor = (
                part if self.ascending else np.sort(part) for part in (self.genuine, self.impostor)
            )
            return Spread(float(genuine @ genuine + impostor @ impostor))
        return spread_of(self.contributions(pairs), pairs.pairs.is_genuine, sharing)


def spread_by(
    influence: Callable[[SortedPairs], Influence],
    pairs: SortedPairs,
    sharing: Sharing | None,
    variance: Callable[[], float],
) -> Spread:
    """How much a figure moves by chance: by its influence, or where pairs share nothing by what the
    influence's squares add up to, in closed form. To compute those of 15,000,000 pairs one by one
    takes longer than all figures.
    """
    if sharing is None or sharing.method == "pairs":
        return Spread(variance())
    return influence(pairs).spread(pairs, sharing)


def share_variance(share: float, count: int) -> float:
    """The variance of a share of so many independent pairs."""
    return share * (1 - share) / count


def lacks_a_class(genuine: int, impostors: int) -> str:
    """Why a figure that needs both classes is undefined on so many pairs of them, if that is it."""
    if not genuine:
        return "no genuine pairs"
    return "" if impostors else "no impostor pairs"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure. None is undefined everywhere, never 0 and never NaN.

    ``of`` computes its fields of `Figures` from the pairs and what they share, ``value`` the number
    alone; ``shape`` is their JSON; ``at`` is where the number stands in that, ``ci95_at`` its 95 %
    interval, None where none can be told. ``influence`` is what intervals and paired tests rest on.
    ``lacks`` says why the figure is undefined on so many genuine and impostor pairs.
    ``searches`` is "open" for a figure of all searches in the galleries of a template set, "mated"
    for one of those with a mate alone; ``decisions`` says which pairs a figure counts that is a
    share of them.
    """

    name: str  # what --metric takes
    label: str  # before it in `print`
    title: str  # over a table of it
    words: str  # in the caption of a ranking
    shape: Mapping[str, Shape]
    at: tuple[str, ...]
    of: Callable[[SortedPairs, Sharing | None], Mapping[str, Any]]
    value: Callable[[SortedPairs], float | None]
    influence: Callable[[SortedPairs], Influence]
    ci95_at: tuple[str, ...] = ()
    no_interval: str = ""  # why the figure alone has none that covers
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
    searches: Literal["", "open", "mated"] = ""
    decisions: Callable[[FloatArray], BoolArray] | None = None

    def read(self, stored: Stored | None) -> float | None:
        """The number in a result's figures, None where it is undefined or not there."""
        value = _at(stored, self.at)
        return None if value is None else float(value)

    def read_ci95(self, stored: Stored | None) -> Interval | None:
        """Its 95 % interval there; None where it has none, as results from before there was."""
        ends = _at(stored, self.ci95_at) if self.ci95_at else None
        return None if ends is None else (float(ends[0]), float(ends[1]))

    def cell_of(self, stored: Stored) -> str:
        """The figure as a table shows it, ``-`` where it is undefined."""
        value = self.read(stored)
        return self.digits(value) if value is None or self.cell is None else self.cell(stored)

    def line_of(self, stored: Stored) -> str:
        """The figure as `print` shows it, ``-`` where it is undefined."""
        if self.read(stored) is None:
            return self.cell_of(stored)
        why = f" (no interval: {self.no_interval})" if self.no_interval else ""
        return self.line(stored) if self.line else self.cell_of(stored) + why

    def why_undefined(self, stored: Stored, genuine: int, impostors: int) -> str:
        """Why there is no number in these figures of so many pairs; empty where it is not known."""
        if self.searches and "identification" not in stored:
            return "only template sets with galleries have it"
        if stored.keys().isdisjoint(self.shape):
            return "this result is older than the figure; zoo eval --fresh adds it"
        return self.lacks(genuine, impostors)

    def block_of(self, pairs: SortedPairs, sharing: Sharing | None = None) -> dict[str, Any]:
        """Its fields of a result's figures, computed, with what the pairs share."""
        found = self.of(pairs, sharing)
        return {field: as_json(value, self.shape[field]) for field, value in found.items()}

    def interval_of(self, pairs: SortedPairs, sharing: Sharing | None = None) -> Interval | None:
        """The 95 % interval, with what the pairs share; None where none can be told."""
        return self.read_ci95(self.block_of(pairs, sharing))


def _at(stored: Stored | None, place: tuple[str, ...]) -> Any:
    value: Any = stored
    for key in place:
        if value is None:
            return None
        value = value.get(key)
    return value


def as_json(value: Any, shape: Shape) -> Any:
    """A value of a figure as JSON of that shape; None (null) is undefined."""
    if value is None:
        return None
    if isinstance(shape, Each):
        return {key: as_json(each, shape.shape) for key, each in value.items()}
    if isinstance(shape, Listed):
        return [as_json(each, shape.shape) for each in value]
    if isinstance(shape, Mapping):
        return {
            key: as_json(getattr(value, key.replace("-", "_")), each) for key, each in shape.items()
        }
    return list(value) if isinstance(value, tuple) else value
