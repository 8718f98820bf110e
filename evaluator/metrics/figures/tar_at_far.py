"""TAR at a FAR: genuine pairs accepted where no more than that share of the impostors is."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from evaluator.metrics.figure import (
    INTERVAL,
    NUMBER,
    SHARE,
    Each,
    Figure,
    Influence,
    Interval,
    Stored,
    lacks_a_class,
    share_variance,
    spread_by,
)
from evaluator.metrics.intervals import accuracy_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.rates import halved
from evaluator.metrics.sharing import Sharing, Spread
from evaluator.metrics.sweep import Sweep, error_rates, scored, threshold_above
from evaluator.metrics.text import cosine, interval_after, percent

# What every result carries.
FARS = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class TarAtFar:
    """TAR (1 - FNMR) at the FMR reached, ``far``; ``tar_ci95`` is the interval of the TAR that new
    pairs have at the FAR asked for.
    """

    tar: float
    far: float
    threshold: float
    tar_ci95: tuple[float, float] | None = None


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
    allowed = _allowed(far, len(s.impostor))
    if allowed == 0:
        return None
    lowest = float(s.impostor[-allowed - 1]) if allowed < len(s.impostor) else -math.inf
    fmr, _ = error_rates(s, lowest)
    return TarAtFar(_tar(s, lowest), fmr, threshold_above(lowest, (s.genuine, s.impostor)))


def _allowed(far: float, impostors: int) -> int:
    """How many false accepts a FAR allows of so many impostors."""
    # far * I rounds (0.29 * 100 < 29): what decides is the quotient that is reported.
    allowed = min(round(far * impostors), impostors)
    return allowed - 1 if allowed / impostors > far else allowed


def _tar(s: Sweep, threshold: float) -> float:
    genuines = len(s.genuine)
    return (genuines - int(np.searchsorted(s.genuine, threshold, side="right"))) / genuines


def far_bound(impostors: int) -> float | None:
    """The highest FAR that is still possible, at 95 %, where no impostor of so many is accepted;
    None without any. About 3 / impostors, the rule of three: below it no FAR can be told from 0.
    """
    return 1 - 0.05 ** (1 / impostors) if impostors else None


def influence(pairs: SortedPairs, *, far: float) -> Influence:
    """Of TAR at a FAR: the errors of TAR, and those of FAR times the slope of the ROC curve there.

    The slope is taken between 1.5 standard deviations below and above the allowed false accepts.
    """
    s = pairs.sweep
    if s.one_sided:
        return Influence.none(pairs)
    impostors = len(s.impostor)
    allowed = min(impostors - 1, math.floor(far * impostors + 1e-9))
    reach = 1 + math.ceil(1.5 * math.sqrt(allowed))
    high, low = max(0, allowed - reach), min(impostors - 1, allowed + reach)
    between = _tar(s, float(s.impostor[-low - 1])) - _tar(s, float(s.impostor[-high - 1]))
    slope = between * impostors / max(1, low - high)
    threshold = s.impostor[-allowed - 1]
    of = pairs.pairs
    true_accepts, false_accepts = (x > threshold for x in (of.genuine, of.impostor))
    rejected, accepted = -slope * (np.array([0.0, 1.0]) - false_accepts.mean()) / impostors
    return Influence(
        (true_accepts - true_accepts.mean()) / len(true_accepts),
        np.where(false_accepts, accepted, rejected),
        math.hypot(1 / len(true_accepts), slope / impostors),
    )


def interval(pairs: SortedPairs, far: float, sharing: Sharing | None) -> Interval | None:
    """95 % interval of the TAR that new pairs have at that FAR; None where ``tar_at_far`` is.

    Two things err: which threshold has this FAR, and the TAR at a threshold. The first lies between
    two impostor scores whose ranks the binomial distribution gives, as it does for quantiles
    (Conover 1999, section 3.2), here of fractions of a rank, and above the highest impostor on an
    exponential tail; the second has an interval of its own. They are put together by the distances
    of their ends in square (MOVER: Zou and Donner 2008). Images or people that pairs share leave
    fewer of either class, as the design effect of the influences says.
    """
    from scipy.special import ndtr

    s = pairs.sweep
    found = tar_at_far(s, far)
    if found is None:
        return None
    # Only what sharing multiplies is asked of it.
    own_influence = functools.partial(influence, far=far)
    spread = spread_by(own_influence, pairs, sharing, lambda: math.nan)
    count, genuines = len(s.impostor) / spread.impostor, len(s.genuine)
    tail = float(ndtr(-spread.reach()))
    allowed = _allowed(far, len(s.impostor))
    tars = [
        _tar(s, _impostor_at(s, _rank(far, count, chance) * spread.impostor, allowed))
        for chance in (tail, 1 - tail)
    ]
    # The TAR's own part, for genuine pairs alone.
    share = share_variance(found.tar, genuines) * spread.genuine
    own = Spread(share, spread.genuine, spread.impostor, spread.freedom)
    ends = accuracy_interval(found.tar, own, 1 / genuines)
    if ends is None:
        return None
    low = found.tar - math.hypot(found.tar - ends[0], max(0.0, found.tar - tars[0]))
    high = found.tar + math.hypot(ends[1] - found.tar, max(0.0, tars[1] - found.tar))
    return max(0.0, low), min(1.0, high)


def _rank(far: float, impostors: float, chance: float) -> float:
    """The rank from the top, a fraction, below which the threshold of a FAR lies with a chance: so
    many of a number of impostors, a fraction too, are above it or more.
    """
    from scipy.special import betainc

    def too_low(rank: float) -> bool:
        return bool(betainc(impostors - rank + 1, rank, 1 - far) < chance)

    highest = min(impostors, far * impostors + 14 * math.sqrt(far * impostors) + 40)
    return halved(too_low, highest, 1e-9, times=60)


def _impostor_at(s: Sweep, rank: float, allowed: int) -> float:
    """The impostor score of a rank from the top, 1 the highest, between two of them on the line;
    below rank 1 by the mean excess of the highest scores. -inf where that rank was missed.
    """
    impostors = len(scored(s.impostor))
    if rank > impostors or not impostors:
        return -math.inf if impostors < len(s.impostor) else float(s.impostor[0])
    if rank < 1:
        at = min(impostors - 1, max(allowed, 10))
        excess = float((s.impostor[-at:] - s.impostor[-at - 1]).mean()) if at else 0.0
        return float(s.impostor[-1]) - excess * math.log(rank)
    above = int(rank)
    higher, lower = float(s.impostor[-above]), float(s.impostor[-min(above + 1, impostors)])
    return higher + (rank - above) * (lower - higher)


def value(pairs: SortedPairs, *, far: float) -> float | None:
    """TAR at a FAR; None where ``tar_at_far`` is."""
    found = tar_at_far(pairs.sweep, far)
    return found.tar if found else None


def _fields(pairs: SortedPairs, sharing: Sharing | None, *, far: float, key: str) -> dict[str, Any]:
    found = tar_at_far(pairs.sweep, far)
    if found is not None:
        found = dataclasses.replace(found, tar_ci95=interval(pairs, far, sharing))
    return {"tar_at_far": {key: found}, "far_bound95": far_bound(len(pairs.sweep.impostor))}


def _line(found: Stored) -> str:
    at = f"above {cosine(found['threshold'])}, FAR {found['far']:.3g}"
    return f"{percent(found['tar'])}{interval_after(found['tar_ci95'])} {at}"


def _note(found: Stored) -> str:
    return f"FAR {found['far']:.2g} at cosine {cosine(found['threshold'])}"


def _lacks(far: float, genuine: int, impostors: int) -> str:
    needed = math.ceil(1 / far - 1e-9)
    few = (
        f"{impostors:,} impostors, {needed:,} needed; without a false accept they show a FAR below "
        f"{far_bound(impostors):.2g}"
        if 0 < impostors < needed
        else ""
    )
    return lacks_a_class(genuine, impostors) or few


def far_key(far: float) -> str:
    """The key of a FAR in JSON: written out, never as 1e-05."""
    return f"{Decimal(repr(far)):f}"


def figure_at(far: float) -> Figure:
    """TAR at any FAR in (0, 1)."""
    key = far_key(far)
    digits, exponent = f"{far:e}".split("e")
    return Figure(
        name=f"tar@{float(digits):g}e{int(exponent)}",
        label=f"TAR at FAR {key}",
        title=f"TAR @ FAR {key}",
        words=f"TAR at FAR {far:g}, %",
        explanation="Genuine pairs accepted, in %, when at most one impostor pair in 1,000 is."
        if far == 0.001
        else "",
        shape={
            "tar_at_far": Each(
                {"tar": SHARE, "far": SHARE, "threshold": NUMBER, "tar_ci95": INTERVAL}
            ),
            "far_bound95": NUMBER,
        },
        at=("tar_at_far", key, "tar"),
        ci95_at=("tar_at_far", key, "tar_ci95"),
        of=functools.partial(_fields, far=far, key=key),
        value=functools.partial(value, far=far),
        influence=functools.partial(influence, far=far),
        line=lambda stored: _line(stored["tar_at_far"][key]),
        note=lambda stored: _note(stored["tar_at_far"][key]),
        lacks=functools.partial(_lacks, far),
        in_every_result=True,
    )


FIGURES = tuple(map(figure_at, FARS))
