"""d': how far apart the classes lie, in standard deviations."""

from __future__ import annotations

import math
from typing import Any

from evaluator.array_types import FloatArray
from evaluator.metrics.figure import (
    NUMBER,
    OWN_SCALE,
    Figure,
    Influence,
    lacks_a_class,
    spread_by,
)
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.sweep import Sweep
from evaluator.metrics.text import Digits, interval_after

_DIGITS = Digits(1, 3)
Moments = tuple[float, float, float, float, float]

_PIECE = 1 << 13  # scores that stay in cache; BLAS would start threads for the products of more


def d_prime(s: Sweep) -> float | None:
    """The decidability index |m_g - m_i| / sqrt((v_g + v_i) / 2), at least 0.

    Means and population variances are those of the genuine and the impostor scores. None for fewer
    than two scores of a class, where neither class has any spread, and where pairs were missed: a
    mean needs a score of each. The index counts what the
    thresholds of other figures do not see, the shape of both distributions; it knows no better
    side, so a model whose impostors score higher has one too. Source: Daugman 2000, "Biometric
    decision landscapes".
    """
    found = _moments(s)
    return None if found is None else _index(*found)


def _index(genuine: Moments, impostor: Moments) -> float:
    return abs(genuine[0] - impostor[0]) / math.sqrt((genuine[1] + impostor[1]) / 2)


def _moments(s: Sweep) -> tuple[Moments, Moments] | None:
    """Mean, variance, and third and fourth central moments in units of the range, which comes last,
    of both classes, genuine first; None where d' is undefined.
    """
    if min(len(s.genuine), len(s.impostor)) < 2 or s.has_missed:
        return None
    found = _moments_of(s.genuine), _moments_of(s.impostor)
    return found if found[0][1] + found[1][1] > 0 else None


def _moments_of(ascending: FloatArray) -> Moments:
    lowest, highest = float(ascending[0]), float(ascending[-1])
    if lowest == highest:  # whose mean is rounded, and would leave a spread
        return lowest, 0.0, 0.0, 0.0, 0.0
    # All in one pass, by distances from the median, which is never further from the mean than one
    # standard deviation: nothing cancels. In units of the range, since fourth powers overflow.
    unit = highest - lowest
    median = float(ascending[len(ascending) // 2])
    total = squares = thirds = fourths = 0.0
    for start in range(0, len(ascending), _PIECE):
        distances = (ascending[start : start + _PIECE] - median) / unit
        squared = distances * distances
        total += float(distances.sum())
        squares += float(distances @ distances)
        thirds += float(squared @ distances)
        fourths += float(squared @ squared)
    count = len(ascending)
    off, second, third, fourth = (each / count for each in (total, squares, thirds, fourths))
    return (
        median + off * unit,
        max(0.0, squares - total * total / count) / count * unit * unit,
        third - 3 * off * second + 2 * off**3,
        max(0.0, fourth - 4 * off * third + 6 * off**2 * second - 3 * off**4),
        unit,
    )


def influence(pairs: SortedPairs) -> Influence:
    """Of both means and both variances, by the index's derivatives in them."""
    found = _moments(pairs.sweep)
    if found is None:
        return Influence.none(pairs)
    variance = (found[0][1] + found[1][1]) / 2
    gap = found[0][0] - found[1][0]
    parts = []
    for scores, (mean, own, *_), way in zip(
        (pairs.pairs.genuine, pairs.pairs.impostor), found, (1.0, -1.0), strict=True
    ):
        distances = scores - mean
        by_mean = way * math.copysign(1.0, gap) * distances
        by_spread = abs(gap) / (4 * variance) * (distances**2 - own)
        parts.append((by_mean - by_spread) / math.sqrt(variance) / len(scores))
    return Influence(parts[0], parts[1])


def _variance(s: Sweep, found: tuple[Moments, Moments]) -> float:
    """What the squares of the influence add up to: in each class of those of a d + b (d^2 - v)."""
    variance, gap = (found[0][1] + found[1][1]) / 2, found[0][0] - found[1][0]
    total = 0.0
    for scores, (_, own, third, fourth, unit), way in zip(
        (s.genuine, s.impostor), found, (1.0, -1.0), strict=True
    ):
        a, b = way * math.copysign(1.0, gap), -abs(gap) / (4 * variance)
        rate = b * unit * unit
        squares = a * a * own + 2 * a * rate * third * unit + rate * rate * fourth - (b * own) ** 2
        total += squares / variance / len(scores)
    return max(0.0, total)


def _fields(pairs: SortedPairs, sharing: Sharing | None) -> dict[str, Any]:
    found = _moments(pairs.sweep)
    if found is None:
        return {"d_prime": None, "d_prime_ci95": None}
    index = _index(*found)
    spread = spread_by(influence, pairs, sharing, lambda: _variance(pairs.sweep, found))
    half = spread.reach() * math.sqrt(spread.variance)
    return {"d_prime": index, "d_prime_ci95": (max(0.0, index - half), index + half)}


FIGURES = (
    Figure(
        name="d-prime",
        label="d'",
        title="d'",
        words="d', distance of the classes in standard deviations",
        explanation="How far the mean genuine score lies from the mean impostor score, in standard "
        "deviations of the scores of a class.",
        shape={"d_prime": NUMBER, "d_prime_ci95": OWN_SCALE},
        at=("d_prime",),
        ci95_at=("d_prime_ci95",),
        of=_fields,
        value=lambda pairs: d_prime(pairs.sweep),
        influence=influence,
        digits=_DIGITS,
        line=lambda stored: (
            f"{_DIGITS(stored['d_prime'])}{interval_after(stored.get('d_prime_ci95'), _DIGITS)}"
        ),
        lacks=lambda genuine, impostors: (
            lacks_a_class(genuine, impostors)
            or "fewer than two scores of a kind, no spread, or missed pairs, which have no score"
        ),
    ),
)
