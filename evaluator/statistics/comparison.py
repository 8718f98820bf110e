"""Whether one model is really better than another on the same pairs, and by how much."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.metrics.sharing import Method, Sharing, design_effect, pair_sharing
from evaluator.statistics.pair_tests import (
    SIGNIFICANCE,
    AucComparison,
    delong_test,
    holm_p_values,
    mcnemar_p_value,
    student_p_values,
)
from evaluator.statistics.planning import connor_pairs
from evaluator.statistics.resampling import (
    bootstrap_difference,
    percentile_interval,
    percentile_p_value,
)
from evaluator.statistics.threshold_luck import threshold_luck

# Normal quantiles of 0.975, for a test at 5 % two-sided, and of 0.8: a difference counts as
# showable when 80 % of repetitions would find it.
CRITICAL = 1.959963984540054
POWER_MARGIN = 0.8416212335729143

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Ends = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models, A and B, on the same pairs. Differences are A - B, as fractions: above 0, A wins.

    ``interval`` (95 %) and ``p_value`` come from the same bootstrap ``replicates``: the interval
    leaves out 0 exactly when p < 0.05. ``method`` and ``basis`` (a phrase for a reader) say what
    was drawn. ``only_a`` and ``only_b`` are the indices of the pairs that one model alone gets
    right; ``mcnemar_p`` is the exact test on their numbers, which allows neither for shared images
    nor for fitted thresholds. The AUC figures are None without a genuine or an impostor pair.
    ``detectable_difference`` is what this many pairs would show with 80 % power at the observed
    disagreement; ``pairs_needed`` is how many pairs like these the observed difference would take,
    None when it is 0.
    """

    pairs: int
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: tuple[float, float]
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
    replicates: FloatArray


@dataclass(frozen=True, eq=False)
class Overall:
    """The mean difference A - B over bins, each counting the same, with its 95 % interval.

    ``bin_p_values`` are the bins' own p-values after Holm's correction for their number.
    """

    bins: int
    pairs: int
    difference: float
    interval: tuple[float, float]
    p_value: float
    bin_p_values: tuple[float, ...]
    detectable_difference: float


def compare_pairs(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    genuine: npt.ArrayLike,
    *,
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    images: Ends | None = None,
    identities: Ends | None = None,
    replicates: int = 10_000,
    swaps: int = 200,
    seed: int = 0,
) -> Comparison:
    """Paired comparison of two models' k-fold decisions and scores on the same pairs.

    Scores (cosines), labels and decisions (was the pair decided rightly) have shape (pairs,), at
    least one pair. ``images`` and ``identities`` number what the left and right side of every pair
    shows; identities are used where given, since pairs that share an image share its person. The
    accuracies are over all pairs: the k-fold figure when folds are equally large. ``swaps`` is how
    often the luck of the ten folds' thresholds is sampled. The same arguments give the same
    numbers. ``ValueError`` for arrays that do not belong together.
    """
    labels = np.asarray(genuine, dtype=bool)
    right_a, right_b = (np.asarray(right, dtype=bool) for right in (correct_a, correct_b))
    if labels.ndim != 1 or not len(labels) or not labels.shape == right_a.shape == right_b.shape:
        raise ValueError(
            "genuine, correct_a and correct_b must be one value a pair, at least one; "
            f"got shapes {labels.shape}, {right_a.shape} and {right_b.shape}"
        )
    auc = delong_test(scores_a, scores_b, labels)
    sharing = pairs_sharing(images, identities)
    luck = threshold_luck(scores_a, scores_b, labels, swaps=swaps, seed=seed)
    differences = right_a.astype(np.int64) - right_b
    bootstrap = bootstrap_difference(
        differences, sharing=sharing, threshold_luck=luck, replicates=replicates, seed=seed
    )
    interval = percentile_interval(bootstrap.replicates, confidence=1 - SIGNIFICANCE)
    only_a, only_b = np.flatnonzero(differences > 0), np.flatnonzero(differences < 0)
    factor = bootstrap.design_effect + luck - 1
    detectable = _detectable_difference(len(only_a) + len(only_b), len(labels), factor)
    return Comparison(
        pairs=len(labels),
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=bootstrap.estimate,
        interval=interval,
        p_value=percentile_p_value(bootstrap.replicates),
        method=bootstrap.method,
        basis=_basis(sharing, bootstrap.design_effect),
        design_effect=bootstrap.design_effect,
        threshold_luck=luck,
        only_a=only_a,
        only_b=only_b,
        mcnemar_p=mcnemar_p_value(len(only_a), len(only_b)),
        auc_difference=auc.difference if auc else None,
        auc_p_value=_auc_p_value(auc, sharing) if auc else None,
        # What lies within the interval's half-width cannot be shown, whatever the power.
        detectable_difference=min(1.0, max(detectable, (interval[1] - interval[0]) / 2)),
        pairs_needed=_pairs_needed(len(only_a), len(only_b), len(labels), factor),
        replicates=bootstrap.replicates,
    )


