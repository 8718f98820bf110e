"""How many pairs a question takes, before there are any: from what two models are expected to be.

Scores of a class are taken as normal, and two models' scores of a pair as correlated: what each
decision, false accept or placement varies by follows from that alone. Pairs are independent here;
where they share images or people, a design effect multiplies them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from evaluator.errors import InputError
from evaluator.metrics.deployment import impostors_to_bound
from evaluator.statistics.pair_tests import SIGNIFICANCE

_NORMAL = NormalDist()
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)

# With fewer false accepts the threshold of a FAR jumps from impostor to impostor.
_LEAST_FALSE_ACCEPTS = 10
# Finer questions than anybody can answer; formulas lose their digits there.
_LEAST_SHARE = 1e-9
_MOST_CORRELATION = 0.99


@dataclass(frozen=True)
class Pairs:
    """So many genuine and impostor pairs."""

    genuine: int
    impostor: int

    @property
    def people(self) -> int:
        """People who show all of these pairs where nobody is shown in two of them."""
        return self.genuine + 2 * self.impostor

    def times(self, design_effect: float) -> Pairs:
        """As many as weigh the same where sharing multiplies the variance so many times."""
        return Pairs(
            math.ceil(self.genuine * design_effect), math.ceil(self.impostor * design_effect)
        )


@dataclass(frozen=True)
class Expected:
    """What two models are expected to be: the figure of the better one, and how alike they are.

    ``figure`` is ``accuracy``, ``auc`` or ``tar``, the last at ``far``. ``level`` is the better
    model's, a fraction; ``correlation`` in [0, 0.99] is that of both models' scores among the pairs
    of a class; ``power`` in (0.5, 1) is how often a true difference is to be found. InputError for
    others.
    """

    figure: Literal["accuracy", "tar", "auc"]
    level: float
    far: float = 1e-3
    correlation: float = 0.7
    power: float = 0.8

    def __post_init__(self) -> None:
        least = 0.0 if self.figure == "tar" else 0.5
        if not least < self.level <= 1 - _LEAST_SHARE:
            raise InputError(
                f"{self.figure} of {self.level:g}: expected a fraction above {least:g} and below 1"
            )
        if not 0 <= self.correlation <= _MOST_CORRELATION:
            raise InputError(
                f"correlation of {self.correlation:g}: expected from 0 to {_MOST_CORRELATION}"
            )
        if not 0.5 < self.power < 1:
            raise InputError(f"power of {self.power:g}: expected above 0.5 and below 1")
        _check_rate(self.far)


def pairs_to_find(expected: Expected, difference: float) -> Pairs:
    """Pairs with which a test at 5 % finds a true ``difference`` (a fraction) so often as asked.

    Accuracy: mid-p McNemar on half as many pairs of either class. AUC: DeLong's test, the same. TAR
    at a FAR: the fewest pairs in all. ``InputError`` for a difference that is not above 0, or
    leaves the worse model at chance or below.
    """
    least = 0.0 if expected.figure == "tar" else 0.5
    if not _LEAST_SHARE <= difference < expected.level - least:
        raise InputError(
            f"difference of {100 * difference:g} points from {100 * expected.level:g} %: expected "
            f"above 0, and more than {100 * least:g} % left"
        )
    worse = expected.level - difference
    if expected.figure == "accuracy":
        discordant = discordant_share(expected.level, worse, expected.correlation)
        return _halves(connor_pairs(discordant, difference, expected.power))
    reach = _NORMAL.inv_cdf(1 - SIGNIFICANCE / 2) + _NORMAL.inv_cdf(expected.power)
    return _pairs(expected, worse, reach / difference)


def pairs_to_exclude(expected: Expected, margin: float) -> Pairs:
    """Pairs with which one of two equal models is shown to be no worse by ``margin`` (a fraction).

    Non-inferiority: the lower end of the difference's 90 % interval lies above -margin, as often
    as the power asks. ``InputError`` for a margin outside (0, 1).
    """
    if not _LEAST_SHARE <= margin < 1:
        raise InputError(f"margin of {100 * margin:g} points: expected above 0 and below 100")
    reach = _NORMAL.inv_cdf(1 - SIGNIFICANCE) + _NORMAL.inv_cdf(expected.power)
    if expected.figure == "accuracy":
        same = discordant_share(expected.level, expected.level, expected.correlation)
        return _halves(max(same * (reach / margin) ** 2, pairs_to_bound(margin)))
    return _pairs(expected, expected.level, reach / margin)


def connor_pairs(discordant: float, difference: float, power: float = 0.8) -> float:
    """Pairs with which McNemar's test at 5 % finds a difference of two shares, not rounded.

    ``discordant`` is the share of pairs that one model alone gets right. Source: Connor 1987,
    "Sample size for testing differences in proportions for the paired-sample design".
    """
    critical, margin = _NORMAL.inv_cdf(1 - SIGNIFICANCE / 2), _NORMAL.inv_cdf(power)
    spread = math.sqrt(max(0.0, discordant - difference**2))
    return ((critical * math.sqrt(discordant) + margin * spread) / difference) ** 2


def discordant_share(share_a: float, share_b: float, correlation: float) -> float:
    """Share of pairs that one model alone gets right, of models right on these shares of pairs,
    whose scores are normal and correlated.
    """
    a, b = _NORMAL.inv_cdf(share_a), _NORMAL.inv_cdf(share_b)
    return share_a + share_b - 2 * _both_below(a, b, correlation)


def pairs_to_bound(rate: float) -> int:
    """Pairs without one error that show an error rate (a FAR) to be below ``rate``, at 95 %.

    About 3 / rate: the rule of three. InputError for a rate outside (0, 1).
    """
    _check_rate(rate)
    return impostors_to_bound(rate)


def pairs_to_measure(rate: float, factor: float) -> int:
    """Pairs with which an error rate (a FAR) is known within ``factor`` (above 1) either way, 95 %.

    As many as are expected to give the errors whose exact Poisson interval is as narrow: 12 for a
    factor of 2. InputError for a rate outside (0, 1).
    """
    from scipy.special import gammaincinv

    _check_rate(rate)
    errors = 1
    while (
        errors > factor * gammaincinv(errors, SIGNIFICANCE / 2)
        or gammaincinv(errors + 1, 1 - SIGNIFICANCE / 2) > factor * errors
    ):
        errors += 1
    return math.ceil(errors / rate - 1e-9)


def _check_rate(rate: float) -> None:
    if not _LEAST_SHARE <= rate < 1:
        raise InputError(f"rate of {rate:g}: expected from {_LEAST_SHARE:g} to below 1")


def _pairs(expected: Expected, worse: float, reach: float) -> Pairs:
    """The pairs that give the difference a variance of 1 / reach^2."""
    if expected.figure == "auc":
        both = math.ceil(2 * reach**2 * _placement_variance(expected, worse))
        return Pairs(both, both)
    # The fewest in all: of either class as many as the standard deviation that its pairs add.
    own, others = (math.sqrt(variance) for variance in _tar_variances(expected, worse))
    least = _LEAST_FALSE_ACCEPTS / expected.far - 1e-9
    return Pairs(
        math.ceil(reach**2 * own * (own + others)),
        math.ceil(max(least, reach**2 * others * (own + others))),
    )


def _placement_variance(expected: Expected, worse: float) -> float:
    """The variance of a difference of placements: of a genuine pair, and of an impostor alike.

    A genuine score beats the share cdf(score) of standard normal impostors. The mean of a product
    of two such shares is the chance to beat two impostors that are drawn apart.
    """
    areas = (expected.level, worse)
    a, b = (_NORMAL.inv_cdf(area) for area in areas)
    own = sum(_both_below(at, at, 0.5) - area**2 for at, area in zip((a, b), areas, strict=True))
    return own - 2 * (_both_below(a, b, expected.correlation / 2) - areas[0] * areas[1])


def _tar_variances(expected: Expected, worse: float) -> tuple[float, float]:
    """The variance that a genuine pair and an impostor add to a difference of TAR at a FAR.

    An impostor moves the threshold, which moves TAR by the slope of the ROC curve there.
    """
    far = expected.far
    at = -_NORMAL.inv_cdf(far)
    slopes = [
        _NORMAL.pdf(_NORMAL.inv_cdf(tar)) / _NORMAL.pdf(at) for tar in (expected.level, worse)
    ]
    together = _both_below(-at, -at, expected.correlation) - far**2
    others = far * (1 - far) * sum(slope**2 for slope in slopes)
    own = discordant_share(expected.level, worse, expected.correlation)
    return own - (expected.level - worse) ** 2, others - 2 * slopes[0] * slopes[1] * together


def _both_below(a: float, b: float, correlation: float) -> float:
    """The chance that two standard normal numbers, correlated so, lie below ``a`` and ``b``.

    Source: Drezner and Wesolowsky 1990, by the integral over the arc sine of the correlation.
    """
    end = math.asin(correlation)
    angle = (_NODES + 1) * end / 2
    exponent = (a * a + b * b - 2 * a * b * np.sin(angle)) / (2 * np.cos(angle) ** 2)
    more = float(_WEIGHTS @ np.exp(-exponent)) * end / (4 * math.pi)
    return _NORMAL.cdf(a) * _NORMAL.cdf(b) + more


def _halves(pairs: float) -> Pairs:
    half = math.ceil(pairs / 2)
    return Pairs(half, half)
