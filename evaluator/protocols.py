"""The named ways to turn the scores of a bin's pairs into a verification accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluator.metrics import (
    BestAccuracy,
    Sweep,
    best_accuracy,
    checked_scores,
    correct_at_cuts,
    last_argmax,
    predecessor,
    sorted_classes,
    sweep,
    threshold_above,
)

SEED_CANDIDATES = 300  # ff[-300:] in the seed's epoch_eval_callback
INSIGHTFACE_FOLDS = 10
INSIGHTFACE_FAR = 1e-3
# A cosine may leave [-1, 1] by the rounding of float32 embeddings, never by more.
COSINE_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Fold:
    """One of the contiguous parts of a bin: which pairs it holds, and their scores ascending."""

    pairs: slice
    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.genuine) + len(self.impostor)


@dataclass(frozen=True, eq=False)
class KFoldAccuracy:
    """Mean and population standard deviation over the folds, and what was decided.

    ``thresholds`` has one a fold; ``correct`` (n,) says, in file order, which pairs the threshold
    of the other folds decided rightly.
    """

    accuracy: float
    std: float
    thresholds: tuple[float, ...]
    correct: NDArray[np.bool_]


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
    return seed300_of(sweep(scores, genuine))


def seed300_of(s: Sweep) -> BestAccuracy | None:
    """``seed300`` of scores that are sorted already."""
    if s.one_sided:
        return None
    candidates = s.impostor[-SEED_CANDIDATES:]
    accepted = len(s.genuine) - np.searchsorted(s.genuine, candidates, side="right")
    correct = accepted + np.searchsorted(s.impostor, candidates, side="right")
    best = last_argmax(correct)
    pairs = len(s.genuine) + len(s.impostor)
    return BestAccuracy(int(correct[best]) / pairs, float(candidates[best]), int(correct[best]))


def kfold(scores: ArrayLike, genuine: ArrayLike, folds: int = 10) -> KFoldAccuracy | None:
    """Accuracy of each fold at the threshold the other folds choose, so that nothing leaks.

    The folds are contiguous in file order and differ by one pair at most, the longer ones first.
    On the other folds the ``seed`` rule finds the best candidate; the threshold is halfway from it
    to their next higher score (the candidate itself where it is their highest score; the float
    under their lowest score where "below all" is best). None where undefined: fewer pairs than
    folds, or some fold whose others lack a class. A fold that lacks one itself still counts.
    Raises ValueError for fewer than two folds.
    """
    values, labels = checked_scores(scores, genuine)
    if folds < 2:
        raise ValueError(f"folds must be at least 2; got {folds}")
    if len(values) < folds:
        return None
    return kfold_of(sweep(values, labels), split_folds(values, labels, folds), values, labels)


def split_folds(
    scores: NDArray[np.float64], genuine: NDArray[np.bool_], folds: int
) -> tuple[Fold, ...]:
    """The pairs in contiguous folds, split as scikit-learn's ``KFold(folds, shuffle=False)``."""
    shorter, longer = divmod(len(scores), folds)
    ends = np.cumsum([shorter + (i < longer) for i in range(folds)]).tolist()
    parts = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return tuple(Fold(part, *sorted_classes(scores[part], genuine[part])) for part in parts)


