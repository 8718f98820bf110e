"""McNemar's test of two models on independent pairs, and the correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluator.array_types import FloatArray
from evaluator.statistics.tails import incomplete_beta

# What counts as shown: the level of every test, two-sided.
SIGNIFICANCE = 0.05


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar p-value from the pairs that only A and only B gets right.

    1 where there is no such pair. Source: McNemar 1947.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"counts of pairs must not be negative; got {only_a} and {only_b}")
    more, discordant = max(only_a, only_b), only_a + only_b
    return min(1.0, 2 * incomplete_beta(more, discordant - more + 1, 0.5))


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
