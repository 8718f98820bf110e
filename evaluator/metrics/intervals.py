"""Intervals of a proportion.

SciPy is imported where it is needed: most answers do without it.
"""

from __future__ import annotations

import math


def wilson_interval(
    successes: int, trials: int, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Wilson score interval of a proportion, without continuity correction; None for no trials.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    _check_counts(successes, trials, confidence)
    if trials == 0:
        return None
    from scipy.special import ndtri

    z = float(ndtri(0.5 + confidence / 2))
    share = successes / trials
    denominator = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / denominator
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def clopper_pearson_interval(
    successes: int, trials: int, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Exact (conservative) binomial interval of a proportion; None for no trials.

    Source: Clopper and Pearson 1934, by the quantiles of the beta distribution.
    """
    _check_counts(successes, trials, confidence)
    if trials == 0:
        return None
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return float(low), float(high)


def _check_counts(successes: int, trials: int, confidence: float) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..trials; got {successes} of {trials}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1); got {confidence}")
