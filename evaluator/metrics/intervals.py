"""Intervals of error rates and of accuracies.

SciPy is imported where it is needed: most answers do without it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from evaluator.metrics.sharing import Spread


def error_interval(
    rate: float, spread: Spread, event: float, *, more: float = 0.5, deciding: float = math.inf
) -> tuple[float, float] | None:
    """95 % interval of an error rate that may rest on a handful of errors; None where nothing errs
    and nothing is known of what one error would be.

    ``event`` is what one more error adds to the rate, at least what the worst cluster, image or
    person added. The rate is taken as a sum of such errors with ``spread``'s variance, whose
    interval has the quantiles of gamma distributions (Fay and Feuer 1997): at the upper end with
    ``more`` errors than there were, half an error as in mid-p intervals; errors of unequal weight
    need more, and so do few people, among whom the one who errs most may be missing. ``deciding``
    is by how many pairs the variance is known: the upper end pays for few by Student's t.
    """
    from scipy.special import gammaincinv, ndtr

    tail = float(ndtr(-spread.reach()))
    few = replace(spread, freedom=min(spread.freedom, max(1.0, deciding)))
    unseen = (more + 15 / spread.freedom) * max(event, spread.largest)
    above, variance = rate + unseen, spread.variance + unseen * unseen
    if variance <= 0 or above <= 0:
        return None
    low = 0.0
    if rate > 0 and spread.variance > 0:
        scale = spread.variance / rate
        low = scale * float(gammaincinv(rate / scale, tail))
    scale = variance / above
    high = scale * float(gammaincinv(above / scale, float(ndtr(few.reach()))))
    return min(low, rate), min(1.0, max(high, rate))


def accuracy_interval(
    accuracy: float, spread: Spread, event: float, *, more: float = 0.5, deciding: float = math.inf
) -> tuple[float, float] | None:
    """``error_interval`` of what is right instead of wrong."""
    ends = error_interval(1 - accuracy, spread, event, more=more, deciding=deciding)
    return None if ends is None else (1 - ends[1], 1 - ends[0])
