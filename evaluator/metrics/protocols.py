"""The named ways to turn the scores of a bin's pairs into a verification accuracy."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluator.errors import InputError
from evaluator.metrics.sweep import (
    BestAccuracy,
    ScoredPairs,
    Sweep,
    best_accuracy,
    last_argmax,
    predecessor,
    scored,
    scored_pairs,
    sweep,
    sweep_of,
    threshold_above,
)

SEED_CANDIDATES = 300  # ff[-300:] in the seed's epoch_eval_callback
INSIGHTFACE_FOLDS = 10
INSIGHTFACE_FAR = 1e-3
# A cosine may leave [-1, 1] by the rounding of float32 embeddings, never by more.
COSINE_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Fold:
    """One part of a bin: which pairs it holds, and their scores ascending."""

    pairs: slice | NDArray[np.intp]
    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.genuine) + len(self.impostor)


@dataclass(frozen=True, eq=False)
class SortedPairs:
    """What every figure is read off: n pairs, their sweep, and ten folds of them.

    Each is sorted once for all figures. ``folds`` is empty for fewer than ten pairs.
    """

    pairs: ScoredPairs
    sweep: Sweep
    folds: tuple[Fold, ...]

    @functools.cached_property
    def best(self) -> BestAccuracy | None:
        """The ``seed`` protocol's accuracy."""
        return best_accuracy(self.sweep)

    @functools.cached_property
    def kfold(self) -> KFoldAccuracy | None:
        """The ``kfold`` protocol's accuracy."""
        return kfold_of(self.sweep, self.folds, self.pairs) if self.folds else None


@dataclass(frozen=True, eq=False)
class KFoldAccuracy:
    """Mean and population standard deviation over the folds, and what was decided.

    ``std`` is how much folds differ, no interval of the mean; ``standard_error`` is LFW's, the
    sample standard deviation over the square root of the number of folds. ``thresholds`` has one a
    fold; ``correct`` (n,) says, in file order, which pairs the threshold of the other folds decided
    rightly.
    """

    accuracy: float
    std: float
    thresholds: tuple[float, ...]
    correct: NDArray[np.bool_]
    accuracy_ci95: tuple[float, float] | None = None

    @property
    def standard_error(self) -> float:
        """LFW's standard error of the mean accuracy."""
        return self.std / math.sqrt(len(self.thresholds) - 1)


@dataclass(frozen=True)
class FoldedTar:
    """TAR at FAR 1e-3 by insightface's rule: mean and population std over folds, mean FAR."""

    tar: float
    std: float
    far: float


@dataclass(frozen=True)
class InsightfaceAccuracy:
    """insightface's accuracy and, if every fold holds both classes, its TAR at FAR 1e-3."""

    accuracy: float
    std: float
    tar_at_far_1e_3: FoldedTar | None
    accuracy_ci95: tuple[float, float] | None = None


def sorted_pairs(
    scores: ArrayLike, genuine: ArrayLike, folds: ArrayLike | None = None
) -> SortedPairs:
    """The pairs, sorted; arguments and errors are those of ``scored_pairs`` and ``split_folds``.

    ``folds`` (n,) numbers the fold of each pair; None: they are ten contiguous parts.
    """
    pairs = scored_pairs(scores, genuine)
    found = split_folds(pairs, INSIGHTFACE_FOLDS if folds is None else folds)
    return SortedPairs(pairs, sweep_of(pairs), found)


def seed(scores: ArrayLike, genuine: ArrayLike) -> BestAccuracy | None:
    """The best accuracy any threshold gives on these very pairs; see ``best_accuracy``."""
    return best_accuracy(sweep(scores, genuine))


def seed300(scores: ArrayLike, genuine: ArrayLike) -> BestAccuracy | None:
    """The best accuracy among the 300 highest impostor scores, as the seed's callback logs it.

    Accept if ``score > t``; from the highest candidate down, the first maximum wins. It falls
    below ``seed`` where the optimum lies under the 300 highest. Two corners are not shared: the
    seed logs 0 at threshold 0 without impostor pairs and 1 without genuine ones; here both are
    undefined, hence None.
    """
    s = sweep(scores, genuine)
    if s.one_sided:
        return None
    candidates = s.impostor[-SEED_CANDIDATES:]
    accepted = len(s.genuine) - np.searchsorted(s.genuine, candidates, side="right")
    correct = accepted + np.searchsorted(s.impostor, candidates, side="right")
    best = last_argmax(correct)
    pairs = len(s.genuine) + len(s.impostor)
    return BestAccuracy(int(correct[best]) / pairs, float(candidates[best]), int(correct[best]))


