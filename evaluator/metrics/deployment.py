"""The cosine to deploy a model with, as far as a bin's impostors can tell."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.array_types import FloatArray
from evaluator.errors import InputError
from evaluator.metrics.rates import (
    Rates,
    chance_of_at_most,
    dependence,
    finite_scores,
    rates_of,
    sharing_of,
)
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.sweep import below_all, threshold_above

_TAIL = 0.025  # beyond either end of a 95 % interval


class TooFewImpostorsError(InputError):
    """No score of the impostors at hand keeps the rate so surely; says what it takes.

    ``needed`` are impostor pairs that hang together as these do, ``people`` the people or images
    that they are of, 0 where pairs share none. ``least`` is a rate that these can keep, or None.
    """

    def __init__(
        self,
        target: tuple[float, float],
        impostors: int,
        *,
        effect: float = 1.0,
        sharing: Sharing | None = None,
        least: float | None = None,
    ) -> None:
        self.far, self.confidence = target
        self.impostors, self.least = impostors, least
        independent = impostors_to_bound(*target)
        self.needed = math.ceil(independent * effect)
        text = f"FAR {self.far:g} at {100 * self.confidence:g} % confidence takes {independent:,} "
        if sharing is None or effect == 1:
            got = f"{impostors:,}: bring more" if impostors else "none"
            text += f"impostor pairs; got {got}"
        else:
            text += f"independent impostor pairs; {_worth(impostors, effect, sharing, self.needed)}"
        super().__init__(text + (f", or ask for FAR {least:g} or higher" if least else ""))


def _worth(impostors: int, effect: float, sharing: Sharing, needed: int) -> str:
    nodes = math.ceil(sharing.nodes * needed / impostors)
    kind = "people" if sharing.unit == "person" else "images"
    return (
        f"got {impostors:,} of {sharing.nodes:,} {kind}, worth {impostors / effect:,.0f}: "
        f"bring about {_two_digits(needed):,} of {_two_digits(nodes):,} {kind}"
    )


@dataclass(frozen=True)
class DeploymentThreshold:
    """The threshold that keeps a target FAR on fresh pairs of fresh people, as surely as asked.

    ``threshold`` is a short decimal: what is printed of it is all of it. ``interval`` is the 95 %
    one of the score that strangers exceed at exactly the target rate; its upper end is None where
    no score seen is surely high enough. ``effect`` is by how much what the pairs share multiplies
    the variance of that rate. ``rates`` are those on the pairs it came from, ``empirical`` those of
    the lowest score above which no more than the target lie here, which promises nothing.
    """

    target_far: float
    confidence: float
    threshold: float
    interval: tuple[float, float | None]
    impostors_to_bound: int
    effect: float
    rates: Rates
    empirical: Rates


def deployment_threshold(
    scores: npt.ArrayLike,
    genuine: npt.ArrayLike,
    far: float,
    *,
    confidence: float = 0.95,
    images: npt.ArrayLike | None = None,
    people: npt.ArrayLike | None = None,
) -> DeploymentThreshold:
    """The threshold that fresh strangers pass no more often than ``far``, as surely as asked.

    For a share of ``confidence`` at least of all samples of impostors that could have been drawn:
    the lowest impostor score at which the one-sided upper limit of Clopper and Pearson is no more
    than ``far`` (a tolerance limit, Wilks 1941), whatever the scores' distribution; from there half
    way to the next higher score of either class, and up to a short decimal. Higher is more alike,
    and a pair is to be accepted when its score is above.

    ``images`` and ``people`` (2 x pairs,) number what is in each slot, as in a `BinEvaluation`;
    people count where they are known. What pairs share lessens what they are worth; without either
    they are taken as independent. Raises `TooFewImpostorsError` where no score is high enough,
    InputError for a rate outside (0, 1), a confidence outside [0.5, 1), arrays of other shapes and
    scores that are NaN or +inf; -inf is a pair that was missed.
    """
    if not isinstance(far, (int, float)) or not 0 < far < 1:
        raise InputError(f"far must lie in (0, 1); got {far!r}")
    if not isinstance(confidence, (int, float)) or not 0.5 <= confidence < 1:
        raise InputError(f"confidence must lie in [0.5, 1); got {confidence!r}")
    checked, labels = finite_scores(scores, genuine)
    classes = np.sort(checked[~labels]), np.sort(checked[labels])
    sharing = sharing_of(images, people, ~labels), sharing_of(images, people, labels)
    impostors, count = checked[~labels], len(classes[0])
    if not count or not np.isfinite(checked).any():
        raise TooFewImpostorsError((far, confidence), 0)
    effect = _effect(impostors, sharing[0], far, confidence)
    allowed = _most_errors(count, effect, far, confidence)
    if allowed < 0:
        least = _least_rate(impostors, sharing[0], far, confidence)
        raise TooFewImpostorsError(
            (far, confidence), count, effect=effect, sharing=sharing[0], least=least
        )
    low = _most_errors(count, effect, far, _TAIL) + 1
    high = _most_errors(count, effect, far, 1 - _TAIL)
    # No threshold lies among missed pairs.
    descending = np.maximum(classes[0][::-1], below_all(classes))
    thresholds = (
        _short_decimal(float(descending[allowed]), classes),
        # 1e-3 of 3,000 is 3, also where the product is rounded to just below.
        float(descending[min(count - 1, math.floor(far * count + 1e-9))]),
    )
    chosen, empirical = (rates_of(impostors, checked[labels], each, sharing) for each in thresholds)
    return DeploymentThreshold(
        target_far=far,
        confidence=confidence,
        threshold=chosen.threshold,
        interval=(
            float(descending[min(low, count - 1)]),
            float(descending[high]) if high >= 0 else None,
        ),
        impostors_to_bound=impostors_to_bound(far, confidence),
        effect=effect,
        rates=chosen,
        empirical=empirical,
    )


def impostors_to_bound(far: float, confidence: float = 0.95) -> int:
    """Independent impostors whose highest score fresh ones pass at ``far`` or less, so surely.

    About 3 / far at 0.95: the rule of three.
    """
    return math.ceil(math.log1p(-confidence) / math.log1p(-far))


def _effect(impostors: FloatArray, sharing: Sharing | None, far: float, confidence: float) -> float:
    return dependence(impostors, sharing, far, certainty=confidence).effect(far)


def _most_errors(impostors: int, effect: float, far: float, certainty: float) -> int:
    """The most impostors above a threshold that leave it so certain to keep the rate; -1: none."""

    def doubtful(errors: int) -> bool:
        return chance_of_at_most(errors, impostors, effect, far) > 1 - certainty

    return int(bisect_left(range(impostors), True, key=doubtful)) - 1


def _least_rate(
    impostors: FloatArray, sharing: Sharing | None, far: float, confidence: float
) -> float | None:
    """The lowest rate of two digits above ``far`` that these impostors can keep, if any."""
    first = math.floor(math.log10(far)) - 1
    higher: list[float] = [
        rate
        for power in range(first, -1)
        for digits in range(10, 100)
        if (rate := float(f"{digits}e{power}")) > far
    ]

    def kept(rate: float) -> bool:
        effect = _effect(impostors, sharing, rate, confidence)
        return _most_errors(len(impostors), effect, rate, confidence) >= 0

    place = bisect_left(higher, True, key=kept)
    return higher[place] if place < len(higher) else None


def _two_digits(count: int) -> int:
    """A number rounded up to two digits."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def _short_decimal(score: float, classes: tuple[FloatArray, FloatArray]) -> float:
    """The decimal of fewest digits, four or more after the point, from half way between a score
    and the next higher one up to that: it decides these scores as the score itself does.
    """
    middle = threshold_above(score, classes)
    places = [int(np.searchsorted(each, score, side="right")) for each in classes]
    higher = min(
        (float(x[i]) for x, i in zip(classes, places, strict=True) if i < len(x)),
        default=math.inf,
    )
    for digits in range(4, 18):
        if abs(middle) * 10.0**digits < 2**53:
            decimal = float(math.ceil(middle * 10**digits) / 10**digits)
            if middle <= decimal < higher:
                return decimal
    return middle
