"""One sorted sweep over the scores of a bin's pairs, which every figure is read off.

A higher score is more alike; a pair is accepted if ``score > threshold``. FMR is the share of
impostor pairs accepted, FNMR the share of genuine pairs rejected. A pair that is missed, since an
image of it failed to embed, scores -inf: no threshold accepts it, and every rate counts it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluator.errors import InputError

# Large arrays are split and searched in pieces that stay in cache: a third of the time of one
# boolean index a class, two thirds of one search (benchmarks/figures.py --alternatives).
_SPLIT_PIECE = 1 << 18
_SEARCH_PIECE = 1 << 12


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """The scores of n pairs, checked: ``scores`` (n,) float64, ``is_genuine`` (n,) bool. A missed
    pair has -inf.

    ``genuine`` (G,) and ``impostor`` (I,) are the scores of either class in file order.
    """

    scores: NDArray[np.float64]
    is_genuine: NDArray[np.bool_]
    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class Sweep:
    """The scores of both classes ascending, and what every cut through them decides.

    ``genuine`` (G,) and ``impostor`` (I,) are float64; ``impostors_below`` (G,) counts, for each
    genuine score, the impostor scores strictly below it. Cut j < G accepts the genuine scores
    from index j on and rejects those impostor scores; cut G accepts none and rejects every
    impostor. ``correct`` (G + 1,) is how many pairs that decides rightly; a cut among missed pairs
    counts as the lowest threshold, which rejects them. A threshold between two cuts only loses
    more, so the maximum over cuts is the maximum over all thresholds.
    """

    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]
    impostors_below: NDArray[np.int64]
    correct: NDArray[np.int64]

    @property
    def one_sided(self) -> bool:
        """Whether a class is missing, or every score, which leaves every figure undefined."""
        classes = self.genuine, self.impostor
        return not all(map(len, classes)) or all(len(scored(each)) == 0 for each in classes)

    @property
    def has_missed(self) -> bool:
        """Whether pairs were missed, which leaves figures undefined that need every score."""
        return any(len(scored(each)) < len(each) for each in (self.genuine, self.impostor))


@dataclass(frozen=True)
class BestAccuracy:
    """The highest accuracy any threshold reaches; ``correct`` pairs are decided rightly there."""

    accuracy: float
    threshold: float
    correct: int


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """FMR and FNMR of ``score > threshold`` at ascending thresholds; three arrays of one shape."""

    thresholds: NDArray[np.float64]
    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]


def sweep(scores: ArrayLike, genuine: ArrayLike) -> Sweep:
    """Sort the scores of n pairs; arguments and errors are those of ``scored_pairs``."""
    return sweep_of(scored_pairs(scores, genuine))


def scored_pairs(scores: ArrayLike, genuine: ArrayLike) -> ScoredPairs:
    """The scores of n pairs: ``scores`` (n,) finite, higher is more alike, or -inf for a pair that
    is missed; ``genuine`` (n,) bool.

    Raises InputError for another shape, type or length, or a score that is NaN or +inf.
    """
    values, labels = np.asarray(scores), np.asarray(genuine)
    if values.size == labels.size == 0:
        values, labels = values.astype(np.float64), labels.astype(np.bool_)
    if values.dtype.kind != "f" or values.itemsize > 8:
        raise InputError(f"scores must be floats of at most 64 bits; got {values.dtype}")
    if labels.dtype != np.bool_:
        raise InputError(f"genuine must be bool, True for a genuine pair; got {labels.dtype}")
    if values.ndim != 1 or labels.shape != values.shape:
        raise InputError(
            "scores and genuine must be 1-d and of equal length, one a pair; "
            f"got shapes {values.shape} and {labels.shape}"
        )
    values = values.astype(np.float64, copy=False)
    finite = values < math.inf  # -inf is a missed pair
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(
            f"scores must be finite; {np.count_nonzero(~finite)} are not, "
            f"the first is {values[first]} at pair {first}"
        )
    return ScoredPairs(values, labels, *_classes(values, labels))


def _classes(
    scores: NDArray[np.float64], is_genuine: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The genuine and the impostor scores, both in file order."""
    genuine = np.empty(np.count_nonzero(is_genuine))
    impostor = np.empty(len(scores) - len(genuine))
    done = 0
    for start in range(0, len(scores), _SPLIT_PIECE):
        piece = scores[start : start + _SPLIT_PIECE]
        labels = is_genuine[start : start + _SPLIT_PIECE]
        at, rest = np.flatnonzero(labels), np.flatnonzero(~labels)
        genuine[done : done + len(at)] = piece[at]
        impostor[start - done : start - done + len(rest)] = piece[rest]
        done += len(at)
    return genuine, impostor


def sweep_of(pairs: ScoredPairs) -> Sweep:
    """The sorted sweep over checked pairs."""
    # np.sort is SIMD, np.argsort costs 7 times as much and its gathers 2 more sorts. So the classes
    # are sorted apart, which needs no argsort, and joined by searching the sorted genuine scores
    # among the impostor scores (15,000,000 scores, benchmarks/figures.py --alternatives). Packing
    # the label into a bit of the score would merge scores that differ in that bit.
    genuine, impostor = np.sort(pairs.genuine), np.sort(pairs.impostor)
    return Sweep(genuine, impostor, *_cuts(genuine, impostor))


