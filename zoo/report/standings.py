"""The leaderboard of a report: figures with intervals, and ranks by paired comparison."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.figure import Figure as Metric  # this module's Figure is one cell of it
from evaluator.statistics.comparison import Comparison, Overall, combine, compare_pairs, verdict
from evaluator.statistics.pair_tests import SIGNIFICANCE, holm_p_values
from zoo.report.selection import Column, Contestant, Scored, Selection, shared_pairs

Interval = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One cell: a number with its 95 % interval, or None and the reason in ``note``."""

    value: float | None
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Duel:
    """Two models compared on every bin that both have k-fold decisions on.

    ``p_value`` is corrected by Holm for the number of duels; ``bins`` and ``comparisons`` go
    together.
    """

    a: Contestant
    b: Contestant
    bins: tuple[Column, ...]
    comparisons: tuple[Comparison, ...]
    overall: Overall
    p_value: float

    @property
    def separable(self) -> bool:
        """Whether the difference is real at 5 %, after correction."""
        return self.p_value < SIGNIFICANCE

    @property
    def words(self) -> str:
        """The verdict on all bins together."""
        return verdict(self.overall, name_a=self.a.label, name_b=self.b.label, p_value=self.p_value)


@dataclass(frozen=True, eq=False)
class Standings:
    """Models from best to worst mean k-fold accuracy, those without one last.

    ``means`` (by key) are over ``ranked_bins``: the bins on which at least one model has k-fold
    figures. ``ranks`` counts from 1; models that cannot be told apart may share a rank, and a model
    without a mean has none.
    """

    contestants: tuple[Contestant, ...]
    ranked_bins: tuple[Column, ...]
    means: Mapping[tuple[str, ...], Figure]
    ranks: Mapping[tuple[str, ...], int]
    duels: tuple[Duel, ...]

    def duel(self, one: Contestant, other: Contestant) -> Duel | None:
        """The comparison of two models, in whichever order, None if they share no bin."""
        wanted = {one.key, other.key}
        return next((each for each in self.duels if {each.a.key, each.b.key} == wanted), None)


def standings(selection: Selection, *, replicates: int = 10_000) -> Standings:
    """Ranks by paired comparison: 1 + how many models are really better (Holm over all pairs).

    A model has a rank only if it has k-fold figures on every ranked bin. Seeded, so the same
    results give the same numbers.
    """
    ranked_bins = tuple(
        column
        for column in selection.columns
        if any(
            (scored := selection.of(each, column)) is not None and scored.kfold is not None
            for each in selection.contestants
        )
    )
    means = {
        each.key: mean_figure(METRICS["kfold"], each, ranked_bins, selection)
        for each in selection.contestants
    }
    ordered = tuple(
        sorted(selection.contestants, key=lambda each: (_descending(means[each.key]), each.label))
    )
    duels = _duels(ordered, selection, replicates)
    complete = [each for each in ordered if means[each.key].value is not None]
    ranks = {each.key: 1 + sum(_beats(o, each, duels) for o in complete) for each in complete}
    return Standings(ordered, ranked_bins, means, ranks, duels)


def mean_figure(
    metric: Metric, contestant: Contestant, columns: Sequence[Column], selection: Selection
) -> Figure:
    """The mean of a figure over bins, each counting the same, bins taken as independent.

    The interval adds the distances of the bins' own ends in square (MOVER: Zou and Donner 2008).
    None with the reason as soon as one bin has no figure.
    """
    if not columns:
        return Figure(None, note="no bin has this figure")
    figures = []
    for column in columns:
        scored = selection.of(contestant, column)
        figure = figure_of(metric, scored) if scored is not None else Figure(None)
        if figure.value is None:
            return Figure(None, note=f"none on {column.label}")
        figures.append(figure)
    values = [figure.value for figure in figures if figure.value is not None]
    mean = float(np.mean(values))
    ends = [figure.interval for figure in figures if figure.interval is not None]
    if len(ends) < len(values):
        return Figure(mean)
    below = math.hypot(*(value - end[0] for value, end in zip(values, ends, strict=True)))
    above = math.hypot(*(end[1] - value for value, end in zip(values, ends, strict=True)))
    return Figure(mean, (mean - below / len(values), mean + above / len(values)))


def figure_of(metric: Metric, scored: Scored) -> Figure:
    """A model's figure on a bin, or the reason why there is none."""
    stored, genuine = scored.result.figures or {}, scored.genuine
    value = metric.read(stored)
    if value is None:
        counts = int(genuine.sum()), int((~genuine).sum())
        return Figure(None, note=metric.why_undefined(stored, *counts))
    interval = metric.interval_of(stored, scored.scores, genuine)
    said = "" if interval else "no spread to estimate"
    return Figure(value, interval, metric.note(stored) if metric.note else said)


# What a reader looks at first; the others follow in the order that they have everywhere.
_FIRST = ("kfold", "accuracy", "tar@1e-3")
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in sorted(
        all_figures().values(),
        key=lambda each: _FIRST.index(each.name) if each.name in _FIRST else len(_FIRST),
    )
    if metric.explanation
}


def _descending(figure: Figure) -> float:
    return math.inf if figure.value is None else -figure.value


def _duels(
    ordered: Sequence[Contestant], selection: Selection, replicates: int
) -> tuple[Duel, ...]:
    tasks = []
    for a, b in combinations(ordered, 2):
        shared = tuple(
            (column, one, other)
            for column in selection.columns
            if (one := selection.of(a, column)) is not None
            and (other := selection.of(b, column)) is not None
            and one.kfold is not None
            and other.kfold is not None
            and len(shared_pairs(one, other)[0])
        )
        if shared:
            tasks.append((a, b, shared))
    flat = [(one, other, replicates) for _, _, shared in tasks for _, one, other in shared]
    # NumPy lets go of the interpreter in what a comparison does most.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compared = list(pool.map(_compare, flat))
    found: list[tuple[Contestant, Contestant, tuple[Column, ...], tuple[Comparison, ...]]] = []
    for a, b, shared in tasks:
        own, compared = tuple(compared[: len(shared)]), compared[len(shared) :]
        found.append((a, b, tuple(column for column, _, _ in shared), own))
    overall = [
        combine({bin_.record.sha256: each for bin_, each in zip(bins, own, strict=True)})
        for _, _, bins, own in found
    ]
    corrected = holm_p_values([each.p_value for each in overall])
    return tuple(
        Duel(*each, total, p) for each, total, p in zip(found, overall, corrected, strict=True)
    )


def _compare(task: tuple[Scored, Scored, int]) -> Comparison:
    one, other, replicates = task
    in_one, in_other = shared_pairs(one, other)
    if one.kfold is None or other.kfold is None:
        raise ValueError("both results need k-fold decisions")
    return compare_pairs(
        one.scores[in_one],
        other.scores[in_other],
        one.genuine[in_one],
        correct_a=one.kfold.correct[in_one],
        correct_b=other.kfold.correct[in_other],
        images=(one.left[in_one], one.right[in_one]),
        identities=None if one.people is None else (one.people[0][in_one], one.people[1][in_one]),
        replicates=replicates,
    )


def _beats(one: Contestant, other: Contestant, duels: Sequence[Duel]) -> bool:
    for duel in duels:
        if duel.separable and {duel.a.key, duel.b.key} == {one.key, other.key}:
            return (duel.overall.difference > 0) == (duel.a.key == one.key)
    return False
