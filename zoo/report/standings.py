"""The leaderboard of a report: figures with intervals, and the ranks of `zoo leaderboard`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluator.files import natural
from evaluator.metrics.all_figures import all_figures, search_figures
from evaluator.metrics.figure import Figure as Metric  # this module's Figure is one cell of it
from evaluator.results.choice import Contestant
from evaluator.results.names import meant, model_named
from evaluator.results.record import Failed, cannot_have
from evaluator.statistics.duels import Duel, compare_sides
from evaluator.statistics.sides import Key, Side
from zoo.report.selection import Column, Scored, Selection
from zoo.results.ranking import Place, Ranking, bins_ranked_on, rank_models

Interval = tuple[float, float]
# Every two models are compared: 12 are 66 comparisons a bin, and as many colours as a reader tells
# apart with dashes.
SHOWN = 12


@dataclass(frozen=True)
class Figure:
    """One cell: a number with its 95 % interval, or None and the reason in ``note``."""

    value: float | None
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Standings:
    """Models in the order of `zoo leaderboard`: those with 10-fold accuracy on every ranked bin
    from the best on, those that lack one, those without any.

    ``contestants`` are those that a page compares in full, all where they are not too many; the
    others are the ``rest``. ``means`` (by key) are over ``ranked_bins``: the bins asked for, or
    else those that make the most of the table. ``ranked`` are all models that have all of these,
    and ``places`` (by key) are theirs and those of models that have some.
    """

    contestants: tuple[Contestant, ...]
    ranked: tuple[Contestant, ...]
    ranked_bins: tuple[Column, ...]
    means: Mapping[Key, Figure]
    places: Mapping[Key, Place]
    ranking: Ranking
    duels: tuple[Duel, ...]
    only_sets: bool = False
    rest: tuple[Contestant, ...] = ()

    @property
    def p_values(self) -> tuple[tuple[float, ...], ...]:
        """Those of the ranking, of the contestants that are ranked and tested, in their order."""
        tested = len(self.ranking.p_values)
        numbers = [i for i, each in enumerate(self.ranked[:tested]) if each not in self.rest]
        return tuple(tuple(self.ranking.p_values[i][j] for j in numbers) for i in numbers)

    @property
    def apart(self) -> tuple[Contestant, ...]:
        """The models that are ranked on some of the bins alone."""
        return tuple(
            each
            for each in (*self.contestants, *self.rest)
            if each.key in self.places and each not in self.ranked
        )

    def on(self, model: Contestant) -> list[str]:
        """The bins that a model is ranked on."""
        own = self.places[model.key].bins
        return [each.label for each in self.ranked_bins if each.record.sha256 in own]

    def lacks(self, model: Contestant) -> list[str]:
        """The ranked bins that it has no figure on."""
        own = self.on(model)
        return [each.label for each in self.ranked_bins if each.label not in own]

    def duel(self, one: Contestant, other: Contestant) -> Duel | None:
        """The comparison of two models, in whichever order, None if they share no bin."""
        wanted = {one.key, other.key}
        return next((each for each in self.duels if {each.a.key, each.b.key} == wanted), None)


def standings(selection: Selection, baseline: str | None = None) -> Standings:
    """The ranks of `zoo leaderboard` for these models and bins, and the duels of `zoo compare`; of
    more than `SHOWN` models, of the best of all, the best on each bin, and the ``baseline``.
    """
    kfold, models = METRICS["kfold"], selection.contestants
    wanted = bins_ranked_on(models, kfold, every=selection.all_bins)
    ranked_bins = tuple(each for each in selection.columns if each.record.sha256 in wanted)
    ranking = rank_models(models, [each.record.sha256 for each in ranked_bins], kfold)
    placed = [*ranking.order, *ranking.others]
    without = sorted(set(range(len(models))) - set(placed), key=lambda i: natural(models[i].label))
    ordered = tuple(models[i] for i in [*placed, *without])
    compared = _to_compare(ordered, selection, baseline)
    duels, _ = compare_sides([_side(each, selection) for each in compared])
    return Standings(
        compared,
        ordered[: len(ranking.order)],
        ranked_bins,
        {each.key: mean_figure(kfold, each, ranked_bins, selection) for each in ordered},
        {models[i].key: place for i, place in ranking.places.items()},
        ranking,
        tuple(duels),
        all(each.record.kind is not None for each in selection.columns),
        tuple(each for each in ordered if each not in compared),
    )


def _to_compare(
    ordered: tuple[Contestant, ...], selection: Selection, baseline: str | None
) -> tuple[Contestant, ...]:
    """The models that matter, in their order, where all are too many to compare every two."""
    if len(ordered) <= SHOWN:
        return ordered
    # The leader and who follows are in the page's first sentence.
    wanted = list(ordered[:2])
    if baseline is not None:
        named = meant(baseline, [model_named(each.record) for each in ordered])
        wanted += [each for each in ordered if model_named(each.record) in named][:1]
    wanted += [
        best for column in selection.columns if (best := _best_on(column, ordered)) is not None
    ]
    first = list({each.key: each for each in [*wanted, *ordered]}.values())[:SHOWN]
    return tuple(each for each in ordered if each in first)


def _best_on(column: Column, models: Sequence[Contestant]) -> Contestant | None:
    """The first of the best on a bin by the first figure that any has there."""
    sha256 = column.record.sha256
    there = [each for each in models if sha256 in each.results]
    for metric in METRICS.values():
        sign = 1 if metric.higher_is_better else -1
        values = [metric.read(each.results[sha256].result.figures) for each in there]
        known = [sign * value for value in values if value is not None]
        if known:
            return there[values.index(sign * max(known))]
    return None


def _side(model: Contestant, selection: Selection) -> Side:
    results = {
        sha256: scored.result for (key, sha256), scored in selection.scored.items()
        if key == model.key
    }  # fmt: skip
    return Side(
        model.key, model.label, results, lambda sha256: selection.scored[model.key, sha256].scores
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
        figure = figure_on(metric, contestant, column, selection)
        if figure.value is None:
            return Figure(None, note=f"none on {column.label}")
        figures.append(figure)
    values = [figure.value for figure in figures if figure.value is not None]
    mean = float(np.mean(values))
    ends = [figure.interval for figure in figures if figure.interval is not None]
    note = _failed(
        scored for column in columns if (scored := selection.of(contestant, column)) is not None
    )
    if len(ends) < len(values):
        return Figure(mean, note=note)
    below = math.hypot(*(value - end[0] for value, end in zip(values, ends, strict=True)))
    above = math.hypot(*(end[1] - value for value, end in zip(values, ends, strict=True)))
    return Figure(mean, (mean - below / len(values), mean + above / len(values)), note)


def figure_on(
    metric: Metric, contestant: Contestant, column: Column, selection: Selection
) -> Figure:
    """A model's figure on a bin, with what was dropped or missed of it, or why there is none."""
    scored = selection.of(contestant, column)
    if scored is None:
        there = column.record.sha256 in contestant.results
        return Figure(None, note="no valid result" if there else "not measured")
    figure = figure_of(metric, scored)
    note = "; ".join(filter(None, (figure.note, _failed([scored]))))
    return replace(figure, note=note)


