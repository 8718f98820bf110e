"""Ranks with ties: a model's rank is 1 + the number of models that are better beyond noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.errors import ResultError
from evaluator.metrics.all_figures import figures, to_json
from evaluator.metrics.figure import Figure
from evaluator.results.choice import Contestant, labels
from evaluator.results.overlap import shared_images
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored
from evaluator.statistics.pair_tests import SIGNIFICANCE
from evaluator.statistics.separability import (
    Differences,
    corrected_p_values,
    differences_on_bin,
    neighbours_luck,
)
from evaluator.statistics.shared_pairs import (
    Scored,
    SharedPairs,
    shared_pairs,
    unlike_the_others,
)

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Ranks, and Holm's p-values (models, models); ``notes`` name models that were not tested."""

    ranks: tuple[int, ...]
    p_values: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]


def rank_means(
    means: Sequence[float], models: Sequence[Contestant], bins: Sequence[str], figure: Figure
) -> Ranking:
    """The ranking of models, best first, by their mean figure over bins, given by their SHA-256.

    Who is better is decided at 5 % on the difference of their figures on the pairs that both
    scored, corrected by Holm for all couples. A model whose scores cannot be read is not separable
    from any.
    """
    values = np.array(means, dtype=np.float64)
    gaps = values[:, None] - values[None, :]
    p_values = np.ones_like(gaps)
    notes: list[str] = []
    if len(values) > 1:
        scores, notes = _load(models, bins)
        readable = [i for i, each in enumerate(scores) if each]
        if len(readable) > 1:
            by_bin = zip(*(scores[i] for i in readable), strict=True)
            found = [_on_bin(of_bin, figure) for of_bin in by_bin]
            first = [each.scores for each in scores[readable[0]]]
            records = [each.result.bin for each in scores[readable[0]]]
            named = labels([(each.sha256, each.name) for each in records])
            known = shared_images(
                {named[each.sha256]: own for each, own in zip(records, first, strict=True)}
            )
            if known.words:
                notes.append(f"{known.words}: the mean counts each bin, ranks as if independent")
            at = np.ix_(readable, readable)
            gaps[at] = np.mean([own for own, _ in found], axis=0)
            p_values[at] = corrected_p_values(gaps[at], [each for _, each in found])
    better = (gaps.T > 0) if figure.higher_is_better else (gaps.T < 0)
    ranks = (1 + (better & (p_values < SIGNIFICANCE)).sum(axis=1)).tolist()
    return Ranking(tuple(ranks), tuple(map(tuple, p_values.tolist())), tuple(notes))


def _load(
    models: Sequence[Contestant], bins: Sequence[str]
) -> tuple[list[list[Scored]], list[str]]:
    """The scores of each model, bin by bin; none for a model that lacks some, or whose pairs on a
    bin are not those of most, and a line on it.
    """
    found: list[list[Scored]] = []
    notes = []
    for model in models:
        try:
            found.append([_scored(model.results[sha256]) for sha256 in bins])
        except ResultError as error:
            found.append([])
            notes.append(f"{model.label}: ranked as if tied, its scores cannot be read: {error}")
    for place, sha256 in enumerate(bins):
        for i in unlike_the_others([own[place].scores if own else None for own in found]):
            found[i] = []
            notes.append(
                f"{models[i].label}: ranked as if tied, {models[i].results[sha256].path} has other "
                "pairs than the other results on that bin; use --fresh"
            )
    return found, notes


def _scored(stored: Stored) -> Scored:
    """The scores of a result that has a figure. Raises ResultError, OSError."""
    scores = load_scores(stored.path, stored.result)
    if not np.isfinite(scores.scores).any():
        raise ResultError(f"{stored.path}: it has figures, and no pair has a score; use --fresh")
    return Scored(stored.result, scores)


def _on_bin(models: Sequence[Scored], figure: Figure) -> tuple[FloatArray, Differences]:
    """The difference (models, models) of every two models' figures on the pairs that both scored,
    and its variance: 0 and infinite where a figure is undefined on them.
    """
    luck = neighbours_luck([each.scores for each in models]) if figure.fits_threshold else 1.0
    gaps, variances = (np.zeros((len(models), len(models))) for _ in range(2))
    freedom = np.full_like(gaps, np.inf)
    # Most models scored all pairs and know the same of them: one set of couples, not one each.
    for one, other in itertools.combinations_with_replacement(_alike(models), 2):
        shared = shared_pairs(models[one[0]], models[other[0]])
        members = sorted({*one, *other})
        values, found = _on_pairs([models[i] for i in members], shared, figure, luck)
        all_gaps = values[:, None] - values[None, :]
        for rows, columns in ((one, other), (other, one)):
            there = np.ix_(rows, columns)
            here = np.ix_(np.searchsorted(members, rows), np.searchsorted(members, columns))
            gaps[there], variances[there] = all_gaps[here], found.variances[here]
            freedom[there] = found.freedom
    undefined = np.isnan(gaps)
    gaps[undefined], variances[undefined] = 0.0, np.inf
    return gaps, Differences(variances, freedom)


def _alike(models: Sequence[Scored]) -> list[list[int]]:
    """Which models scored the same pairs and know the same of their images and people."""
    found: dict[tuple[bytes | None, ...], list[int]] = {}
    for i, each in enumerate(models):
        known = (np.isfinite(each.scores.scores), each.images, each.scores.people)
        key = tuple(None if values is None else values.tobytes() for values in known)
        found.setdefault(key, []).append(i)
    return list(found.values())


def _on_pairs(
    models: Sequence[Scored], shared: SharedPairs, figure: Figure, luck: float
) -> tuple[FloatArray, Differences]:
    """The models' figures (models,) on these pairs, and the variances of their differences."""
    if not len(shared.pairs):
        return np.full(len(models), np.nan), Differences(np.zeros((len(models),) * 2), np.inf)
    influences = [
        figure.influence(each.scores.scores[shared.pairs], shared.genuine) for each in models
    ]
    values = [_value(each, shared, figure) for each in models]
    return np.array(values), differences_on_bin(influences, shared.sharing, luck)


def _value(model: Scored, shared: SharedPairs, figure: Figure) -> float:
    """The figure on these pairs, which may be fewer than its own; NaN where it is undefined."""
    block = model.result.figures
    if len(shared.pairs) < np.isfinite(model.scores.scores).sum():
        folds = model.scores.folds_of(shared.pairs)
        block = to_json(figures(model.scores.scores[shared.pairs], shared.genuine, folds=folds))
    value = figure.read(block)
    return np.nan if value is None else value
