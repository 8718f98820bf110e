"""Whether one model is really better than another on the same pairs, and by how much."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.metrics.all_figures import all_figures, figure_named
from evaluator.metrics.figure import Figure
from evaluator.metrics.protocols import kfold
from evaluator.metrics.sharing import Method, Sharing
from evaluator.statistics.differences import (
    Differences,
    best_decisions,
    differences_of_decisions,
    differences_on_bin,
    figure_value,
    interval,
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


@dataclass(frozen=True, eq=False)
class Tested:
    """Models on the same pairs, every two of which were tested at once.

    ``scores`` of each and ``genuine`` are (pairs,), ``places`` (pairs,) where these stand in their
    bin; ``right`` (models, pairs) are decisions at each model's best threshold on the pairs, or of
    other folds for ``kfold-decisions``. ``differences`` are in the figure, ``lists`` as in
    `differences_on_bin`.
    """

    scores: Sequence[FloatArray]
    genuine: BoolArray
    figure: Figure
    sharing: Sharing | None
    lists: IntArray | None
    places: IntArray
    right: BoolArray
    differences: Differences

    @functools.cached_property
    def values(self) -> list[float | None]:
        """The figure of each model, None where it is undefined."""
        if self.figure.name == "accuracy":  # that of the decisions
            return [float(own.mean()) for own in self.right]
        return [figure_value(own, self.genuine, self.figure, self.lists) for own in self.scores]

    @functools.cached_property
    def areas(self) -> Differences | None:
        """The differences in AUC; None for figures of searches."""
        if self.figure.searches:
            return None
        return differences_on_bin(self.scores, self.genuine, self.sharing, all_figures()["auc"])

    @functools.cached_property
    def poorest(self) -> tuple[int, int]:
        """How many genuine pairs the list with the fewest has, and how many impostors."""
        numbers = np.zeros(len(self.genuine), np.int64) if self.lists is None else self.lists
        count = int(numbers.max()) + 1
        genuine, impostors = (
            int(np.bincount(numbers[self.genuine == kind], minlength=count).min())
            for kind in (True, False)
        )
        return genuine, impostors

    def compared(self, a: int, b: int) -> Comparison | None:
        """The models of these places, the first of which is less; None without a figure of both."""
        two = slice(a, b + 1, b - a)
        found = self.differences.of(two)
        if not math.isfinite(found.gaps[0, 1]):
            return None
        luck = float(found.luck[0, 1])
        effect = float(found.effect[0, 1]) - luck + 1
        right = self.right[two]
        only_a, only_b = (self.places[one & ~other] for one, other in (right, right[::-1]))
        accuracy_a, accuracy_b = (float(own.mean()) for own in right)
        return Comparison(
            pairs=len(self.genuine),
            value_a=self.values[a],
            value_b=self.values[b],
            accuracy_a=accuracy_a,
            accuracy_b=accuracy_b,
            difference=float(found.gaps[0, 1]),
            p_value=float(p_values([found])[0, 1]),
            method=self.sharing.method if self.sharing is not None else "pairs",
            basis=_basis(self.sharing, effect),
            design_effect=effect,
            threshold_luck=luck,
            only_a=only_a,
            only_b=only_b,
            differences=found,
            among=self,
            couple=two,
        )


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
    alone gets right. ``basis`` is a phrase for a reader on what they share; ``couple`` says which
    two they are ``among`` those that were tested together. What few readers ask for is computed
    when it is asked for.
    """

    pairs: int
    value_a: float | None
    value_b: float | None
    accuracy_a: float
    accuracy_b: float
    difference: float
    p_value: float
    method: Method
    basis: str
    design_effect: float
    threshold_luck: float
    only_a: IntArray
    only_b: IntArray
    differences: Differences
    among: Tested
    couple: slice

    @functools.cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference."""
        return interval(self.differences)

    @functools.cached_property
    def interval90(self) -> tuple[float, float]:
        """That of 90 %."""
        return interval(self.differences, 0.9)

    @property
    def mcnemar_p(self) -> float:
        """The exact test on the pairs that one alone gets right; what they share is not allowed
        for.
        """
        return mcnemar_p_value(len(self.only_a), len(self.only_b))

    @property
    def auc_difference(self) -> float | None:
        """Of the areas under the curves; None for figures of searches."""
        areas = self._areas
        return None if areas is None else float(areas.gaps[0, 1])

    @property
    def auc_p_value(self) -> float | None:
        """That of the areas, by DeLong's variance; None for figures of searches."""
        areas = self._areas
        return None if areas is None else float(p_values([areas])[0, 1])

    @property
    def _areas(self) -> Differences | None:
        return None if self.among.areas is None else self.among.areas.of(self.couple)

    @functools.cached_property
    def detectable_difference(self) -> float:
        """What this many pairs would show with 80 % power at the observed noise."""
        return _detectable_difference(self.differences, self.interval)

    @property
    def pairs_needed(self) -> int | None:
        """About how many pairs like these the observed difference would take, and never fewer than
        the figure does; None when it is 0.
        """
        return _pairs_needed(self.differences, self.among)