def combine(
    comparisons: Mapping[str, Comparison], *, seed: int = 0, together: float = 1.0
) -> Overall:
    """The comparisons of the same two models on several bins, as one.

    ``comparisons`` are by what names the bin, such as its SHA-256: the figures depend on the names
    and not on the bins' order, which ``bin_p_values`` keep. Bins are taken as independent, but for
    ``together``, which multiplies the variance where they share pairs, images or people
    (`variance_together`). ``ValueError`` for none, or for unequal numbers of replicates.
    """
    counts = {len(comparison.replicates) for comparison in comparisons.values()}
    if len(counts) != 1:
        raise ValueError(
            f"comparisons must be at least one, with equally many replicates; got {sorted(counts)}"
        )
    # Sums round by their order, too.
    ordered = [comparisons[name] for name in sorted(comparisons)]
    if len(ordered) == 1:
        replicates = ordered[0].replicates
    else:
        parts = [
            _shuffled(comparisons[name].replicates, name, seed) for name in sorted(comparisons)
        ]
        replicates = np.mean(parts, axis=0)
        replicates = replicates.mean() + (replicates - replicates.mean()) * math.sqrt(together)
    squares = together * sum(each.detectable_difference**2 for each in ordered)
    return Overall(
        bins=len(ordered),
        pairs=sum(each.pairs for each in ordered),
        difference=float(np.mean([each.difference for each in ordered])),
        interval=percentile_interval(replicates, confidence=1 - SIGNIFICANCE),
        p_value=percentile_p_value(replicates),
        bin_p_values=tuple(holm_p_values([each.p_value for each in comparisons.values()])),
        detectable_difference=math.sqrt(squares) / len(ordered),
    )


def _shuffled(replicates: FloatArray, name: str, seed: int) -> FloatArray:
    """Replicates in an order of the bin's own.

    Bins compared with one seed have replicates that rise and fall together; shuffling parts them.
    """
    own = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, own]).permutation(replicates)


def verdict(
    comparison: Comparison | Overall,
    *,
    name_a: str = "A",
    name_b: str = "B",
    p_value: float | None = None,
) -> str:
    """One line in words, in percentage points: which model is better, or what could be shown.

    ``p_value`` replaces the comparison's own, for one corrected for many comparisons.
    """
    p = comparison.p_value if p_value is None else p_value
    if p >= SIGNIFICANCE:
        best = 100 * comparison.detectable_difference
        return f"not separable: {comparison.pairs:,} pairs can show {best:.2f} points at best"
    sign = 1 if comparison.difference > 0 else -1
    low, high = sorted(100 * sign * end for end in comparison.interval)
    name = name_a if sign > 0 else name_b
    return (
        f"{name} is better: {100 * abs(comparison.difference):+.2f} points [{low:.2f}, {high:.2f}]"
    )


def verdict_among(compared: Comparison | Overall, names: tuple[str, str], p_value: float) -> str:
    """`verdict` by a p-value that is corrected for other tests, and what the correction cost."""
    words = verdict(compared, name_a=names[0], name_b=names[1], p_value=p_value)
    if compared.p_value < SIGNIFICANCE <= p_value:
        words += f" (p {p_text(compared.p_value)} alone, {p_text(p_value)} among all tests)"
    return words


def p_text(value: float) -> str:
    """A p-value for readers: three digits, and never 0."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def pairs_sharing(images: Ends | None, identities: Ends | None) -> Sharing | None:
    """How pairs hang together: by people where they are known, else by images, else None."""
    if identities is not None:
        return pair_sharing(*identities, unit="person")
    return pair_sharing(*images) if images is not None else None


def _basis(sharing: Sharing | None, effect: float) -> str:
    if sharing is None:
        return "bootstrap over pairs, as if none shared an image"
    if sharing.method == "pairs":
        return f"bootstrap over pairs: none shares a {sharing.unit}".replace("a image", "an image")
    what = "images" if sharing.unit == "image" else "people"
    if sharing.method == "clusters":
        return f"bootstrap over {sharing.clusters:,} clusters of pairs that share {what}"
    return (
        f"bootstrap over pairs, variance times {effect:.2f} for shared {what} "
        f"({sharing.nodes:,} {what} chain the pairs into too few clusters)"
    )


def _auc_p_value(auc: AucComparison, sharing: Sharing | None) -> float:
    """DeLong's p-value with its variance multiplied for shared images or people."""
    if sharing is None or auc.variance <= 0:
        return auc.p_value
    variance = auc.variance * design_effect(auc.contributions, sharing)
    freedom = sharing.freedom
    return float(student_p_values(auc.difference / math.sqrt(variance), freedom))


def _detectable_difference(discordant: int, pairs: int, factor: float) -> float:
    """The smallest true difference that would be found with 80 % power at this disagreement.

    Connor 1987, "Sample size for testing differences in proportions for the paired-sample design",
    solved for the difference, with the pairs divided by the variance factor. Disagreement counts
    half a pair more on either side, and at least what one-sided disagreement needs to be shown.
    """
    effective = pairs / factor
    least = (CRITICAL + POWER_MARGIN) ** 2 / effective
    rate = min(1.0, max((discordant + 1) / (pairs + 1), least))
    root = math.sqrt(rate * max(0.0, effective - CRITICAL**2 + POWER_MARGIN**2))
    found = CRITICAL * math.sqrt(effective * rate) + POWER_MARGIN * root
    return min(1.0, found / (effective + POWER_MARGIN**2))


def _pairs_needed(only_a: int, only_b: int, pairs: int, factor: float) -> int | None:
    """Pairs like these with which the observed difference would be found with 80 % power."""
    if only_a == only_b:
        return None
    rate = (only_a + only_b + 1) / (pairs + 1)
    difference = abs(only_a - only_b) / pairs
    return math.ceil(factor * connor_pairs(rate, difference))
