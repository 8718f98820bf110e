"""The leaderboard of a report: figures with intervals, and ranks by paired comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.figure import Figure as Metric  # this module's Figure is one cell of it
from evaluator.results.choice import Contestant, core_bins
from evaluator.statistics.duels import Duel, Key, Side, compare_sides
from zoo.report.selection import Column, Scored, Selection

Interval = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One cell: a number with its 95 % interval, or None and the reason in ``note``."""

    value: float | None
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Standings:
    """Models from best to worst mean k-fold accuracy, those without one last.

    ``means`` (by key) are over ``ranked_bins``, those of `zoo leaderboard`: the bins asked for, or
    else those that make the most of the table. ``ranks`` counts from 1; models that cannot be told
    apart may share a rank, and a model without a mean has none.
    """

    contestants: tuple[Contestant, ...]
    ranked_bins: tuple[Column, ...]
    means: Mapping[Key, Figure]
    ranks: Mapping[Key, int]
    duels: tuple[Duel, ...]

    def duel(self, one: Contestant, other: Contestant) -> Duel | None:
        """The comparison of two models, in whichever order, None if they share no bin."""
        wanted = {one.key, other.key}
        return next((each for each in self.duels if {each.a.key, each.b.key} == wanted), None)


def standings(selection: Selection) -> Standings:
    """Ranks by paired comparison: 1 + how many models are really better (Holm over all pairs).

    A model has a rank only if it has k-fold figures on every ranked bin. The duels are those of
    `zoo compare`.
    """
    ranked_bins = _ranked_bins(selection)
    means = {
        each.key: mean_figure(METRICS["kfold"], each, ranked_bins, selection)
        for each in selection.contestants
    }
    ordered = tuple(
        sorted(selection.contestants, key=lambda each: (_descending(means[each.key]), each.label))
    )
    duels, _ = compare_sides([_side(each, selection) for each in ordered])
    complete = [each for each in ordered if means[each.key].value is not None]
    ranks = {each.key: 1 + sum(_beats(o, each, duels) for o in complete) for each in complete}
    return Standings(ordered, ranked_bins, means, ranks, tuple(duels))


def _ranked_bins(selection: Selection) -> tuple[Column, ...]:
    figures: dict[Key, dict[str, float]] = {each.key: {} for each in selection.contestants}
    for (key, sha256), scored in selection.scored.items():
        if scored.kfold is not None:
            figures[key][sha256] = scored.kfold.accuracy
    every = {sha256 for own in figures.values() for sha256 in own}
    wanted = every if selection.all_bins else core_bins(list(figures.values()))
    return tuple(column for column in selection.columns if column.record.sha256 in wanted)


def _side(model: Contestant, selection: Selection) -> Side:
    results = {
        sha256: scored.result for (key, sha256), scored in selection.scored.items()
        if key == model.key
    }  # fmt: skip
    return Side(
        model.key, model.label, results, lambda sha256: selection.scored[model.key, sha256].stored
    )


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
    interval = metric.interval_of(scored.sorted, scored.sharing)
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


def _beats(one: Contestant, other: Contestant, duels: Sequence[Duel]) -> bool:
    return any(
        (duel.overall.difference > 0) == (duel.a.key == one.key)
        for duel in duels
        if duel.separable and {duel.a.key, duel.b.key} == {one.key, other.key}
    )
