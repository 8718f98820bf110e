"""TAR at a FAR: genuine pairs accepted where no more than that share of the impostors is."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from evaluator.metrics.figure import (
    INTERVAL,
    NUMBER,
    SHARE,
    BoolArray,
    Each,
    Figure,
    FloatArray,
    Influence,
    Stored,
    lacks_a_class,
)
from evaluator.metrics.intervals import wilson_interval
from evaluator.metrics.sweep import Sweep, error_rates, threshold_above
from evaluator.metrics.text import cosine, interval, percent

FARS = {"0.1": 0.1, "0.01": 0.01, "0.001": 0.001, "0.0001": 0.0001}  # key in the JSON: FAR


@dataclass(frozen=True)
class TarAtFar:
    """TAR (1 - FNMR) at the FMR reached, ``far``, with the 95 % Wilson interval of the TAR."""

    tar: float
    far: float
    threshold: float
    tar_ci95: tuple[float, float]


def tar_at_far(s: Sweep, far: float) -> TarAtFar | None:
    """TAR at the largest FMR not above ``far`` (0 < far <= 1), with the FMR achieved.

    Tied impostor scores are accepted together or not at all, so the FMR achieved can lie well
    below ``far``. The threshold is the lowest with that FMR, halfway to the next score. None if a
    class is missing or ``far`` is below 1/I: then fewer than one impostor is allowed, and the
    FAR cannot be told from 0. Raises ValueError for a far outside (0, 1].
    """
    if not 0 < far <= 1:
        raise ValueError(f"far must lie in (0, 1]; got {far}")
    if s.one_sided:
        return None
    impostors, genuines = len(s.impostor), len(s.genuine)
    # far * I rounds (0.29 * 100 < 29): what decides is the quotient that is reported.
    allowed = min(round(far * impostors), impostors)
    if allowed / impostors > far:
        allowed -= 1
    if allowed == 0:
        return None
    classes = (s.genuine, s.impostor)
    lowest = float(s.impostor[-allowed - 1]) if allowed < impostors else -math.inf
    fmr, _ = error_rates(s, lowest)
    accepted = genuines - int(np.searchsorted(s.genuine, lowest, side="right"))
    interval = wilson_interval(accepted, genuines)
    if interval is None:
        return None
    return TarAtFar(accepted / genuines, fmr, threshold_above(lowest, classes), interval)


def influence(scores: FloatArray, genuine: BoolArray, *, far: float) -> Influence:
    """Of TAR at a FAR: the errors of TAR, and those of FAR times the slope of the ROC curve there.

    The slope is taken between 1.5 standard deviations below and above the allowed false accepts.
    """
    genuines, impostors = int(genuine.sum()), int((~genuine).sum())
    if not genuines or not impostors:
        return Influence.none(len(scores))
    descending = np.sort(scores[~genuine])[::-1]
    allowed = min(impostors - 1, math.floor(far * impostors + 1e-9))
    accepted = scores > descending[allowed]
    reach = 1 + math.ceil(1.5 * math.sqrt(allowed))
    high, low = max(0, allowed - reach), min(impostors - 1, allowed + reach)
    own = scores[genuine]
    between = ((own > descending[low]) & (own <= descending[high])).mean()
    slope = between * impostors / max(1, low - high)
    true_accepts, false_accepts = accepted[genuine], accepted[~genuine]
    return Influence.of_classes(
        genuine,
        (true_accepts - true_accepts.mean()) / genuines,
        -slope * (false_accepts - false_accepts.mean()) / impostors,
        math.hypot(1 / genuines, slope / impostors),
    )


def _stored_interval(key: str, stored: Stored) -> tuple[float, float]:
    low, high = stored["tar_at_far"][key]["tar_ci95"]
    return low, high


def _line(found: Stored) -> str:
    at = f"above {cosine(found['threshold'])}, FAR {found['far']:.3g}"
    return f"{percent(found['tar'])} {interval(found['tar_ci95'])} {at}"


def _note(found: Stored) -> str:
    return f"FAR {found['far']:.2g} at cosine {cosine(found['threshold'])}"


def _lacks(far: float, genuine: int, impostors: int) -> str:
    needed = math.ceil(1 / far - 1e-9)
    few = f"{impostors:,} impostors, {needed:,} needed" if impostors < needed else ""
    return lacks_a_class(genuine, impostors) or few


def _figure(key: str, far: float) -> Figure:
    return Figure(
        name=f"tar@{far:.0e}".replace("e-0", "e-"),
        label=f"TAR at FAR {key}",
        title=f"TAR @ FAR {key}",
        words=f"TAR at FAR {far:g}, %",
        explanation="Genuine pairs accepted, in %, when at most one impostor pair in 1,000 is."
        if far == 0.001
        else "",
        shape={
            "tar_at_far": Each(
                {"tar": SHARE, "far": SHARE, "threshold": NUMBER, "tar_ci95": INTERVAL}
            )
        },
        at=("tar_at_far", key, "tar"),
        of=lambda pairs: {"tar_at_far": {key: tar_at_far(pairs.sweep, far)}},
        influence=functools.partial(influence, far=far),
        interval=lambda stored, _scores, _genuine: _stored_interval(key, stored),
        line=lambda stored: _line(stored["tar_at_far"][key]),
        note=lambda stored: _note(stored["tar_at_far"][key]),
        lacks=functools.partial(_lacks, far),
        in_every_result=True,
    )


FIGURES = tuple(_figure(key, far) for key, far in FARS.items())
