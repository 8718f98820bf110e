"""The cosine to deploy a model with, as far as a bin's impostors can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from evaluator.errors import InputError
from evaluator.metrics.intervals import clopper_pearson_interval

FloatArray = npt.NDArray[np.float64]


class TooFewImpostorsError(InputError):
    """A false accept rate below one error in the impostors at hand; says how many it takes."""

    def __init__(self, far: float, impostors: int) -> None:
        self.far, self.impostors, self.needed = far, impostors, impostors_to_resolve(far)
        super().__init__(
            f"FAR {far:g} takes at least {self.needed:,} impostor pairs for a threshold and "
            f"{impostors_to_bound(far):,} for its interval; got {impostors:,}: bring more, or ask "
            f"for FAR {_least_rate(impostors):g} or higher"
            if impostors
            else f"FAR {far:g} takes at least {self.needed:,} impostor pairs; got none"
        )


@dataclass(frozen=True)
class Rates:
    """Error rates at a threshold with Clopper-Pearson 95 % intervals; None without pairs of a kind.

    A pair is accepted when its score is above the threshold.
    """

    threshold: float
    far: float | None
    far_ci95: tuple[float, float] | None
    frr: float | None
    frr_ci95: tuple[float, float] | None
    impostors: int
    genuine: int


@dataclass(frozen=True)
class DeploymentThreshold:
    """The threshold for a target FAR, its 95 % interval, and the rates on the pairs it came from.

    The interval is of the score that strangers exceed at exactly the target rate. Its upper end is
    None with fewer than ``impostors_to_bound`` impostors: no score seen is surely high enough.
    """

    target_far: float
    threshold: float
    interval: tuple[float, float | None]
    impostors_to_bound: int
    rates: Rates


def deployment_threshold(
    scores: npt.ArrayLike, genuine: npt.ArrayLike, far: float
) -> DeploymentThreshold:
    """The lowest impostor score above which no more than ``far`` of the impostors lie.

    A pair is to be accepted when its score is above it; higher is more alike, ties with the
    threshold are rejected, so the rate on these impostors never exceeds ``far``. The interval runs
    between order statistics of the impostors, whatever their distribution (Conover 1999, section
    3.2), as if they were independent. `TooFewImpostorsError` below 1 / far impostors; `ValueError`
    for a rate outside (0, 1) or scores that are not finite.
    """
    if not isinstance(far, (int, float)) or not 0 < far < 1:
        raise InputError(f"far must lie in (0, 1); got {far!r}")
    checked, labels = _finite_scores(scores, genuine)
    descending = np.sort(checked[~labels])[::-1]
    count = len(descending)
    if count < impostors_to_resolve(far):
        raise TooFewImpostorsError(far, count)
    threshold = float(descending[_allowed_errors(far, count)])
    low, high = _order_statistic_ranks(far, count)
    return DeploymentThreshold(
        target_far=far,
        threshold=threshold,
        interval=(float(descending[low]), float(descending[high]) if high is not None else None),
        impostors_to_bound=impostors_to_bound(far),
        rates=rates_at_threshold(checked, labels, threshold),
    )


def rates_at_threshold(scores: npt.ArrayLike, genuine: npt.ArrayLike, threshold: float) -> Rates:
    """False accept and false reject rate of accepting the scores above ``threshold``."""
    checked, labels = _finite_scores(scores, genuine)
    accepted = checked > threshold
    impostors, genuines = int((~labels).sum()), int(labels.sum())
    false_accepts, false_rejects = int((accepted & ~labels).sum()), int((~accepted & labels).sum())
    return Rates(
        threshold=threshold,
        far=false_accepts / impostors if impostors else None,
        far_ci95=clopper_pearson_interval(false_accepts, impostors),
        frr=false_rejects / genuines if genuines else None,
        frr_ci95=clopper_pearson_interval(false_rejects, genuines),
        impostors=impostors,
        genuine=genuines,
    )


def impostors_to_resolve(far: float) -> int:
    """Impostors of which ``far`` is at least one error."""
    return math.ceil(1 / far - 1e-9)


def impostors_to_bound(far: float) -> int:
    """Impostors whose highest score lies above the true threshold with 97.5 % certainty.

    About 3.7 / far: the rule of three for a two-sided interval.
    """
    return math.ceil(math.log(0.025) / math.log1p(-far))


def _allowed_errors(far: float, impostors: int) -> int:
    # 1e-3 of 3,000 is 3, also where the product is rounded to just below.
    return min(impostors - 1, math.floor(far * impostors + 1e-9))


def _order_statistic_ranks(far: float, impostors: int) -> tuple[int, int | None]:
    """Ranks from the top, from 0, of the interval's ends; the number above is binomial."""
    reach = int(far * impostors + 12 * math.sqrt(far * impostors) + 20)
    ranks = np.arange(min(impostors, reach))
    at_most = bdtr(ranks, impostors, far)
    # The score with `rank` scores above it is too high a lower end if more than `rank` lie above.
    low = int(np.searchsorted(at_most, 0.975))
    high = int(np.searchsorted(at_most, 0.025, side="right")) - 1
    return min(low, impostors - 1), high if high >= 0 else None


def _least_rate(impostors: int) -> float:
    """1 / impostors, rounded up to two digits so that asking for it is not refused again."""
    digits = 10.0 ** (math.floor(math.log10(1 / impostors)) - 1)
    return math.ceil(1 / impostors / digits - 1e-9) * digits


def _finite_scores(
    scores: npt.ArrayLike, genuine: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
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
    if not np.isfinite(checked).all():
        raise InputError(
            f"{int((~np.isfinite(checked)).sum())} of {len(checked)} scores are not finite"
        )
    return checked, labels
