"""The leaderboard of a report: figures with intervals, and ranks by paired comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtri

from evaluator.metrics.intervals import wilson_interval
from evaluator.results.choice import Contestant, core_bins
from evaluator.statistics.duels import Duel, Key, Side, compare_sides
from evaluator.statistics.pair_tests import delong_variance
from zoo.report.selection import Column, Scored, Selection

Interval = tuple[float, float]
NORMAL_95 = float(ndtri(0.975))


@dataclass(frozen=True)
class Figure:
    """One cell: a share in [0, 1] with its 95 % interval, or None and the reason in ``note``."""

    value: float | None
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """A figure of a model on a bin, and how a table shows it (``scale`` 100: percent)."""

    key: str
    title: str
    explanation: str
    of: Callable[[Scored], Figure]
    higher_is_better: bool = True
    scale: int = 100
    decimals: int = 2


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
    figures = [
        {
            column.record.sha256: scored.kfold.accuracy
            for column in selection.columns
            if (scored := selection.of(each, column)) is not None and scored.kfold is not None
        }
        for each in selection.contestants
    ]
    wanted = {sha256 for own in figures for sha256 in own}
    if not selection.all_bins:
        wanted = core_bins(figures)
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
        figure = metric.of(scored) if scored is not None else Figure(None)
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


def kfold_figure(scored: Scored) -> Figure:
    """k-fold accuracy, with the Wilson interval of the pairs decided rightly."""
    if scored.kfold is None:
        return Figure(None, note=_one_sided(scored) or "folds lack a class")
    correct = scored.kfold.correct
    interval = wilson_interval(int(correct.sum()), len(correct))
    return Figure(scored.kfold.accuracy, interval, f"± {100 * scored.kfold.std:.2f} over folds")


def best_figure(scored: Scored) -> Figure:
    """Accuracy at the threshold that is best on these very pairs, as stored."""
    figures = scored.result.figures or {}
    if figures.get("accuracy") is None:
        return Figure(None, note=_one_sided(scored))
    low, high = figures["accuracy_ci95"]
    return Figure(figures["accuracy"], (low, high), f"at cosine {figures['threshold']:.4f}")


def tar_figure(scored: Scored) -> Figure:
    """TAR at the largest FAR not above 1e-3, with the FAR reached."""
    stored = ((scored.result.figures or {}).get("tar_at_far") or {}).get("0.001")
    if stored is None:
        impostors = int((~scored.genuine).sum())
        few = f"{impostors:,} impostors, 1,000 needed" if impostors < 1000 else ""
        return Figure(None, note=_one_sided(scored) or few)
    low, high = stored["tar_ci95"]
    note = f"FAR {stored['far']:.2g} at cosine {stored['threshold']:.4f}"
    return Figure(stored["tar"], (low, high), note)


def auc_figure(scored: Scored) -> Figure:
    """AUC with DeLong's variance, its interval taken on the logit scale to stay in [0, 1]."""
    found = delong_variance(scored.scores, scored.genuine)
    if found is None:
        return Figure(None, note=_one_sided(scored))
    area, variance = found
    if variance == 0 or area in (0.0, 1.0):
        return Figure(area, note="no spread to estimate")
    reach = NORMAL_95 * math.sqrt(variance) / (area * (1 - area))
    centre = float(logit(area))
    return Figure(area, (float(expit(centre - reach)), float(expit(centre + reach))))


def eer_figure(scored: Scored) -> Figure:
    """Equal error rate as stored, with the Wilson interval as if of the smaller class.

    To first order the rate is a weighted mean of two proportions, one a class, so its variance is
    at most that of the smaller class: the interval is never too narrow.
    """
    figures = scored.result.figures or {}
    if figures.get("eer") is None:
        return Figure(None, note=_one_sided(scored))
    smaller = int(min(scored.genuine.sum(), (~scored.genuine).sum()))
    interval = wilson_interval(round(figures["eer"] * smaller), smaller)
    return Figure(figures["eer"], interval, f"at cosine {figures['eer_threshold']:.4f}")


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(
            "kfold",
            "10-fold accuracy",
            "Accuracy in %, each tenth of a bin decided at the threshold that is best on the other "
            "nine: what to expect on new pairs like these. Ranks rest on these decisions.",
            kfold_figure,
        ),
        Metric(
            "best",
            "Best accuracy",
            "Accuracy in % at the threshold that is best on these very pairs: a little too good, "
            "and what many published tables report.",
            best_figure,
        ),
        Metric(
            "tar",
            "TAR @ FAR 0.001",
            "Genuine pairs accepted, in %, when at most one impostor pair in 1,000 is.",
            tar_figure,
        ),
        Metric(
            "auc",
            "AUC",
            "The chance that a genuine pair scores higher than an impostor pair.",
            auc_figure,
            scale=1,
            decimals=4,
        ),
        Metric(
            "eer",
            "EER",
            "The error rate in % where as large a share of impostors is accepted as of genuine "
            "pairs rejected. Lower is better.",
            eer_figure,
            higher_is_better=False,
        ),
    )
}


def _one_sided(scored: Scored) -> str:
    if not scored.genuine.any():
        return "no genuine pairs"
    return "no impostor pairs" if scored.genuine.all() else ""


def _descending(figure: Figure) -> float:
    return math.inf if figure.value is None else -figure.value


def _beats(one: Contestant, other: Contestant, duels: Sequence[Duel]) -> bool:
    for duel in duels:
        if duel.separable and {duel.a.key, duel.b.key} == {one.key, other.key}:
            return (duel.overall.difference > 0) == (duel.a.key == one.key)
    return False
