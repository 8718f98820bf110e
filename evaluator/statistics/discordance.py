"""The test of a difference by the pairs on which two models part, and the interval with it.

Of n pairs that one model alone gets right, equal models share by a fair coin (McNemar 1947). Where
pairs hang together the n are worth fewer, so the tails are those of a binomial distribution with
real-valued counts, by the incomplete beta function. A p-value has no floor but 2^-n.
"""

from __future__ import annotations

import math

from evaluator.metrics.rates import halved
from evaluator.statistics.tails import (
    incomplete_beta,
    reach,
    student_deviate,
    student_tail,
)

# From so many pairs on, the observed table counts half (mid-p), which holds the level; with fewer,
# the exact test, or five pairs that all speak for one model would be called proof. Sums of what
# bins add may round.
MANY = 25 - 1e-9
_LEAST = 2.0**-1022  # no p-value is 0


def discordance_p_value(discordant: float, z: float, freedom: float = math.inf) -> float:
    """Two-sided p-value of no difference, above 0.

    ``discordant`` is how many independent discordant pairs the difference is worth, inf for a
    normal distribution; ``z`` the difference in standard errors of equal models: of b and c
    independent pairs (b - c) / sqrt(b + c). Few degrees of ``freedom`` of the variance are paid for
    by Student's t, at the deviate that the normal distribution has for the p-value. 1 without
    discordant pairs.
    """
    if discordant <= 0:
        return 1.0
    if math.isinf(discordant):
        return max(_LEAST, 2 * student_tail(abs(z), freedom))
    fewer = max(0.0, (discordant - abs(z) * math.sqrt(discordant)) / 2)
    tail = max(_LEAST, _at_least(discordant - fewer, discordant, 0.5))
    if math.isfinite(freedom) and tail < 0.5:
        tail = max(_LEAST, student_tail(student_deviate(tail), freedom))
    return min(1.0, 2 * tail)


def discordance_interval(
    difference: float,
    discordant: float,
    step: float,
    *,
    freedom: float = math.inf,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of a difference of two shares; it leaves out 0 exactly where the test's p-value is
    below 1 - ``confidence``.

    ``step`` is what one of the ``discordant`` pairs, as `discordance_p_value` counts them, moves.
    The difference is the share of discordant pairs times what one model has more of them: the
    latter's interval is the test's, inverted, the former's Wilson's, and the product's comes from
    the distances of their ends (MOVER: Zou and Donner 2008) with the product of both distances,
    which is all there is where no pair is discordant. Ends that speak for one model stay on its
    side of 0, and none beyond -1 or 1.
    """
    width = reach(confidence, freedom)
    share = discordant * step
    rare, often = _wilson(share, 1 / step, width)

    def lowest(lead: float) -> float:
        surplus = max(-1.0, min(1.0, lead / share)) if share > 0 else 0.0
        far = 2 * _lowest_chance(discordant * (1 + surplus) / 2, discordant, width) - 1
        # Where B leads, more discordant pairs make the difference lower.
        apart = share - rare if surplus > 0 else often - share
        gap = surplus - far
        end = lead - math.hypot(share * gap, surplus * apart, gap * (often - share))
        return max(end, far * rare) if far > 0 else max(-1.0, min(end, 0.0))

    return lowest(difference), -lowest(-difference)


def _lowest_chance(heads: float, coins: float, width: float) -> float:
    """The lowest chance of heads that the test does not part from so many among so many coins."""
    if heads <= 0:
        return 0.0
    tail = student_tail(width)
    return halved(lambda chance: _at_least(heads, coins, chance) > tail, 0.0, 1.0, times=54)


def _at_least(heads: float, coins: float, chance: float) -> float:
    """How likely so many heads or more are; of 25 coins or more, so many count half."""
    own = incomplete_beta(heads, coins - heads + 1, chance)
    if coins < MANY:
        return own
    return (own + incomplete_beta(heads + 1, coins - heads, chance)) / 2


def _wilson(share: float, trials: float, width: float) -> tuple[float, float]:
    """Wilson's interval of a share of real-valued trials, ``width`` standard errors either side."""
    square = width * width / trials
    middle = (share + square / 2) / (1 + square)
    half = width * math.sqrt(share * (1 - share) / trials + square / (4 * trials)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
