"""Ranks with ties: a model's rank is 1 + the number of models that are better beyond noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evaluator.errors import ResultError
from evaluator.metrics.figure import Figure
from evaluator.results.record import Scores
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored
from evaluator.statistics.pair_tests import SIGNIFICANCE
from evaluator.statistics.resampling import pair_sharing
from evaluator.statistics.separability import (
    Differences,
    corrected_p_values,
    differences_on_bin,
    neighbours_luck,
)


@dataclass(frozen=True)
class Ranking:
    """Ranks, and Holm's p-values (models, models); ``notes`` name models that were not tested."""

    ranks: tuple[int, ...]
    p_values: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]


def rank_means(
    means: Sequence[float], models: Sequence[tuple[str, Sequence[Stored]]], figure: Figure
) -> Ranking:
    """The ranking of models, best first, by their mean figure over bins.

    ``models`` are labels with a result a bin, the bins in the same order for all. Who is better is
    decided on the difference of means at 5 %, corrected by Holm for all couples. A model whose
    scores cannot be read is not separable from any.
    """
    values = np.array(means, dtype=np.float64)
    p_values = np.ones((len(values), len(values)))
    notes: list[str] = []
    if len(values) > 1:
        scores, notes = _load(models)
        readable = [i for i, each in enumerate(scores) if each]
        if len(readable) > 1:
            by_bin = zip(*(scores[i] for i in readable), strict=True)
            bins = [_differences(of_bin, figure) for of_bin in by_bin]
            p_values[np.ix_(readable, readable)] = corrected_p_values(values[readable], bins)
    quality = values if figure.higher_is_better else -values
    better = (quality[None, :] > quality[:, None]) & (p_values < SIGNIFICANCE)
    ranks = (1 + better.sum(axis=1)).tolist()
    return Ranking(tuple(ranks), tuple(map(tuple, p_values.tolist())), tuple(notes))


def _load(
    models: Sequence[tuple[str, Sequence[Stored]]],
) -> tuple[list[list[Scores]], list[str]]:
    """The scores of each model, bin by bin; none for a model that lacks some, and a line on it."""
    found: list[list[Scores]] = []
    notes = []
    for label, results in models:
        try:
            found.append([_scores_of(stored) for stored in results])
        except ResultError as error:
            found.append([])
            notes.append(f"{label}: ranked as if tied, its scores cannot be read: {error}")
    return _of_one_bin(models, found, notes)


def _of_one_bin(
    models: Sequence[tuple[str, Sequence[Stored]]], found: list[list[Scores]], notes: list[str]
) -> tuple[list[list[Scores]], list[str]]:
    """The same without models whose pairs on some bin are not those that most models have on it:
    results of one bin's SHA-256 have the same labels, unless one of them is made up.
    """
    kept, said = list(found), list(notes)
    for place in range(len(models[0][1]) if models else 0):
        labels = [scores[place].genuine.tobytes() if scores else None for scores in found]
        usual = Counter(each for each in labels if each is not None).most_common(1)
        for i, own in enumerate(labels):
            if kept[i] and own != usual[0][0]:
                kept[i] = []
                label, results = models[i]
                said.append(
                    f"{label}: ranked as if tied, {results[place].path} has other pairs than the "
                    "other results on that bin; use --fresh"
                )
    return kept, said


def _scores_of(stored: Stored) -> Scores:
    """The scores of a result that has a figure. Raises ResultError, OSError."""
    scores = load_scores(stored.path, stored.result)
    if not np.isfinite(scores.scores).any():
        raise ResultError(f"{stored.path}: it has figures, and no pair has a score; use --fresh")
    return scores


def _differences(scores: Sequence[Scores], figure: Figure) -> Differences:
    influences = []
    for each in scores:
        scored = np.isfinite(each.scores)
        of_scored = figure.influence(each.scores[scored], each.genuine[scored])
        contributions = np.zeros(len(each.scores))
        contributions[scored] = of_scored.contributions
        influences.append(replace(of_scored, contributions=contributions))
    # All are of one bin, so images and people are the same for all; a result may not know them.
    people = next((each.people for each in scores if each.people is not None), None)
    slots = scores[0].images if people is None else people
    unit: Literal["image", "person"] = "image" if people is None else "person"
    luck = neighbours_luck(scores) if figure.fits_threshold else 1.0
    return differences_on_bin(influences, pair_sharing(slots[0::2], slots[1::2], unit=unit), luck)
