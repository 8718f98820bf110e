"""Tails of distributions, without SciPy: to import it takes longer than all else that a stored
result is asked for.
"""

from __future__ import annotations

import functools
import math

from evaluator.metrics.rates import halved

_NEGLIGIBLE = 1e-300
_ENOUGH = 1e-15


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b >= 0 and x in [0, 1].

    By Lentz's continued fraction, right to about 1e-8 of itself for tens of thousands. The
    chance of at least k of n in a binomial distribution is I_x(k, n - k + 1), for real numbers too.
    """
    if x <= 0 or b <= 0:
        return 0.0
    if x >= 1 or a <= 0:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction of the other tail converges faster
        return 1 - _lower_beta(b, a, 1 - x)
    return _lower_beta(a, b, x)


def _lower_beta(a: float, b: float, x: float) -> float:
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    logarithm += a * math.log(x) + b * math.log1p(-x)

    # A sum of 1 and another number is 0 itself, or no less than its last digit.
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _NEGLIGIBLE)
    fraction = d
    m = 0
    factor = 0.0
    while abs(factor - 1) > _ENOUGH:
        m += 1
        at = a + 2 * m
        even = m * (b - m) * x / ((at - 1) * at)
        d, c = 1 / (1 + even * d or _NEGLIGIBLE), 1 + even / c or _NEGLIGIBLE
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / (at * (at + 1))
        d, c = 1 / (1 + odd * d or _NEGLIGIBLE), 1 + odd / c or _NEGLIGIBLE
        factor = d * c
        fraction *= factor
    return math.exp(logarithm) * fraction / a


def student_tail(deviate: float, freedom: float = math.inf) -> float:
    """The chance that Student's t lies above ``deviate`` (at least 0); the normal one's for inf."""
    if math.isinf(freedom):
        return math.erfc(deviate / math.sqrt(2)) / 2
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + deviate * deviate)) / 2


def student_deviate(tail: float, freedom: float = math.inf) -> float:
    """The deviate, at least 0, above which Student's t lies with this chance, in (0, 0.5]."""
    if math.isinf(freedom):
        from statistics import NormalDist

        return max(0.0, -NormalDist().inv_cdf(tail))
    # By what share of its variance lies beyond: between 0 and 1 for every deviate.
    share = halved(lambda at: incomplete_beta(freedom / 2, 0.5, at) > 2 * tail, 0.0, 1.0, times=54)
    return math.sqrt(freedom * (1 - share) / share)


@functools.lru_cache(maxsize=256)
def reach(confidence: float, freedom: float = math.inf) -> float:
    """Standard errors on either side that hold the truth with so much confidence."""
    return student_deviate((1 - confidence) / 2, freedom)
