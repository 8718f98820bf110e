"""EER: the error rate where as many impostors are accepted as genuine pairs are rejected."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluator.metrics.figure import (
    INTERVAL,
    NUMBER,
    SHARE,
    Figure,
    Influence,
    Stored,
    lacks_a_class,
    share_variance,
    spread_by,
)
from evaluator.metrics.intervals import error_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.sweep import Sweep, error_rates, predecessor, threshold_above
from evaluator.metrics.text import cosine, interval_after, percent


@dataclass(frozen=True)
class EqualErrorRate:
    """The rate at which FMR and FNMR meet, and a threshold that sits there."""

    rate: float
    threshold: float


def eer(s: Sweep) -> EqualErrorRate | None:
    """The equal error rate, or None if a class is missing, or if so many genuine pairs are missed
    that FNMR is above FMR at every threshold.

    The sweep's points are (FMR, FNMR) at "below all" and at each distinct score. Between the last
    point with FMR > FNMR and the first with FMR <= FNMR both are taken as linear; the rate is
    where they meet. The threshold belongs to whichever of the two points has the smaller gap (the
    higher one on a tie), halfway to the next score: a threshold on a score itself would decide
    that score by its last bit.
    """
    if s.one_sided:
        return None
    classes = (s.genuine, s.impostor)

    def gap(threshold: float) -> float:
        fmr, fnmr = error_rates(s, threshold)
        return fmr - fnmr

    # The gap never rises along a class, so the first score that closes it is found by bisection.
    # Each class has one: at its highest score FMR is 0 (impostors) or FNMR is 1 (genuine).
    crossed = [bisect.bisect_left(x, True, key=lambda v: gap(v) <= 0) for x in classes]
    after = min(float(x[i]) for x, i in zip(classes, crossed, strict=True))
    before = max(predecessor(x, after) for x in classes)
    gap_before, gap_after = gap(before), gap(after)
    if gap_before < 0:
        return None
    fmr_before, fmr_after = error_rates(s, before)[0], error_rates(s, after)[0]
    share = gap_before / (gap_before - gap_after) if gap_before else 0.0
    rate = fmr_before + share * (fmr_after - fmr_before)
    nearer = after if -gap_after <= gap_before else before
    return EqualErrorRate(rate, threshold_above(nearer, classes))


def _value(pairs: SortedPairs) -> float | None:
    found = eer(pairs.sweep)
    return found.rate if found else None


def _fields(pairs: SortedPairs, sharing: Sharing | None) -> dict[str, Any]:
    found = eer(pairs.sweep)
    if found is None:
        return {"eer": None, "eer_threshold": None, "eer_ci95": None}
    s, (weight, event) = pairs.sweep, _weight(pairs.sweep, found.threshold)

    def variance() -> float:
        fmr, fnmr = error_rates(s, found.threshold)
        rejected = (1 - weight) ** 2 * share_variance(fnmr, len(s.genuine))
        return rejected + weight**2 * share_variance(fmr, len(s.impostor))

    ends = error_interval(found.rate, spread_by(influence, pairs, sharing, variance), event)
    return {"eer": found.rate, "eer_threshold": found.threshold, "eer_ci95": ends}


def influence(pairs: SortedPairs) -> Influence:
    """Of the equal error rate: FMR and FNMR errors, weighted by how fast the other one moves.

    Where FMR = FNMR at t, with densities f (impostor) and g (genuine) at t, the error of the rate
    is (g dFMR + f dFNMR) / (f + g). The densities are taken from the scores nearest to t.
    """
    found = eer(pairs.sweep)
    if found is None:
        return Influence.none(pairs)
    genuine, impostor = pairs.pairs.genuine, pairs.pairs.impostor
    weight, event = _weight(pairs.sweep, found.threshold)
    false_accepts, false_rejects = impostor > found.threshold, genuine <= found.threshold
    return Influence(
        (1 - weight) * (false_rejects - false_rejects.mean()) / len(genuine),
        weight * (false_accepts - false_accepts.mean()) / len(impostor),
        event,
    )


def _weight(s: Sweep, threshold: float) -> tuple[float, float]:
    """How much FMR's error weighs, FNMR's the rest, and what one error more adds to the rate."""
    f, g = _near(s, threshold)
    weight = g / (f + g)
    return weight, math.hypot(weight / len(s.impostor), (1 - weight) / len(s.genuine))


def _near(s: Sweep, threshold: float) -> tuple[float, float]:
    """Which share of the impostor and of the genuine scores is among those nearest to a threshold,
    the square root of them all, 20 at the least.
    """
    pairs = len(s.genuine) + len(s.impostor)
    wanted = min(pairs, max(20, math.isqrt(pairs)))
    distances = []
    for scores in (s.impostor, s.genuine):
        at = int(np.searchsorted(scores, threshold))
        distances.append(np.abs(scores[max(0, at - wanted) : at + wanted] - threshold))
    reach = np.partition(np.concatenate(distances), wanted - 1)[wanted - 1]
    impostors, genuines = (int(np.count_nonzero(each <= reach)) for each in distances)
    return impostors / len(s.impostor), genuines / len(s.genuine)


def _line(stored: Stored) -> str:
    rate = f"{percent(stored['eer'])}{interval_after(stored.get('eer_ci95'))}"
    return f"{rate} at {cosine(stored['eer_threshold'])}"


FIGURES = (
    Figure(
        name="eer",
        label="EER",
        title="EER",
        words="equal error rate, % (lower is better)",
        explanation="The error rate in % where as large a share of impostors is accepted as of "
        "genuine pairs rejected. Lower is better.",
        shape={"eer": SHARE, "eer_threshold": NUMBER, "eer_ci95": INTERVAL},
        at=("eer",),
        ci95_at=("eer_ci95",),
        of=_fields,
        value=_value,
        influence=influence,
        higher_is_better=False,
        line=_line,
        note=lambda stored: f"at cosine {cosine(stored['eer_threshold'])}",
        lacks=lambda genuine, impostors: (
            lacks_a_class(genuine, impostors)
            or "so many genuine pairs missed that rates never meet"
        ),
        in_every_result=True,
    ),
)