def kfold_of(
    s: Sweep, folds: Sequence[Fold], scores: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> KFoldAccuracy | None:
    """``kfold`` of scores that are sorted already, as a whole and fold by fold."""
    for fold in folds:
        if len(fold.genuine) == len(s.genuine) or len(fold.impostor) == len(s.impostor):
            return None
    overall = correct_at_cuts(s)
    thresholds = []
    correct = np.empty(len(scores), dtype=np.bool_)
    for fold in folds:
        cut = _best_cut_without(s, overall, fold)
        others = [x for x in folds if x is not fold]
        thresholds.append(_threshold_at_cut(s, cut, others))
        correct[fold.pairs] = (scores[fold.pairs] > thresholds[-1]) == genuine[fold.pairs]
    accuracies = [np.count_nonzero(correct[fold.pairs]) / len(fold) for fold in folds]
    return KFoldAccuracy(
        float(np.mean(accuracies)), float(np.std(accuracies)), tuple(thresholds), correct
    )


def _best_cut_without(s: Sweep, overall: NDArray[np.int64], fold: Fold) -> int:
    """The highest cut of the whole sweep that decides most pairs outside the fold rightly.

    Pairs right outside the fold = ``overall`` (see ``correct_at_cuts``) - pairs right inside it.
    Counting inside the fold costs a search a cut, so cuts are taken in blocks, and a block is
    counted only if its bound reaches what some block's first cut gives: at most a few per cent of
    the cuts of a large bin, and the same answer.
    """
    genuine, last = s.genuine, len(s.genuine)

    def right_inside(cuts: NDArray[np.int64]) -> NDArray[np.int64]:
        return _accepted_at(cuts) + _rejected_at(cuts)

    def _accepted_at(cuts: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.searchsorted(fold.genuine, genuine[np.minimum(cuts, last - 1)], side="left")
        return np.where(cuts == last, 0, len(fold.genuine) - at)

    def _rejected_at(cuts: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.searchsorted(fold.impostor, genuine[np.minimum(cuts, last - 1)], side="left")
        return np.where(cuts == last, len(fold.impostor), at)

    size = math.isqrt(last) + 1
    first = np.arange(0, last + 1, size)
    final = np.append(first[1:] - 1, last)
    # Inside the fold, later cuts accept fewer genuine scores and reject more impostors.
    bound = np.maximum.reduceat(overall, first) - _accepted_at(final) - _rejected_at(first)
    reached = int((overall[first] - right_inside(first)).max())
    survivors = np.flatnonzero(bound >= reached)
    cuts = (first[survivors, None] + np.arange(size)).ravel()
    cuts = cuts[cuts <= last]
    return int(cuts[last_argmax(overall[cuts] - right_inside(cuts))])


def _threshold_at_cut(s: Sweep, cut: int, others: Sequence[Fold]) -> float:
    """The midpoint above the highest impostor score below the cut, by the other folds' scores."""
    score = float(s.genuine[cut]) if cut < len(s.genuine) else math.inf
    candidate = max(predecessor(fold.impostor, score) for fold in others)
    return threshold_above(candidate, [x for fold in others for x in (fold.genuine, fold.impostor)])


def insightface(scores: ArrayLike, genuine: ArrayLike) -> InsightfaceAccuracy | None:
    """What insightface's ``evaluate`` (arcface_torch, commit 7fadd42) gives for these cosines.

    Distance is 2 - 2 cos, the squared L2 distance of unit embeddings; a pair is accepted below the
    threshold. Accuracy: grid 0, 0.01 .. 3.99, the first best threshold of nine contiguous folds
    scores the tenth; mean and population std. TAR at FAR 1e-3: grid 0, 0.001 .. 3.999, threshold
    interpolated linearly in the nine folds' FAR, 0 where that never reaches 1e-3.

    None for fewer than 10 pairs, a missing class, or scores that are no cosines (outside [-1, 1]
    by more than rounding). The TAR alone is None where a fold lacks a class: insightface divides
    by zero there.
    """
    values, labels = checked_scores(scores, genuine)
    if len(values) < INSIGHTFACE_FOLDS:
        return None
    return insightface_of(split_folds(values, labels, INSIGHTFACE_FOLDS))


def insightface_of(folds: Sequence[Fold]) -> InsightfaceAccuracy | None:
    """``insightface`` of scores that are sorted already, fold by fold."""
    genuine = [_squared_distances(fold.genuine) for fold in folds]
    impostor = [_squared_distances(fold.impostor) for fold in folds]
    if not sum(map(len, genuine)) or not sum(map(len, impostor)):
        return None
    if any(len(x) and np.abs(x - 2).max() > 2 + 2 * COSINE_TOLERANCE for x in genuine + impostor):
        return None
    accuracies = _grid_accuracies(genuine, impostor)
    has_both = all(len(x) for x in genuine + impostor)
    return InsightfaceAccuracy(
        float(np.mean(accuracies)),
        float(np.std(accuracies)),
        _grid_tar(genuine, impostor) if has_both else None,
    )


def _squared_distances(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    return (2 - 2 * ascending)[::-1]


def _grid_accuracies(
    genuine: Sequence[NDArray[np.float64]], impostor: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Accuracy (folds,) of each fold at the first best grid threshold of the others."""
    grid = np.arange(0, 4, 0.01)
    pairs = np.array([len(g) + len(i) for g, i in zip(genuine, impostor, strict=True)])
    correct = np.stack(
        [
            np.searchsorted(g, grid, side="left") + len(i) - np.searchsorted(i, grid, side="left")
            for g, i in zip(genuine, impostor, strict=True)
        ]
    )
    best = np.argmax(correct.sum(axis=0) - correct, axis=1)
    chosen: NDArray[np.float64] = correct[np.arange(len(pairs)), best] / pairs
    return chosen


def _grid_tar(
    genuine: Sequence[NDArray[np.float64]], impostor: Sequence[NDArray[np.float64]]
) -> FoldedTar:
    """TAR at FAR 1e-3, each fold at the threshold interpolated in the others' FAR."""
    grid = np.arange(0, 4, 0.001)
    accepted = np.stack([np.searchsorted(x, grid, side="left") for x in impostor])
    sizes = np.array([len(x) for x in impostor])
    far_elsewhere = (accepted.sum(axis=0) - accepted) / (sizes.sum() - sizes)[:, None]
    # insightface asks scipy's interp1d, which leaves FARs that repeat to np.interp.
    thresholds = [
        float(np.interp(INSIGHTFACE_FAR, far, grid)) if far[-1] >= INSIGHTFACE_FAR else 0.0
        for far in far_elsewhere
    ]
    tars, fars = (
        [
            int(np.searchsorted(x, threshold, side="left")) / len(x)
            for x, threshold in zip(part, thresholds, strict=True)
        ]
        for part in (genuine, impostor)
    )
    return FoldedTar(float(np.mean(tars)), float(np.std(tars)), float(np.mean(fars)))


PROTOCOLS: dict[
    str,
    Callable[[ArrayLike, ArrayLike], BestAccuracy | KFoldAccuracy | InsightfaceAccuracy | None],
] = {"seed": seed, "seed300": seed300, "kfold": kfold, "insightface": insightface}
