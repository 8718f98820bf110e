"""Tests of two models on independent pairs, and the correction for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.metrics.figures.auc import mean_variance, placements, scores_and_labels
from evaluator.statistics.tails import incomplete_beta

FloatArray = npt.NDArray[np.float64]

# What counts as shown: the level of every test, two-sided.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class AucComparison:
    """Areas under the ROC curve of two models on the same pairs, and DeLong's test between them.

    ``difference`` is A - B. ``contributions`` has shape (pairs,) and sums to 0: what each pair adds
    to the error of the difference, for who must allow for pairs that are not independent.
    """

    auc_a: float
    auc_b: float
    difference: float
    variance: float
    p_value: float
    contributions: FloatArray


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar p-value from the pairs that only A and only B gets right.

    1 where there is no such pair. Source: McNemar 1947.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"counts of pairs must not be negative; got {only_a} and {only_b}")
    more, discordant = max(only_a, only_b), only_a + only_b
    return min(1.0, 2 * incomplete_beta(more, discordant - more + 1, 0.5))


def delong_test(
    scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, genuine: npt.ArrayLike
) -> AucComparison | None:
    """DeLong's test of two AUCs on the same pairs; None without a genuine or an impostor pair.

    ``scores_a`` and ``scores_b`` have shape (pairs,), higher is more alike, ties count half. The
    p-value is two-sided, for independent pairs. It is 1 for equal areas, and where a class has one
    pair, which says nothing of the spread; where the variance is 0 but the areas differ it is
    2 / 2^pairs, the least that exchanging models pair by pair can show. Source: as
    `auc`.
    """
    scores_a, genuine = scores_and_labels(scores_a, genuine)
    scores_b, genuine = scores_and_labels(scores_b, genuine)
    if genuine.all() or not genuine.any():
        return None
    above_a, below_a = placements(scores_a, genuine)
    above_b, below_b = placements(scores_b, genuine)
    above, below = above_a - above_b, below_a - below_b
    difference = float(above.mean())
    variance = mean_variance(above) + mean_variance(below)
    contributions = np.empty(len(genuine))
    contributions[genuine] = (above - difference) / len(above)
    contributions[~genuine] = (below - difference) / len(below)
    return AucComparison(
        auc_a=float(above_a.mean()),
        auc_b=float(above_b.mean()),
        difference=difference,
        variance=variance,
        p_value=_delong_p_value(difference, variance, min(len(above), len(below)), len(genuine)),
        contributions=contributions,
    )


def holm_p_values(p_values: Sequence[float] | FloatArray) -> list[float]:
    """P-values adjusted by Holm's step-down for their number, in the order given.

    Rejecting those at most alpha keeps the chance of any false rejection at alpha, however the
    tests depend on each other. Source: Holm 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must lie in [0, 1]; got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def _delong_p_value(difference: float, variance: float, smaller_class: int, pairs: int) -> float:
    if difference == 0 or smaller_class < 2:
        return 1.0
    if variance <= 0:
        return 2.0 ** (1 - pairs)
    return math.erfc(abs(difference) / math.sqrt(2 * variance))
