"""EER: the error rate where as many impostors are accepted as genuine pairs are rejected."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluator.metrics.figure import NUMBER, SHARE, BoolArray, Figure, FloatArray, Influence, Stored
from evaluator.metrics.intervals import wilson_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sweep import Sweep, error_rates, predecessor, sweep, threshold_above
from evaluator.metrics.text import cosine, percent


@dataclass(frozen=True)
class EqualErrorRate:
    """The rate at which FMR and FNMR meet, and a threshold that sits there."""

    rate: float
    threshold: float


def eer(s: Sweep) -> EqualErrorRate | None:
    """The equal error rate, or None if a class is missing.

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
    fmr_before, fmr_after = error_rates(s, before)[0], error_rates(s, after)[0]
    share = gap_before / (gap_before - gap_after)
    rate = fmr_before + share * (fmr_after - fmr_before)
    nearer = after if -gap_after <= gap_before else before
    return EqualErrorRate(rate, threshold_above(nearer, classes))


def _fields(pairs: SortedPairs) -> dict[str, Any]:
    found = eer(pairs.sweep)
    if found is None:
        return {"eer": None, "eer_threshold": None}
    return {"eer": found.rate, "eer_threshold": found.threshold}


def influence(scores: FloatArray, genuine: BoolArray) -> Influence:
    """Of the equal error rate: FMR and FNMR errors, weighted by how fast the other one moves.

    Where FMR = FNMR at t, with densities f (impostor) and g (genuine) at t, the error of the rate
    is (g dFMR + f dFNMR) / (f + g). The densities are taken from the scores nearest to t.
    """
    found = eer(sweep(scores, genuine))
    if found is None:
        return Influence.none(len(scores))
    genuines, impostors = int(genuine.sum()), int((~genuine).sum())
    distance = np.abs(scores - found.threshold)
    nearest = min(len(scores), max(20, math.isqrt(len(scores))))
    near = distance <= np.partition(distance, nearest - 1)[nearest - 1]
    f, g = (near & ~genuine).sum() / impostors, (near & genuine).sum() / genuines
    weight = g / (f + g)
    accepted = scores > found.threshold
    false_accepts, false_rejects = accepted[~genuine], ~accepted[genuine]
    return Influence.of_classes(
        genuine,
        (1 - weight) * (false_rejects - false_rejects.mean()) / genuines,
        weight * (false_accepts - false_accepts.mean()) / impostors,
        math.hypot(weight / impostors, (1 - weight) / genuines),
    )


def _interval(stored: Stored, scores: FloatArray, genuine: BoolArray) -> tuple[float, float] | None:
    """Wilson's, as if of the smaller class.

    To first order the rate is a weighted mean of two proportions, one a class, so its variance is
    at most that of the smaller class: the interval is never too narrow.
    """
    del scores
    smaller = int(min(genuine.sum(), (~genuine).sum()))
    return wilson_interval(round(stored["eer"] * smaller), smaller)


FIGURES = (
    Figure(
        name="eer",
        label="EER",
        title="EER",
        words="equal error rate, % (lower is better)",
        explanation="The error rate in % where as large a share of impostors is accepted as of "
        "genuine pairs rejected. Lower is better.",
        shape={"eer": SHARE, "eer_threshold": NUMBER},
        at=("eer",),
        of=_fields,
        influence=influence,
        interval=_interval,
        higher_is_better=False,
        line=lambda stored: f"{percent(stored['eer'])} at {cosine(stored['eer_threshold'])}",
        note=lambda stored: f"at cosine {cosine(stored['eer_threshold'])}",
        in_every_result=True,
    ),
)
