"""How often strangers pass and genuine pairs are turned away at a threshold, with intervals that
hold where pairs share images or people.

Such pairs err together, the more so the more of them err: the design effect of an error rate (by
how much sharing multiplies its variance) is measured at the rate and at twice and four times it,
where more errors make the estimate steadier, and taken from one rate to another by the first term
of the correlation of two exceedances of jointly normal scores (Pearson 1900). The highest counts.
An interval asks at either end whether the errors seen would be rare with the effect *there*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.array_types import BoolArray, FloatArray
from evaluator.errors import InputError
from evaluator.metrics.sharing import Sharing, design_effect, slots_sharing

Interval = tuple[float, float]

_TAIL = 0.025  # beyond either end of a 95 % interval


@dataclass(frozen=True)
class Rates:
    """Error rates at a threshold with their 95 % intervals; None without pairs of a kind.

    A pair is accepted when its score is above the threshold. ``far`` and ``frr`` are rates of
    comparisons, FMR and FNMR in ISO/IEC 19795-1. ``far_effect`` and ``frr_effect`` are by how much
    shared images or people multiply the variance of each, 1 where nothing is shared or known.
    """

    threshold: float
    far: float | None
    far_ci95: Interval | None
    frr: float | None
    frr_ci95: Interval | None
    impostors: int
    genuine: int
    far_effect: float
    frr_effect: float


@dataclass(frozen=True)
class Dependence:
    """How the design effect of an error rate grows with the rate.

    ``caution`` pays for the few images or people that it was estimated from: the squared quantile
    of their t distribution over the normal one (Korn and Graubard 1998).
    """

    growth: float = 0.0
    caution: float = 1.0

    def effect(self, rate: float) -> float:
        """Times by which sharing multiplies the variance of that rate, at least 1."""
        return self.caution * (1 + self.growth * _shared_exceedance(rate))


def rates_at_threshold(
    scores: npt.ArrayLike,
    genuine: npt.ArrayLike,
    threshold: float,
    *,
    images: npt.ArrayLike | None = None,
    people: npt.ArrayLike | None = None,
) -> Rates:
    """False accept and false reject rate of accepting the scores above ``threshold``.

    ``images`` and ``people`` (2 x pairs,) number what is in each slot, the left and right of pair i
    at 2 i and 2 i + 1; people count where they are known. Without either pairs are taken as
    independent. A pair that was missed has -inf and is never accepted. InputError for arrays of
    other shapes, labels that are none, or scores that are NaN or +inf.
    """
    checked, labels = finite_scores(scores, genuine)
    sharing = sharing_of(images, people, ~labels), sharing_of(images, people, labels)
    return rates_of(checked[~labels], checked[labels], threshold, sharing)


def rates_of(
    impostors: FloatArray,
    genuine: FloatArray,
    threshold: float,
    sharing: tuple[Sharing | None, Sharing | None],
) -> Rates:
    """`rates_at_threshold` of the finite scores of either class, and how the pairs of it hang
    together.
    """
    far, far_ci95, far_effect = _rate(impostors, threshold, sharing[0])
    # What fails is at most the threshold: the signs are turned.
    frr, frr_ci95, frr_effect = _rate(-genuine, -threshold, sharing[1], touching=True)
    return Rates(
        threshold,
        far,
        far_ci95,
        frr,
        frr_ci95,
        len(impostors),
        len(genuine),
        far_effect,
        frr_effect,
    )


def _rate(
    scores: FloatArray, threshold: float, sharing: Sharing | None, *, touching: bool = False
) -> tuple[float | None, Interval | None, float]:
    """The share of the scores beyond a threshold, its interval and its design effect."""
    count = len(scores)
    if not count:
        return None, None, 1.0
    errors = int((scores >= threshold if touching else scores > threshold).sum())
    least = max(errors, 1) / count  # none is taken as if it were one
    hangs = dependence(scores, sharing, least, certainty=1 - _TAIL)
    return errors / count, _interval(errors, count, hangs), hangs.effect(least)


def dependence(
    scores: FloatArray, sharing: Sharing | None, rate: float, *, certainty: float
) -> Dependence:
    """How the errors of one class hang together, for rates about ``rate``.

    ``scores`` (n,) of the pairs of ``sharing``, turned so that high ones are errors.
    ``certainty`` is that of the bound it is for.
    """
    if sharing is None or sharing.method == "pairs":
        return Dependence()
    descending = np.sort(scores)[::-1]
    growth = 0.0
    for level in {rate, *(times * rate for times in (2, 4) if times * rate <= 0.5)}:
        beyond = scores > descending[min(len(scores) - 1, math.floor(level * len(scores) + 1e-9))]
        share = float(beyond.mean())
        if share > 0:
            excess = design_effect(beyond, sharing) - 1
            growth = max(growth, excess / _shared_exceedance(share))
    return Dependence(growth, _caution(sharing, certainty))


def _shared_exceedance(rate: float) -> float:
    """The correlation of two exceedances of a rate, by that of the scores where it is small."""
    from scipy.special import ndtri

    if not 0 < rate < 1:
        return 0.0
    density = math.exp(-(float(ndtri(rate)) ** 2)) / (2 * math.pi)
    return density / (rate * (1 - rate))


def _caution(sharing: Sharing, certainty: float) -> float:
    from scipy.special import ndtri, stdtrit

    if sharing.method != "dyads":
        return 1.0
    at = max(certainty, 0.9)  # below it either quantile nears 0, and their ratio says nothing
    return float((stdtrit(sharing.freedom, at) / ndtri(at)) ** 2)


def chance_of_at_most(errors: int, count: int, effect: float, rate: float) -> float:
    """The chance of no more than ``errors`` among ``count`` pairs that err at ``rate``.

    Of the binomial distribution with both numbers divided by the design effect; errors are from 0
    to below the count.
    """
    from scipy.special import betaincc

    return float(betaincc(errors / effect + 1, (count - errors) / effect, rate))


def _interval(errors: int, count: int, hangs: Dependence) -> Interval:
    """The 95 % interval of Clopper and Pearson, with the design effect at either end."""
    from scipy.special import betainc

    def too_low(rate: float) -> bool:
        effect = hangs.effect(rate)
        return bool(betainc(errors / effect, (count - errors) / effect + 1, rate) < _TAIL)

    def too_high(rate: float) -> bool:
        return chance_of_at_most(errors, count, hangs.effect(rate), rate) < _TAIL

    seen = errors / count
    low = halved(too_low, seen, 0.0) if errors else 0.0
    high = halved(too_high, seen, 1.0) if errors < count else 1.0
    return low, high


def halved(
    ruled_out: Callable[[float], bool], inside: float, outside: float, *, times: int = 80
) -> float:
    """The number next to ``inside`` that is ruled out as ``outside`` is, by halving what is between
    so many times.
    """
    for _ in range(times):
        middle = (inside + outside) / 2
        if ruled_out(middle):
            outside = middle
        else:
            inside = middle
    return outside


def sharing_of(
    images: npt.ArrayLike | None, people: npt.ArrayLike | None, of_class: BoolArray
) -> Sharing | None:
    """How the pairs of a class hang together: by people where they are known, else by images."""
    slots = images if people is None else people
    if slots is None or not of_class.any():
        return None
    numbers = np.asarray(slots)
    if numbers.shape != (2 * len(of_class),):
        raise InputError(
            "images and people must number two slots a pair; "
            f"got shape {numbers.shape} for {len(of_class):,} pairs"
        )
    return slots_sharing(of_class, images=numbers, people=None if people is None else numbers)


def finite_scores(scores: npt.ArrayLike, genuine: npt.ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Scores as floats, -inf for a missed pair, and labels as bools, both (pairs,). InputError for
    what is neither.
    """
    given = np.asarray(genuine)
    if given.dtype != np.bool_ and not np.isin(given, (0, 1)).all():
        raise InputError(
            f"genuine must be bool, True for a genuine pair; got {given.dtype} besides 0 and 1"
        )
    checked, labels = np.asarray(scores, dtype=np.float64), given.astype(np.bool_)
    if checked.ndim != 1 or checked.shape != labels.shape:
        raise InputError(
            "scores and genuine must be one value a pair, equally many; "
            f"got shapes {checked.shape} and {labels.shape}"
        )
    finite = checked < math.inf  # -inf is a missed pair
    if not finite.all():
        raise InputError(f"{int((~finite).sum())} of {len(checked)} scores are not finite")
    return checked, labels
