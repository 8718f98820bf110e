"""min Cllr: the information that scores leave out, in bits, once they are calibrated as best."""

from __future__ import annotations

import numpy as np

from evaluator.array_types import FloatArray, IntArray
from evaluator.metrics.figure import SHARE, Figure, Influence, lacks_a_class
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sweep import Sweep
from evaluator.metrics.text import cosine


def min_cllr(s: Sweep) -> float | None:
    """The least cost of log-likelihood ratios that rise with the scores, in bits, in [0, 1].

    Cllr is half the mean of log2(1 + 1/LR) over genuine and half that of log2(1 + LR) over impostor
    pairs; 0 knows everything, 1 nothing. The ratios are those of these very pairs by isotonic
    regression (pool adjacent violators), so it is a little too good. None if a class is missing,
    and where pairs were missed, which have no score to calibrate.
    Source: Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection".
    """
    if s.one_sided or s.has_missed:
        return None
    x, y = _hull(s)
    impostors, genuines = np.diff(x) / len(s.impostor), np.diff(y) / len(s.genuine)
    of_genuine, of_impostor = _costs(genuines, impostors)
    return min(1.0, float(genuines @ of_genuine + impostors @ of_impostor))


def _costs(genuines: FloatArray, impostors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What a genuine and an impostor pair cost in blocks with these shares of either class: half
    the bits of a ratio of the shares. 0 for a pair that a block has none of.
    """
    both = genuines + impostors
    of_genuine, of_impostor = (
        np.log2(np.divide(both, share, out=np.ones_like(both), where=share > 0)) / 2
        for share in (genuines, impostors)
    )
    return of_genuine, of_impostor


def _hull(s: Sweep) -> tuple[IntArray, IntArray]:
    """Impostors (n,) and genuine pairs (n,) below each bound of a block, from none to all of them.

    The blocks of isotonic regression are the edges of the convex hull of the ROC curve (Fawcett
    and Niculescu-Mizil 2007). Both counts of a point are whole numbers, so no block rests on how a
    slope rounds.
    """
    below = s.impostors_below
    # Of the cuts with as many impostors below, the first has the fewest genuine pairs below.
    first = np.flatnonzero(np.concatenate(([True], below[1:] != below[:-1])))
    first = first[1:] if below[0] == 0 else first
    x = np.concatenate(([0], below[first], [len(s.impostor)]))
    y = np.concatenate(([0], first, [len(s.genuine)]))
    # A point on or above the line between its neighbours is on no hull, so a round can drop all of
    # these at once; where rounds drop few, a walk along the points that are left drops the rest.
    while True:
        points = len(x)
        across, up = np.diff(x), np.diff(y)
        kept = np.concatenate(([True], up[:-1] * across[1:] < up[1:] * across[:-1], [True]))
        x, y = x[kept], y[kept]
        if len(x) > 0.9 * points:
            return _walk(x, y)


def _walk(x: IntArray, y: IntArray) -> tuple[IntArray, IntArray]:
    """The lower convex hull of points that rise, by Andrew's monotone chain."""
    hull: list[tuple[int, int]] = []
    for at, up in zip(x.tolist(), y.tolist(), strict=True):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (at - x1) < (up - y1) * (x1 - x0):
                break
            hull.pop()
        hull.append((at, up))
    found = np.array(hull, dtype=np.int64)
    return found[:, 0], found[:, 1]


def influence(pairs: SortedPairs) -> Influence:
    """Of what each pair costs, beside the mean of its class.

    To first order the fitted ratios move no cost, since they stand at a minimum: right for the
    difference of two models, while the minimum alone is too low by about a standard error.
    """
    ordered = pairs.sweep
    if ordered.one_sided or ordered.has_missed:
        return Influence.none(pairs)
    x, y = _hull(ordered)
    genuines, impostors = len(ordered.genuine), len(ordered.impostor)
    of_genuine, of_impostor = _costs(np.diff(y) / genuines, np.diff(x) / impostors)
    starts = ordered.genuine[y[1:-1]]
    own, others = (
        costs[np.searchsorted(starts, scores, side="right")]
        for costs, scores in (
            (of_genuine, pairs.pairs.genuine),
            (of_impostor, pairs.pairs.impostor),
        )
    )
    return Influence((own - own.mean()) / genuines, (others - others.mean()) / impostors)


FIGURES = (
    Figure(
        name="min-cllr",
        label="min Cllr",
        title="min Cllr",
        words="Cllr of the best calibration, bits",
        shape={"min_cllr": SHARE},
        no_interval="fitted to these very pairs, too low",
        at=("min_cllr",),
        of=lambda pairs, _sharing: {"min_cllr": min_cllr(pairs.sweep)},
        value=lambda pairs: min_cllr(pairs.sweep),
        influence=influence,
        higher_is_better=False,
        digits=cosine,
        lacks=lambda genuine, impostors: (
            lacks_a_class(genuine, impostors) or "missed pairs, which have no score"
        ),
    ),
)
