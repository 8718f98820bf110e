"""Whether one model is really better than another on the same pairs, and by how much."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.metrics.all_figures import all_figures, figure_named
from evaluator.metrics.figure import Figure
from evaluator.metrics.protocols import kfold
from evaluator.metrics.sharing import Method, Sharing
from evaluator.statistics.differences import (
    Differences,
    Ends,
    best_decisions,
    differences_of_decisions,
    differences_on_bin,
    figure_value,
    interval,
    mean_of,
    p_values,
)
from evaluator.statistics.pair_tests import holm_p_values, mcnemar_p_value
from evaluator.statistics.planning import connor_pairs
from evaluator.statistics.threshold_luck import threshold_luck

# Normal quantiles of 0.975, for a test at 5 % two-sided, and of 0.8: a difference counts as
# showable when 80 % of repetitions would find it.
CRITICAL = 1.959963984540054
POWER_MARGIN = 0.8416212335729143

# What `--metric` takes besides the figures: 10-fold accuracy, tested by its own decisions.
KFOLD_DECISIONS = "kfold-decisions"

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models, A and B, on the same pairs. Differences are A - B in units of the figure.

    ``difference``, its ``interval`` (95 %), ``interval90`` and ``p_value`` are of one thing: the
    interval leaves out 0 exactly when p < 0.05. For an accuracy, be it ``accuracy``, ``kfold`` or
    ``insightface``, that is how many pairs either decides rightly at its best threshold on these
    pairs; for ``kfold-decisions`` at the thresholds of other folds. ``threshold_luck`` is how many
    times such thresholds multiply the variance of independent pairs: below 1 for best ones, which
    make up for some of the noise. ``value_a`` and ``value_b`` are the
    figure itself, None where it is undefined. ``accuracy_a`` and ``accuracy_b`` are the shares of
    such decisions that are right, ``only_a`` and ``only_b`` the indices of the pairs that one model
    alone gets right, ``mcnemar_p`` the exact test on their numbers, which allows for nothing that
    pairs share. ``basis`` is a phrase for a reader on what they share. The AUC figures are None
    without a genuine or an impostor pair, and for figures of searches. ``detectable_difference`` is
    what this many pairs would show with 80 % power at the observed noise; ``pairs_needed`` is about
    how many pairs like these the observed difference would take, and never fewer than the figure
    does; None when it is 0.
    """

    pairs: int
    value_a: float | None
    value_b: float | None
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
    interval90: tuple[float, float]
    p_value: float
    method: Method
    basis: str
    design_effect: float
    threshold_luck: float
    only_a: IntArray
    only_b: IntArray
    mcnemar_p: float
    auc_difference: float | None
    auc_p_value: float | None
    detectable_difference: float
    pairs_needed: int | None
    differences: Differences


@dataclass(frozen=True, eq=False)
class Overall:
    """The mean difference A - B over bins, each counting the same, with its intervals.

    ``bin_p_values`` are the bins' own p-values after Holm's correction for their number.
    """

    bins: int
    pairs: int
    difference: float
    interval: tuple[float, float]
    interval90: tuple[float, float]
    p_value: float
    bin_p_values: tuple[float, ...]
    detectable_difference: float


def tested_figure(metric: str) -> Figure:
    """The figure that a comparison by ``metric`` shows; InputError for an unknown name."""
    named = "kfold" if metric == KFOLD_DECISIONS else metric
    return figure_named("--metric", named, any_far=True, others=(KFOLD_DECISIONS,))


def compare_pairs(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    genuine: npt.ArrayLike,
    *,
    metric: str = "accuracy",
    sharing: Sharing | None = None,
    folds: Sequence[npt.NDArray[np.integer] | None] = (None, None),
    lists: IntArray | None = None,
) -> Comparison | None:
    """Paired comparison of two models' scores on the same pairs; None if they have no figure there.

    Finite scores, higher is more alike, and labels have shape (pairs,). ``metric`` is the name of a
    figure, or ``kfold-decisions``, of ten contiguous folds or those that ``folds`` numbers for each
    model, (pairs,) each; ``sharing`` is what the pairs share; ``lists`` (pairs,) numbers the list
    of each where the figure is a mean over lists. ``ValueError`` for arrays that do not belong
    together.
    """
    labels = np.asarray(genuine, dtype=bool)
    scores = [np.asarray(own, dtype=np.float64) for own in (scores_a, scores_b)]
    if labels.ndim != 1 or any(own.shape != labels.shape for own in scores):
        raise ValueError(
            "scores_a, scores_b and genuine must be one value a pair; "
            f"got shapes {scores[0].shape}, {scores[1].shape} and {labels.shape}"
        )
    figure = tested_figure(metric)
    if not labels.any() or (labels.all() and figure.decisions is None):
        return None
    if metric == KFOLD_DECISIONS:
        decided = [
            kfold(own, labels, 10 if numbers is None else numbers)
            for own, numbers in zip(scores, folds, strict=True)
        ]
        if decided[0] is None or decided[1] is None:
            return None
        right = np.stack([each.correct for each in decided if each])
        luck = threshold_luck(scores[0], scores[1], labels)
        found = differences_of_decisions(right, sharing, luck=luck)
    else:
        decided_by = figure.decisions
        right = (
            best_decisions(scores, labels)
            if decided_by is None
            else np.stack(list(map(decided_by, scores)))
        )
        found = differences_on_bin(scores, labels, sharing, figure, lists)
    if not math.isfinite(found.gaps[0, 1]):
        return None
    luck = float(found.luck[0, 1])
    only_a, only_b = np.flatnonzero(right[0] & ~right[1]), np.flatnonzero(right[1] & ~right[0])
    # The best accuracy is that of the decisions, and its own interval would need SciPy.
    values: list[float | None] = [float(own.mean()) for own in right]
    if figure.name != "accuracy":
        values = [figure_value(own, labels, figure, lists) for own in scores]
    areas = (
        None
        if figure.searches
        else differences_on_bin(scores, labels, sharing, all_figures()["auc"])
    )
    return Comparison(
        pairs=len(labels),
        value_a=values[0],
        value_b=values[1],
        accuracy_a=float(right[0].mean()),
        accuracy_b=float(right[1].mean()),
        difference=float(found.gaps[0, 1]),
        interval=interval(found),
        interval90=interval(found, 0.9),
        p_value=float(p_values([found])[0, 1]),
        method=sharing.method if sharing is not None else "pairs",
        basis=_basis(sharing, float(found.effect[0, 1]) - luck + 1),
        design_effect=float(found.effect[0, 1]) - luck + 1,
        threshold_luck=luck,
        only_a=only_a,
        only_b=only_b,
        mcnemar_p=mcnemar_p_value(len(only_a), len(only_b)),
        auc_difference=None if areas is None else float(areas.gaps[0, 1]),
        auc_p_value=None if areas is None else float(p_values([areas])[0, 1]),
        detectable_difference=_detectable_difference(found),
        pairs_needed=_pairs_needed(found, figure, labels, lists),
        differences=found,
    )