def kfold(
    scores: ArrayLike, genuine: ArrayLike, folds: int | NDArray[np.integer] = 10
) -> KFoldAccuracy | None:
    """Accuracy of each fold at the threshold the other folds choose, so that nothing leaks.

    So many folds are contiguous in file order and differ by one pair at most, the longer ones
    first; an array (n,) numbers the fold of each pair, in any order.
    On the other folds the ``seed`` rule finds the best candidate; the threshold is halfway from it
    to their next higher score (the candidate itself where it is their highest score; the float
    under their lowest score where "below all" is best). None where undefined: fewer pairs than
    folds, or some fold whose others lack a class. A fold that lacks one itself still counts.
    Raises ValueError for fewer than two folds, and InputError as ``split_folds``.
    """
    pairs = scored_pairs(scores, genuine)
    if isinstance(folds, int) and folds < 2:
        raise ValueError(f"folds must be at least 2; got {folds}")
    found = split_folds(pairs, folds)
    return kfold_of(sweep_of(pairs), found, pairs) if found else None


def split_folds(pairs: ScoredPairs, folds: ArrayLike) -> tuple[Fold, ...]:
    """The pairs in so many contiguous folds, split as scikit-learn's ``KFold(folds)``, or in those
    that an array (pairs,) of whole numbers names, in their order; a number that no pair has is no
    fold. None at all for fewer pairs than folds. Raises InputError for another array.
    """
    if not isinstance(folds, int):
        return _numbered_folds(pairs, np.asarray(folds))
    if len(pairs) < folds:
        return ()
    shorter, longer = divmod(len(pairs), folds)
    found, start, genuine = [], 0, 0
    for index in range(folds):
        end = start + shorter + (index < longer)
        here = genuine + int(np.count_nonzero(pairs.is_genuine[start:end]))
        # Both classes are in file order, so a fold's scores stand together in each.
        found.append(
            Fold(
                slice(start, end),
                np.sort(pairs.genuine[genuine:here]),
                np.sort(pairs.impostor[start - genuine : end - here]),
            )
        )
        start, genuine = end, here
    return tuple(found)


def _numbered_folds(pairs: ScoredPairs, numbers: NDArray[np.generic]) -> tuple[Fold, ...]:
    if numbers.dtype.kind not in "iu" or numbers.shape != (len(pairs),):
        raise InputError(
            f"folds must be whole numbers of shape ({len(pairs)},), the fold of each pair; "
            f"got {numbers.dtype} of shape {numbers.shape}"
        )
    names, fold_of = np.unique(numbers, return_inverse=True)
    if len(names) < 2:
        return ()
    order = np.argsort(fold_of, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(fold_of))[:-1])
    found = []
    for part in parts:
        scores, genuine = pairs.scores[part], pairs.is_genuine[part]
        found.append(Fold(part, np.sort(scores[genuine]), np.sort(scores[~genuine])))
    return tuple(found)


def kfold_of(s: Sweep, folds: Sequence[Fold], pairs: ScoredPairs) -> KFoldAccuracy | None:
    """``kfold`` of scores that are sorted already, as a whole and fold by fold."""
    if s.one_sided:
        return None
    for fold in folds:
        if len(fold.genuine) == len(s.genuine) or len(fold.impostor) == len(s.impostor):
            return None
    cuts = _best_cuts_elsewhere(s, folds)
    thresholds = []
    correct = np.empty(len(pairs), dtype=np.bool_)
    for fold, cut in zip(folds, cuts, strict=True):
        threshold = _threshold_at_cut(s, cut, [x for x in folds if x is not fold])
        accepted = pairs.scores[fold.pairs] > threshold
        correct[fold.pairs] = accepted == pairs.is_genuine[fold.pairs]
        thresholds.append(threshold)
    accuracies = [np.count_nonzero(correct[fold.pairs]) / len(fold) for fold in folds]
    return KFoldAccuracy(
        float(np.mean(accuracies)), float(np.std(accuracies)), tuple(thresholds), correct
    )


def _best_cuts_elsewhere(s: Sweep, folds: Sequence[Fold]) -> list[int]:
    """For each fold, the highest cut of the sweep that decides most pairs outside it rightly.

    Pairs right outside the fold = ``s.correct`` - pairs right inside it. Counting inside costs a
    search a cut, so cuts are taken in blocks, and a block is counted only if its bound reaches
    what some block's first cut gives: a few per cent of the cuts of a large bin, the same answer.
    """
    size = math.isqrt(len(s.correct)) + 1
    first = np.arange(0, len(s.correct), size)
    final = np.append(first[1:] - 1, len(s.genuine))
    block_best = np.maximum.reduceat(s.correct, first)
    best = []
    for fold in folds:
        # Later cuts accept fewer of the fold's genuine scores and reject more of its impostors.
        bound = block_best - _accepted(s, fold, final) - _rejected(s, fold, first)
        starts = s.correct[first] - _accepted(s, fold, first) - _rejected(s, fold, first)
        survivors = np.flatnonzero(bound >= starts.max())
        cuts = (first[survivors, None] + np.arange(size)).ravel()
        cuts = cuts[cuts < len(s.correct)]
        outside = s.correct[cuts] - _accepted(s, fold, cuts) - _rejected(s, fold, cuts)
        best.append(int(cuts[last_argmax(outside)]))
    return best


