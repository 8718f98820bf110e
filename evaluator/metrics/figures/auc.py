"""AUC: the area under the ROC curve, and DeLong's placements, of which its errors are made.

Source: DeLong et al. 1988, by the ranks of one class among the other's, O(n log n).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.array_types import FloatArray, IntArray
from evaluator.metrics.figure import (
    INTERVAL,
    SHARE,
    Figure,
    Influence,
    spread_by,
)
from evaluator.metrics.intervals import accuracy_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.sweep import Sweep, ranks_among
from evaluator.metrics.text import Digits, cosine, interval_after

# Errors of an area weigh as much as the scores are out of order, and the next one may be the worst.
_MORE = 1.0
_PIECE = 1 << 13  # genuine scores that stay in cache; BLAS would start threads for more


def auc(s: Sweep) -> float | None:
    """Area under the ROC: the chance that a genuine score exceeds an impostor score.

    Ties count one half (Mann-Whitney U / GI). None if a class is missing.
    """
    return None if s.one_sided else _area(s, _ties(s))


def auc_and_error(s: Sweep) -> tuple[float, float] | None:
    """AUC, and its standard error where pairs are independent. None if a class is missing."""
    if s.one_sided:
        return None
    area = _area(s, ties := _ties(s))
    return area, math.sqrt(_powers(s, area, ties)[0])


def _area(s: Sweep, ties: NDArray[np.intp]) -> float:
    above = int(s.impostors_below.sum())
    last = np.searchsorted(s.impostor, s.genuine[ties], side="right")
    tied = int((last - s.impostors_below[ties]).sum())
    return (2 * above + tied) / (2 * len(s.genuine) * len(s.impostor))


def _ties(s: Sweep) -> NDArray[np.intp]:
    """Which of the genuine scores are impostor scores, too."""
    found = []
    for start in range(0, len(s.genuine), _PIECE):
        below = s.impostors_below[start : start + _PIECE]
        nearest = s.impostor[np.minimum(below, len(s.impostor) - 1)]
        found.append(start + np.flatnonzero(nearest == s.genuine[start : start + _PIECE]))
    return np.concatenate(found)


def influence(pairs: SortedPairs) -> Influence:
    """Of DeLong's placements: what each pair's share of the other class is beside the mean."""
    s = pairs.sweep
    if s.one_sided:
        return Influence.none(pairs)
    beaten, lost = _placements(s.genuine, s.impostor), 1 - _placements(s.impostor, s.genuine)
    return Influence(
        (beaten - beaten.mean()) / len(beaten), (lost - lost.mean()) / len(lost), ascending=True
    )


def _powers(s: Sweep, area: float, ties: NDArray[np.intp]) -> tuple[float, float]:
    """What the squares of the influences add up to, and the fourth powers, by the sweep alone.

    Between two genuine scores impostors lose to equally many; those that tie with some lose to half
    of these.
    """
    genuines, impostors = len(s.genuine), len(s.impostor)
    found = np.zeros(2)

    def add(misses: FloatArray, count: int, weights: IntArray | None = None) -> None:
        squares = misses * misses / count**2
        weighted = squares if weights is None else squares * weights
        found[:] += (weighted.sum(), weighted @ squares)

    for start in range(0, genuines + 1, _PIECE):
        below = s.impostors_below[start : start + _PIECE]
        add(below / impostors - area, genuines)
        before = s.impostors_below[start - 1] if start else 0
        last = [impostors] if start + _PIECE > genuines else []
        ends = np.concatenate([[before], below, last]).astype(np.int64)
        among = ends[1:] - ends[:-1]
        above = 1 - np.arange(start, start + len(among)) / genuines
        add(above - area, impostors, among)
    if len(ties):
        values, equals = np.unique(s.genuine[ties], return_counts=True)
        first = np.searchsorted(s.genuine, values)
        below = s.impostors_below[first]
        others = np.searchsorted(s.impostor, values, side="right") - below
        for share, sign in ((0.0, -1), (0.5, 1)):
            add((below + share * others) / impostors - area, genuines, sign * equals)
        for share, sign in ((1.0, -1), (0.5, 1)):
            add(1 - (first + share * equals) / genuines - area, impostors, sign * others)
    return float(found[0]), float(found[1])


def _worst(pairs: SortedPairs) -> float:
    """What the worst pair takes from the area; where none takes any, what one could."""
    s = pairs.sweep
    lowest = _placements(s.genuine[:1], s.impostor)[0]
    highest = _placements(s.impostor[-1:], s.genuine)[0]
    worst = max((1 - float(lowest)) / len(s.genuine), float(highest) / len(s.impostor))
    return worst or 1 / min(len(s.genuine), len(s.impostor))


def _placements(own: FloatArray, other: FloatArray) -> FloatArray:
    """Share of the other class that each score beats, ties half; both ascending."""
    low, high = (ranks_among(own, other, side) for side in ("left", "right"))
    return (low + high) / (2 * len(other))


def _fields(pairs: SortedPairs, sharing: Sharing | None) -> dict[str, Any]:
    s = pairs.sweep
    if s.one_sided:
        return {"auc": None, "auc_ci95": None}
    area = _area(s, ties := _ties(s))
    variance, fourths = _powers(s, area, ties)
    spread = spread_by(influence, pairs, sharing, lambda: variance)
    # By how many pairs that weigh the same the variance is known: a handful are out of order.
    deciding = variance**2 / fourths if fourths > 0 else math.inf
    ends = accuracy_interval(area, spread, _worst(pairs), more=_MORE, deciding=deciding)
    return {"auc": area, "auc_ci95": ends}


FIGURES = (
    Figure(
        name="auc",
        label="AUC",
        title="AUC",
        words="area under the ROC curve, %",
        explanation="The chance that a genuine pair scores higher than an impostor pair.",
        shape={"auc": SHARE, "auc_ci95": INTERVAL},
        at=("auc",),
        ci95_at=("auc_ci95",),
        of=_fields,
        value=lambda pairs: auc(pairs.sweep),
        influence=influence,
        line=lambda stored: (
            f"{cosine(stored['auc'])}{interval_after(stored.get('auc_ci95'), cosine)}"
        ),
        digits=cosine,
        ranking_digits=Digits(100, 3),
        in_every_result=True,
    ),
)