def _cuts(
    genuine: NDArray[np.float64], impostor: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``impostors_below`` and ``correct`` of a Sweep, from both classes ascending."""
    size = len(genuine)
    below = np.empty(size, dtype=np.int64)
    correct = np.empty(size + 1, dtype=np.int64)
    # The genuine scores of a piece fall between those at its ends, so a piece searches only the
    # impostor scores between them, which are in cache.
    ends = np.searchsorted(impostor, genuine[_SEARCH_PIECE::_SEARCH_PIECE], side="left").tolist()
    low = 0
    for start, high in zip(range(0, size, _SEARCH_PIECE), [*ends, len(impostor)], strict=False):
        part = slice(start, min(start + _SEARCH_PIECE, size))
        counts = np.searchsorted(impostor[low:high], genuine[part], side="left") + low
        below[part] = counts
        # Equal genuine scores: the first cut among them is a threshold below them all; the later
        # ones count fewer and so never win against it.
        correct[part] = counts + np.arange(size - start, size - part.stop, -1)
        low = high
    correct[size] = len(impostor)
    missed = size - len(scored(genuine))
    correct[:missed] = size - missed + len(impostor) - len(scored(impostor))
    return below, correct


def ranks_among(
    scores: NDArray[np.float64], other: NDArray[np.float64], side: Literal["left", "right"]
) -> NDArray[np.int64]:
    """How many of the other scores are below each (``left``) or not above it (``right``).

    Both ascend, so that a piece of one searches the part of the other between its own ends, which
    is in cache.
    """
    found = np.empty(len(scores), dtype=np.int64)
    for start in range(0, len(scores), _SEARCH_PIECE):
        piece = scores[start : start + _SEARCH_PIECE]
        low, high = np.searchsorted(other, piece[[0, -1]], side=side)
        found[start : start + len(piece)] = low + np.searchsorted(other[low:high], piece, side=side)
    return found


def last_argmax(values: NDArray[np.int64]) -> int:
    """The highest index at which the maximum stands."""
    return len(values) - 1 - int(np.argmax(values[::-1]))


def best_accuracy(s: Sweep) -> BestAccuracy | None:
    """The exact maximum accuracy over the candidate thresholds, or None if a class is missing.

    Candidates are every impostor score and one "below all"; no other threshold can do better. The
    highest candidate wins a tie. "Below all" is the float just under the lowest score, so
    ``score > threshold`` accepts every pair.
    """
    if s.one_sided:
        return None
    cut = last_argmax(s.correct)
    below = int(s.impostors_below[cut]) if cut < len(s.genuine) else len(s.impostor)
    best = int(s.correct[cut])
    threshold = float(s.impostor[below - 1]) if below else -math.inf
    if threshold == -math.inf:
        threshold = below_all((s.genuine, s.impostor))
    return BestAccuracy(best / (len(s.genuine) + len(s.impostor)), threshold, best)


def fmr_fnmr(s: Sweep) -> ErrorCurve | None:
    """FMR and FNMR at "below all" and at every distinct score, or None if a class is missing.

    The first point is (1, 0), short of the pairs that were missed, the last (0, 1); FMR never rises
    and FNMR never falls.
    """
    if s.one_sided:
        return None
    classes = (s.genuine, s.impostor)
    both = np.sort(np.concatenate([scored(each) for each in classes]))
    distinct = np.concatenate(([True], both[1:] != both[:-1]))
    thresholds = np.concatenate(([below_all(classes)], both[distinct]))
    rejected = np.searchsorted(s.impostor, thresholds, side="right")
    missed = np.searchsorted(s.genuine, thresholds, side="right")
    fmr = (len(s.impostor) - rejected) / len(s.impostor)
    return ErrorCurve(thresholds, fmr, missed / len(s.genuine))


def error_rates(s: Sweep, threshold: float) -> tuple[float, float]:
    """FMR and FNMR of ``score > threshold``; both classes must have scores."""
    matched = len(s.impostor) - int(np.searchsorted(s.impostor, threshold, side="right"))
    missed = int(np.searchsorted(s.genuine, threshold, side="right"))
    return matched / len(s.impostor), missed / len(s.genuine)


def threshold_above(score: float, ascending: Sequence[NDArray[np.float64]]) -> float:
    """The midpoint between ``score`` and the next higher score in any of the sorted arrays.

    It decides these scores as ``score`` itself does, but none of them by its last bit. With no
    higher score it is ``score``; from -inf ("below all") it is the float just under the lowest
    score; between neighbouring floats, where no midpoint exists, it is ``score``.
    """
    if score == -math.inf:
        return below_all(ascending)
    positions = [int(np.searchsorted(x, score, side="right")) for x in ascending]
    higher = [float(x[i]) for x, i in zip(ascending, positions, strict=True) if i < len(x)]
    if not higher:
        return score
    middle = score / 2 + min(higher) / 2  # halved first: the sum of two huge scores overflows
    return middle if score <= middle < min(higher) else score


def predecessor(ascending: NDArray[np.float64], score: float) -> float:
    """The highest value strictly below ``score``, -inf if there is none."""
    position = int(np.searchsorted(ascending, score, side="left"))
    return float(ascending[position - 1]) if position else -math.inf


def below_all(ascending: Sequence[NDArray[np.float64]]) -> float:
    """The float just under the lowest score of the sorted arrays; under 0 where none has any."""
    lowest = min((float(x[0]) for x in map(scored, ascending) if len(x)), default=0.0)
    return float(np.nextafter(lowest, -math.inf))


def scored(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores of those pairs that were not missed; all arrays are sorted."""
    if not len(ascending) or ascending[0] > -math.inf:
        return ascending
    return ascending[np.searchsorted(ascending, -math.inf, side="right") :]