def _failed(scored: Iterable[Scored]) -> str:
    pairs = {"dropped": 0, "missed": 0}
    for each in scored:
        pairs[each.result.failed.how] += each.result.failed.pairs
    return "; ".join(Failed(count, how).words for how, count in pairs.items() if count)


def figure_of(metric: Metric, scored: Scored) -> Figure:
    """A model's figure on a bin, or the reason why there is none."""
    stored, genuine = scored.result.figures or {}, scored.genuine
    value = metric.read(stored)
    if value is None and (why := cannot_have(scored.result.bin, metric)):
        return Figure(None, note=why)
    if value is None:
        counts = int(genuine.sum()), int((~genuine).sum())
        return Figure(None, note=metric.why_undefined(stored, *counts))
    interval = scored.interval_of(metric)
    said = "" if interval else "no spread to estimate"
    return Figure(value, interval, metric.note(stored) if metric.note else said)


# What a reader looks at first; the others follow in the order that they have everywhere.
_FIRST = ("kfold", "accuracy", "tar@1e-3", "tpir@0.1", "tpir@0.01", "rank1")
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in sorted(
        [*all_figures().values(), *search_figures().values()],
        key=lambda each: _FIRST.index(each.name) if each.name in _FIRST else len(_FIRST),
    )
    if metric.explanation
}
