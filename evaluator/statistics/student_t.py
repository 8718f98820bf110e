"""Student's t distribution without SciPy, whose import takes longer than a ranking.

Both tails together are the regularised incomplete beta function I_x(n / 2, 1 / 2) at
x = n / (n + t^2), for n degrees of freedom: its continued fraction (DLMF 8.17.22), by Lentz's
method.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# From here on the expansion in 1 / n is exact to 1e-15; the fraction takes more and more terms.
_MANY = 1000
_TINY = 1e-300
_PRECISION = 1e-15
_MOST_TERMS = 10_000


def two_sided_p_values(t: npt.ArrayLike, freedom: float) -> FloatArray:
    """The chance that Student's t lies at least as far from 0, for each value of ``t`` (any shape).

    ``freedom`` are the degrees of freedom, above 0; inf is the normal distribution. ``ValueError``
    for others.
    """
    if not freedom > 0:
        raise ValueError(f"degrees of freedom must be above 0; got {freedom}")
    values = np.abs(np.asarray(t, dtype=np.float64))
    flat = np.minimum(values.ravel(), 1e150)  # whose square is still a number
    if freedom < _MANY:
        found = _both_tails(flat, freedom)
    else:
        normal = flat if math.isinf(freedom) else _normalised(flat, freedom)
        found = np.array([math.erfc(value / math.sqrt(2)) for value in normal.tolist()])
    return found.reshape(values.shape)


def _normalised(t: FloatArray, freedom: float) -> FloatArray:
    """The normal deviate with the tails of ``t`` (Hill 1970, Algorithm 395)."""
    a = freedom - 0.5
    b = 48 * a * a
    z = np.sqrt(a * np.log1p(t * t / freedom))
    square = z * z
    second = (((4 * square + 33) * square + 240) * square + 855) / (
        10 * (b + 0.8 * square * square + 100)
    )
    normal: FloatArray = z + z * (square + 3 - second) / b
    return normal


def _both_tails(t: FloatArray, freedom: float) -> FloatArray:
    a = freedom / 2
    square = t * t
    # x and 1 - x, neither by subtraction; x^a (1 - x)^(1/2) / B(a, 1/2).
    x, rest = freedom / (freedom + square), square / (freedom + square)
    front = np.exp(-a * np.log1p(square / freedom)) * np.sqrt(rest) * _gamma_ratio(a)
    front /= math.sqrt(math.pi)
    found = np.empty_like(t)
    far = x < (a + 1) / (a + 2.5)  # where the fraction converges fast; elsewhere that of 1 - x does
    found[far] = front[far] / a * _fraction(a, 0.5, x[far])
    found[~far] = 1 - 2 * front[~far] * _fraction(0.5, a, rest[~far])
    return found


def _gamma_ratio(a: float) -> float:
    """Gamma(a + 1/2) / Gamma(a), by its asymptotic series (DLMF 5.11.13) where it is large."""
    if a < 60:
        return math.gamma(a + 0.5) / math.gamma(a)
    inverse = 1 / a
    terms = (-1 / 8, 1 / 128, 5 / 1024, -21 / 32768, -399 / 262144, 869 / 4194304)
    return math.sqrt(a) * (1 + sum(term * inverse**n for n, term in enumerate(terms, 1)))


def _fraction(a: float, b: float, x: FloatArray) -> FloatArray:
    """The continued fraction of I_x(a, b) without its factor in front, for every x."""
    d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    c = np.ones_like(x)
    value = d
    for term in range(1, _MOST_TERMS):
        before = value
        even = term * (b - term) / ((a + 2 * term - 1) * (a + 2 * term))
        odd = -(a + term) * (a + b + term) / ((a + 2 * term) * (a + 2 * term + 1))
        for factor in (even, odd):
            d = 1 / _away_from_zero(1 + factor * x * d)
            c = _away_from_zero(1 + factor * x / c)
            value = value * (d * c)
        if bool((np.abs(value - before) <= _PRECISION * np.abs(value)).all()):
            break
    return value


def _away_from_zero(values: FloatArray) -> FloatArray:
    return np.where(np.abs(values) < _TINY, _TINY, values)
