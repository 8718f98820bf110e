"""Ranks with ties: a model's rank is 1 + the number of models that are better beyond noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.errors import ResultError
from evaluator.metrics.figure import Figure
from evaluator.results.choice import Contestant
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored
from evaluator.statistics.differences import mean_of
from evaluator.statistics.differences import p_values as differences_p_values
from evaluator.statistics.pair_tests import SIGNIFICANCE, holm_p_values
from evaluator.statistics.shared_pairs import Scored, differences_of, unlike_the_others

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
        # Sums round by their order: that of compare.
        scores, notes = _load(models, sorted(bins))
        readable = [i for i, each in enumerate(scores) if each]
        if len(readable) > 1:
            by_bin = zip(*(scores[i] for i in readable), strict=True)
            found = [differences_of(of_bin, figure) for of_bin in by_bin]
            at = np.ix_(readable, readable)
            gaps[at] = mean_of(found).gaps
            p_values[at] = _corrected(differences_p_values(found))
    better = (gaps.T > 0) if figure.higher_is_better else (gaps.T < 0)
    ranks = (1 + (better & (p_values < SIGNIFICANCE)).sum(axis=1)).tolist()
    return Ranking(tuple(ranks), tuple(map(tuple, p_values.tolist())), tuple(notes))


def _corrected(p_values: FloatArray) -> FloatArray:
    """The p-values (models, models) after Holm's correction for the number of couples."""
    couples = np.triu_indices(len(p_values), 1)
    corrected = np.ones_like(p_values)
    corrected[couples] = holm_p_values(p_values[couples])
    symmetric: FloatArray = np.minimum(corrected, corrected.T)
    return symmetric


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