def combine(
    comparisons: Mapping[str, Comparison], *, across: Mapping[str, Ends] | None = None
) -> Overall:
    """The comparisons of the same two models on several bins, as one.

    ``comparisons`` are by what names the bin, such as its SHA-256: the figures do not depend on
    their order, which ``bin_p_values`` keep. Bins count as independent, unless ``across`` has what
    either side of each compared pair shows, numbered alike on all bins (`mean_of`). ``ValueError``
    for none.
    """
    # Sums round by their order, too.
    names = sorted(comparisons)
    bins = [comparisons[name].differences for name in names]
    ends = None if across is None else [across[name] for name in names]
    mean = mean_of(bins, ends)
    squares = sum(each.detectable_difference**2 for each in comparisons.values())
    return Overall(
        bins=len(bins),
        pairs=sum(each.pairs for each in comparisons.values()),
        difference=float(mean.gaps[0, 1]),
        interval=interval(mean),
        interval90=interval(mean, 0.9),
        p_value=float(p_values(bins, ends)[0, 1]),
        bin_p_values=tuple(holm_p_values([each.p_value for each in comparisons.values()])),
        detectable_difference=math.sqrt(squares) / len(bins),
    )


def _basis(sharing: Sharing | None, effect: float) -> str:
    if sharing is None:
        return "pairs count as independent: what they share is not known"
    if sharing.method == "pairs":
        one = "an image" if sharing.unit == "image" else "a person"
        return f"pairs are independent: none shares {one} with another"
    what = "images" if sharing.unit == "image" else "people"
    units = f"{sharing.nodes:,} {what}"
    if sharing.method == "clusters":
        units = f"{sharing.clusters:,} clusters of pairs that share {what}"
    return f"variance times {effect:.2f} for shared {what} ({units})"


def _detectable_difference(found: Differences) -> float:
    """The smallest true difference that would be found with 80 % power at this noise.

    Of decisions, Connor 1987, "Sample size for testing differences in proportions for the
    paired-sample design", solved for the difference, with the pairs divided by the variance factor.
    Disagreement counts half a pair more on either side, and at least what one-sided disagreement
    needs to be shown. What lies within the interval's half-width cannot be shown anyhow.
    """
    low, high = interval(found)
    if math.isinf(found.discordant[0, 1]):
        reached = (high - low) / 2 / CRITICAL
        return reached * (CRITICAL + POWER_MARGIN)
    pairs = float(found.pairs[0, 1])
    effective = pairs / float(found.effect[0, 1])
    least = (CRITICAL + POWER_MARGIN) ** 2 / effective
    rate = min(1.0, max((_disagreeing(found) + 1) / (pairs + 1), least))
    root = math.sqrt(rate * max(0.0, effective - CRITICAL**2 + POWER_MARGIN**2))
    shown = CRITICAL * math.sqrt(effective * rate) + POWER_MARGIN * root
    return min(1.0, max(shown / (effective + POWER_MARGIN**2), (high - low) / 2))


def _pairs_needed(
    found: Differences, figure: Figure, labels: npt.NDArray[np.bool_], lists: IntArray | None
) -> int | None:
    """Pairs like these with which the observed difference would be found with 80 % power, and not
    fewer than the figure is defined on.
    """
    needed, pairs = _pairs_by_noise(found), len(labels)
    if needed is None or needed >= pairs:
        return needed
    numbers = np.zeros(pairs, np.int64) if lists is None else lists
    count = int(numbers.max()) + 1
    poorest = [
        int(np.bincount(numbers[labels == kind], minlength=count).min()) for kind in (True, False)
    ]

    def is_defined(some: int) -> bool:
        return not figure.lacks(*(each * some // pairs for each in poorest))

    return needed + bisect.bisect_left(range(needed, pairs), True, key=is_defined)


def _pairs_by_noise(found: Differences) -> int | None:
    difference, pairs = abs(float(found.gaps[0, 1])), float(found.pairs[0, 1])
    if difference == 0:
        return None
    if math.isinf(found.discordant[0, 1]):
        variance = float(found.variances[0, 1])
        return math.ceil(pairs * variance * ((CRITICAL + POWER_MARGIN) / difference) ** 2)
    rate = (_disagreeing(found) + 1) / (pairs + 1)
    return math.ceil(float(found.effect[0, 1]) * connor_pairs(rate, difference))


def _disagreeing(found: Differences) -> float:
    return float(found.only[0, 1] + found.only[1, 0])
