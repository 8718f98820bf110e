"""Pairs worth looking at: hardest errors, disagreements, and what a borrowed threshold costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.results.choice import Contestant
from evaluator.statistics.duels import OnBin
from zoo.report.selection import Column, Scored, Selection


@dataclass(frozen=True)
class ShownPair:
    """A pair by its position in the bin, with each model's score in the order of the models."""

    pair: int
    genuine: bool
    scores: tuple[float, ...]


@dataclass(frozen=True)
class HardPairs:
    """A model's errors on a bin at ``threshold``, the most mistaken first; the counts are whole."""

    contestant: Contestant
    column: Column
    threshold: float
    false_accepts: int
    false_rejects: int
    accepted: tuple[ShownPair, ...]
    rejected: tuple[ShownPair, ...]


@dataclass(frozen=True)
class Disagreement:
    """Pairs of a bin that only ``a`` or only ``b`` gets right at its best threshold."""

    a: Contestant
    b: Contestant
    column: Column
    only_a: int
    only_b: int
    shown_a: tuple[ShownPair, ...]
    shown_b: tuple[ShownPair, ...]


@dataclass(frozen=True)
class Transfer:
    """What using a threshold on a bin does: rates in [0, 1], ``lost`` accuracy in points, >= 0."""

    lost: float
    fmr: float
    fnmr: float


@dataclass(frozen=True)
class Calibration:
    """For one model, ``cells[i][j]``: the best threshold of bin i used on bin j."""

    contestant: Contestant
    columns: tuple[Column, ...]
    thresholds: tuple[float, ...]
    cells: tuple[tuple[Transfer, ...], ...]


def hard_pairs(
    contestant: Contestant, column: Column, scored: Scored, *, shown: int
) -> HardPairs | None:
    """The errors at the threshold that is best on the bin; None where that is undefined.

    False accepts come from the highest impostor score down, false rejects from the lowest genuine
    score up; equal scores in file order.
    """
    threshold = (scored.result.figures or {}).get("threshold")
    if threshold is None:
        return None
    accepted = scored.cosines > threshold
    wrong_accepts = np.flatnonzero(accepted & ~scored.genuine)
    wrong_rejects = np.flatnonzero(~accepted & scored.genuine)
    highest = wrong_accepts[np.argsort(-scored.cosines[wrong_accepts], kind="stable")][:shown]
    lowest = wrong_rejects[np.argsort(scored.cosines[wrong_rejects], kind="stable")][:shown]
    return HardPairs(
        contestant,
        column,
        threshold,
        len(wrong_accepts),
        len(wrong_rejects),
        tuple(_shown(scored, int(i)) for i in highest),
        tuple(_shown(scored, int(i)) for i in lowest),
    )


def disagreement(
    models: tuple[Contestant, Contestant],
    column: Column,
    scored: tuple[Scored, Scored],
    compared: OnBin,
    *,
    shown: int,
) -> Disagreement:
    """The pairs that a duel found one model alone to get right.

    Shown first are the pairs on which the models lie furthest apart, each score counted from its
    fold's threshold and in standard deviations of the model's own scores.
    """
    margins = [_margins(each) for each in scored]

    def furthest(pairs: NDArray[np.int64]) -> tuple[ShownPair, ...]:
        at = [np.searchsorted(each.pairs, pairs) for each in scored]
        gap = np.abs(margins[0][at[0]] - margins[1][at[1]])
        return tuple(
            ShownPair(
                int(pairs[i]),
                bool(scored[0].genuine[at[0][i]]),
                (float(scored[0].cosines[at[0][i]]), float(scored[1].cosines[at[1][i]])),
            )
            for i in np.argsort(-gap, kind="stable")[:shown]
        )

    only_a, only_b = compared.comparison.only_a, compared.comparison.only_b
    return Disagreement(
        *models, column, len(only_a), len(only_b), furthest(only_a), furthest(only_b)
    )


def calibration(contestant: Contestant, selection: Selection) -> Calibration | None:
    """A model's best threshold of each bin used on each other; None with fewer than two bins."""
    usable: list[tuple[Column, Scored, float]] = []
    for column in selection.columns:
        scored = selection.of(contestant, column)
        threshold = (scored.result.figures or {}).get("threshold") if scored else None
        both = scored is not None and 0 < scored.genuine.sum() < len(scored.genuine)
        if scored is not None and threshold is not None and both:
            usable.append((column, scored, float(threshold)))
    if len(usable) < 2:
        return None
    thresholds = tuple(threshold for *_, threshold in usable)
    own = [_accuracy(scored, threshold) for _, scored, threshold in usable]
    cells = tuple(
        tuple(
            _transfer(scored, threshold, best)
            for (_, scored, _), best in zip(usable, own, strict=True)
        )
        for threshold in thresholds
    )
    return Calibration(contestant, tuple(column for column, *_ in usable), thresholds, cells)


def shown_by_bin(
    hard: Sequence[HardPairs], disagreements: Sequence[Disagreement]
) -> dict[str, list[int]]:
    """The pairs whose faces are wanted, by the SHA-256 of their bin."""
    wanted: dict[str, dict[int, None]] = {}
    for column, pairs in (
        *((each.column, (*each.accepted, *each.rejected)) for each in hard),
        *((each.column, (*each.shown_a, *each.shown_b)) for each in disagreements),
    ):
        wanted.setdefault(column.record.sha256, {}).update({each.pair: None for each in pairs})
    return {sha256: list(own) for sha256, own in wanted.items() if own}


def _shown(scored: Scored, index: int) -> ShownPair:
    return ShownPair(
        int(scored.pairs[index]), bool(scored.genuine[index]), (float(scored.cosines[index]),)
    )


def _margins(scored: Scored) -> NDArray[np.float64]:
    """Scores from their fold's threshold, in standard deviations of all scores; -inf where missed.

    From their mean where only the pairs that a duel shares make ten folds of both kinds.
    """
    decided = scored.sorted.kfold
    there = scored.cosines[np.isfinite(scored.cosines)]
    if not len(there):
        return scored.cosines
    own = decided.thresholds if decided is not None else (float(there.mean()),)
    thresholds = np.asarray(own)
    folds = scored.scores.folds_of(scored.pairs)
    if folds is not None and len(thresholds) > 1:
        of_pair = thresholds[np.unique(folds, return_inverse=True)[1]]
    else:
        parts = np.array_split(np.arange(len(scored.cosines)), len(thresholds))
        of_pair = np.repeat(thresholds, [len(part) for part in parts])
    margins: NDArray[np.float64] = (scored.cosines - of_pair) / (float(there.std()) or 1.0)
    return margins


def _accuracy(scored: Scored, threshold: float) -> float:
    return float(((scored.cosines > threshold) == scored.genuine).mean())


def _transfer(scored: Scored, threshold: float, best: float) -> Transfer:
    accepted = scored.cosines > threshold
    return Transfer(
        lost=100 * (best - _accuracy(scored, threshold)),
        fmr=float(accepted[~scored.genuine].mean()),
        fnmr=float((~accepted[scored.genuine]).mean()),
    )
