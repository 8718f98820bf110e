"""Tests that say how much of a difference is noise.

SciPy is imported by the functions that need it: a stored result is answered without it, and it is
half of what such an answer would import.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.metrics.figures.auc import mean_variance, placements, scores_and_labels

FloatArray = npt.NDArray[np.float64]

# What counts as shown: the level of every test, two-sided.
SIGNIFICANCE = 0.05

# Up to here whole numbers count the ways in a few milliseconds, and from so many degrees of freedom
# on Student's t has an expansion; importing SciPy takes a hundred milliseconds.
_COUNTED_COINS = 4000
_MANY_DEGREES = 100


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


def mcnemar_p_value(only_a: int, only_b: int, *, mid_p: bool = False) -> float:
    """Exact two-sided McNemar p-value from the pairs that only A and only B gets right.

    1 where there is no such pair. ``mid_p`` counts the observed table half, which undoes most of
    the exact test's caution. Sources: McNemar 1947; Fagerland, Lydersen and Laake 2013.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"counts of pairs must not be negative; got {only_a} and {only_b}")
    fewer, discordant = min(only_a, only_b), only_a + only_b
    tail = 2 * _at_most(fewer, discordant)
    if mid_p:
        below = _at_most(fewer - 1, discordant) if fewer else 0.0
        tail -= tail / 2 - below
    return min(1.0, tail)


def _at_most(heads: int, coins: int) -> float:
    """The chance of at most so many heads."""
    if coins > _COUNTED_COINS:
        from scipy.special import bdtr

        return float(bdtr(heads, coins, 0.5))
    ways: int = 1
    total: int = 1
    for i in range(1, heads + 1):
        ways = ways * (coins - i + 1) // i
        total += ways
    return float(total / 2**coins)


def student_p_values(t: npt.ArrayLike, freedom: float) -> FloatArray:
    """The chance that Student's t lies at least as far from 0, for each value of ``t`` (any shape).

    ``freedom`` are the degrees of freedom, above 0; inf is the normal distribution. ``ValueError``
    for others. From 100 on by the normal deviate with the same tails (Hill 1970, Algorithm 395),
    which is right to 1e-14 there.
    """
    if not freedom > 0:
        raise ValueError(f"degrees of freedom must be above 0; got {freedom}")
    values = np.minimum(np.abs(np.asarray(t, dtype=np.float64)), 1e150)  # its square is a number
    if freedom < _MANY_DEGREES:
        from scipy.special import stdtr

        few: FloatArray = 2 * stdtr(freedom, -values)
        return few
    if math.isfinite(freedom):
        a = freedom - 0.5
        z = np.sqrt(a * np.log1p(values**2 / freedom))
        square = z * z
        second = (((4 * square + 33) * square + 240) * square + 855) / (
            10 * (48 * a * a + 0.8 * square * square + 100)
        )
        values = z + z * (square + 3 - second) / (48 * a * a)
    tails = [math.erfc(value / math.sqrt(2)) for value in values.ravel().tolist()]
    return np.array(tails).reshape(values.shape)


def delong_test(
    scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, genuine: npt.ArrayLike
) -> AucComparison | None:
    """DeLong's test of two AUCs on the same pairs; None without a genuine or an impostor pair.

    ``scores_a`` and ``scores_b`` have shape (pairs,), higher is more alike, ties count half. The
    p-value is two-sided, for independent pairs. It is 1 for equal areas, and where a class has one
    pair, which says nothing of the spread; where the variance is 0 but the areas differ it is
    2 / 2^pairs, the least that exchanging models pair by pair can show. Source: as
    `delong_variance`.
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