@dataclass(frozen=True, eq=False)
class Overall:
    """The mean difference A - B over bins, each counting the same, of which ``bins`` are the
    comparisons; ``mean`` has it with its variance.
    """

    mean: Differences
    comparisons: tuple[Comparison, ...]
    p_value: float

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.comparisons)

    @property
    def pairs(self) -> int:
        """Those of all bins."""
        return sum(each.pairs for each in self.comparisons)

    @property
    def difference(self) -> float:
        """The mean."""
        return float(self.mean.gaps[0, 1])

    @functools.cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference."""
        return interval(self.mean)

    @functools.cached_property
    def interval90(self) -> tuple[float, float]:
        """That of 90 %."""
        return interval(self.mean, 0.9)

    @property
    def bin_p_values(self) -> tuple[float, ...]:
        """The bins' own p-values after Holm's correction for their number."""
        return tuple(holm_p_values([each.p_value for each in self.comparisons]))

    @property
    def detectable_difference(self) -> float:
        """What these bins would show with 80 % power at the observed noise."""
        squares = sum(each.detectable_difference**2 for each in self.comparisons)
        return math.sqrt(squares) / self.bins


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
    tested = compare_together(
        scores, labels, metric=metric, sharing=sharing, folds=folds, lists=lists
    )
    return None if tested is None else tested.compared(0, 1)


def compare_together(
    scores: Sequence[FloatArray],
    genuine: BoolArray,
    *,
    metric: str,
    sharing: Sharing | None,
    folds: Sequence[npt.NDArray[np.integer] | None],
    lists: IntArray | None = None,
    places: IntArray | None = None,
) -> Tested | None:
    """`compare_pairs` of every two models at once; None where none has a figure.

    ``places`` (pairs,) are those in a bin, else all.
    """
    figure = tested_figure(metric)
    if not genuine.any() or (genuine.all() and figure.decisions is None):
        return None
    if metric == KFOLD_DECISIONS:
        right, found = _by_folds(scores, genuine, sharing, folds)
    else:
        decided_by = figure.decisions
        right = (
            best_decisions(scores, genuine)
            if decided_by is None
            else np.stack(list(map(decided_by, scores)))
        )
        found = differences_on_bin(scores, genuine, sharing, figure, lists)
    places = np.arange(len(genuine)) if places is None else places
    return Tested(scores, genuine, figure, sharing, lists, places, right, found)


def _by_folds(
    scores: Sequence[FloatArray],
    genuine: BoolArray,
    sharing: Sharing | None,
    folds: Sequence[npt.NDArray[np.integer] | None],
) -> tuple[BoolArray, Differences]:
    """The decisions at the other folds' thresholds (models, pairs), and how models differ in them;
    NaN where there are too few pairs for folds.
    """
    decided = [
        kfold(own, genuine, 10 if numbers is None else numbers)
        for own, numbers in zip(scores, folds, strict=True)
    ]
    right = np.stack([genuine if each is None else each.correct for each in decided])
    luck = np.ones((len(scores), len(scores)))
    there = [i for i, each in enumerate(decided) if each is not None]
    for i, j in itertools.combinations(there, 2):
        luck[i, j] = luck[j, i] = threshold_luck(scores[i], scores[j], genuine)
    found = differences_of_decisions(right, sharing, luck=luck)
    none = np.array([each is None for each in decided])
    found.gaps[none] = found.gaps[:, none] = math.nan
    return right, found


def overall_of(mean: Differences, comparisons: Sequence[Comparison]) -> Overall:
    """Of two models, from the mean of their differences on all bins."""
    return Overall(mean, tuple(comparisons), float(p_values([mean])[0, 1]))


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


def _detectable_difference(found: Differences, interval: tuple[float, float]) -> float:
    """The smallest true difference that would be found with 80 % power at this noise.

    Of decisions, Connor 1987, "Sample size for testing differences in proportions for the
    paired-sample design", solved for the difference, with the pairs divided by the variance factor.
    Disagreement counts half a pair more on either side, and at least what one-sided disagreement
    needs to be shown. What lies within the interval's half-width cannot be shown anyhow.
    """
    low, high = interval
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


def _pairs_needed(found: Differences, tested: Tested) -> int | None:
    """Pairs like these with which the observed difference would be found with 80 % power, and not
    fewer than the figure is defined on.
    """
    needed, pairs = _pairs_by_noise(found), len(tested.genuine)
    if needed is None or needed >= pairs:
        return needed

    def is_defined(some: int) -> bool:
        return not tested.figure.lacks(*(each * some // pairs for each in tested.poorest))

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