def _accepted(s: Sweep, fold: Fold, cuts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the fold's genuine scores the cuts accept."""
    scores = s.genuine[np.minimum(cuts, len(s.genuine) - 1)]
    below = np.searchsorted(fold.genuine, scores, side="left")
    return np.where(cuts < len(s.genuine), len(fold.genuine) - below, 0)


def _rejected(s: Sweep, fold: Fold, cuts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the fold's impostor scores the cuts reject."""
    scores = s.genuine[np.minimum(cuts, len(s.genuine) - 1)]
    below = np.searchsorted(fold.impostor, scores, side="left")
    return np.where(cuts < len(s.genuine), below, len(fold.impostor))


def _threshold_at_cut(s: Sweep, cut: int, others: Sequence[Fold]) -> float:
    """The midpoint above the highest impostor score below the cut, by the other folds' scores."""
    score = float(s.genuine[cut]) if cut < len(s.genuine) else math.inf
    candidate = max(predecessor(fold.impostor, score) for fold in others)
    return threshold_above(candidate, [x for fold in others for x in (fold.genuine, fold.impostor)])


def insightface(folds: Sequence[Fold]) -> InsightfaceAccuracy | None:
    """What insightface's ``evaluate`` (arcface_torch, commit 7fadd42) gives for the cosines of ten
    contiguous folds.

    Distance is 2 - 2 cos, the squared L2 distance of unit embeddings; a pair is accepted below the
    threshold. Accuracy: grid 0, 0.01 .. 3.99, the first best threshold of nine contiguous folds
    scores the tenth; mean and population std. TAR at FAR 1e-3: grid 0, 0.001 .. 3.999, threshold
    interpolated linearly in the nine folds' FAR, 0 where that never reaches 1e-3. A missed pair is
    beyond every threshold.

    None for fewer than 10 pairs, a missing class, or scores that are no cosines (outside [-1, 1]
    by more than rounding). The TAR alone is None where a fold lacks a class: insightface divides
    by zero there.
    """
    classes = [x for fold in folds for x in (fold.genuine, fold.impostor)]
    if not any(len(x.genuine) for x in folds) or not any(len(x.impostor) for x in folds):
        return None
    if not any(len(scored(x)) for x in classes):
        return None
    limit = 1 + COSINE_TOLERANCE
    if any(len(x) and (x[0] < -limit or x[-1] > limit) for x in map(scored, classes)):
        return None
    genuine, impostor = [fold.genuine for fold in folds], [fold.impostor for fold in folds]
    accuracies = _grid_accuracies(genuine, impostor)
    return InsightfaceAccuracy(
        float(np.mean(accuracies)),
        float(np.std(accuracies)),
        _grid_tar(genuine, impostor) if all(map(len, classes)) else None,
    )


def _count_nearer(
    ascending: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """How many distances 2 - 2 cos lie strictly below each threshold.

    A distance rounds, by half a bit of 4 at most: only those of cosines that come as near to a
    threshold's are computed.
    """
    cosines = 1 - thresholds / 2
    first, last = (np.searchsorted(ascending, cosines + away) for away in (-1e-15, 1e-15))
    found = len(ascending) - last
    for at in np.flatnonzero(first < last):
        distances = 2 - 2 * ascending[first[at] : last[at]]
        found[at] += np.count_nonzero(distances < thresholds[at])
    return found


def _grid_accuracies(
    genuine: Sequence[NDArray[np.float64]], impostor: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Accuracy (folds,) of each fold at the first best grid threshold of the others."""
    grid = np.arange(0, 4, 0.01)
    folds = list(zip(genuine, impostor, strict=True))
    correct = np.stack([_count_nearer(g, grid) + len(i) - _count_nearer(i, grid) for g, i in folds])
    best = np.argmax(correct.sum(axis=0) - correct, axis=1)
    pairs = np.array([len(g) + len(i) for g, i in folds])
    accuracies: NDArray[np.float64] = correct[np.arange(len(folds)), best] / pairs
    return accuracies


def _grid_tar(
    genuine: Sequence[NDArray[np.float64]], impostor: Sequence[NDArray[np.float64]]
) -> FoldedTar:
    """TAR at FAR 1e-3, each fold at the threshold interpolated in the others' FAR."""
    grid = np.arange(0, 4, 0.001)
    accepted = np.stack([_count_nearer(x, grid) for x in impostor])
    sizes = np.array([len(x) for x in impostor])
    far_elsewhere = (accepted.sum(axis=0) - accepted) / (sizes.sum() - sizes)[:, None]
    # insightface asks scipy's interp1d, which leaves FARs that repeat to np.interp.
    thresholds = [
        np.interp(INSIGHTFACE_FAR, far, grid) if far[-1] >= INSIGHTFACE_FAR else 0.0
        for far in far_elsewhere
    ]
    tars, fars = (
        [_count_nearer(x, np.array([t]))[0] / len(x) for x, t in zip(part, thresholds, strict=True)]
        for part in (genuine, impostor)
    )
    return FoldedTar(float(np.mean(tars)), float(np.std(tars)), float(np.mean(fars)))
