"""minDCF: the least that errors cost at any threshold where one pair in a hundred is genuine."""

from __future__ import annotations

import math

import numpy as np

from evaluator.metrics.figure import SHARE, Figure, Influence
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sweep import Sweep
from evaluator.metrics.text import cosine

# NIST's prior of a genuine pair with both errors equally dear (SRE 2012, VoxCeleb), and what a
# false accept costs beside a false reject once the cost of rejecting all pairs is 1.
TARGET_PRIOR = 0.01
_FALSE_ACCEPT = round((1 - TARGET_PRIOR) / TARGET_PRIOR, 9)

_PIECE = 1 << 14  # cuts that stay in cache


def min_dcf(s: Sweep) -> float | None:
    """The minimum over thresholds of FNMR + 99 FMR, in [0, 1]; None if a class is missing.

    That is NIST's detection cost, C_miss P FNMR + C_fa (1 - P) FMR with both costs 1 and a prior P
    of 0.01, divided by what rejecting every pair costs. Source: NIST SRE evaluation plans.
    """
    found = _best_cut(s)
    return None if found is None else found[1]


def _best_cut(s: Sweep) -> tuple[int, float] | None:
    """The highest cut that costs least, and its cost; None if a class is missing."""
    if s.one_sided:
        return None
    genuines, impostors = len(s.genuine), len(s.impostor)
    # Times both counts every cost is a whole number, exact in 64 bits up to 2^53.
    best, least = genuines, float(genuines * impostors)  # the cut that rejects all
    for start in range((genuines - 1) // _PIECE * _PIECE, -1, -_PIECE):
        below = s.impostors_below[start : start + _PIECE]
        costs = np.arange(start, start + len(below)) * float(impostors)
        costs += _FALSE_ACCEPT * genuines * (impostors - below)
        at = len(costs) - 1 - int(costs[::-1].argmin())
        if costs[at] < least:
            best, least = start + at, float(costs[at])
    return best, least / (genuines * impostors)


def influence(pairs: SortedPairs) -> Influence:
    """Of the decisions at the best threshold, each error as dear as it is.

    To first order a fitted threshold moves no cost, since it stands at a minimum: right for the
    difference of two models. A minimum alone is too low by more than that, by two standard errors
    of 3,000 impostors, since a false accept is dear and few pairs lie there.
    """
    ordered = pairs.sweep
    found = _best_cut(ordered)
    if found is None:
        return Influence.none(pairs)
    cut, genuines, impostors = found[0], len(ordered.genuine), len(ordered.impostor)
    least = float(ordered.genuine[cut]) if cut < genuines else math.inf
    false_accepts, false_rejects = pairs.pairs.impostor >= least, pairs.pairs.genuine < least
    return Influence(
        (false_rejects - false_rejects.mean()) / genuines,
        _FALSE_ACCEPT * (false_accepts - false_accepts.mean()) / impostors,
        math.hypot(1 / genuines, _FALSE_ACCEPT / impostors),
    )


FIGURES = (
    Figure(
        name="min-dcf",
        label=f"minDCF {TARGET_PRIOR:g}",
        title=f"minDCF {TARGET_PRIOR:g}",
        words=f"minimum detection cost, prior {TARGET_PRIOR:g}, 1: as good as rejecting all",
        shape={"min_dcf": SHARE},
        no_interval="fitted to these very pairs, too low",
        at=("min_dcf",),
        of=lambda pairs, _sharing: {"min_dcf": min_dcf(pairs.sweep)},
        value=lambda pairs: min_dcf(pairs.sweep),
        influence=influence,
        higher_is_better=False,
        digits=cosine,
    ),
)
