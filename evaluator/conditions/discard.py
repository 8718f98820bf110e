"""Error versus discard: what is left of FNMR where the images of lowest quality are refused.

The threshold is fixed once, from all pairs, and never again: recomputed from what is kept, it would
let a quality look good that merely throws hard impostors away (Schlett and others 2023, arXiv
2303.13294).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.conditions.pairs import PairSet
from evaluator.errors import InputError
from evaluator.metrics.rates import Rates

#: Shares that are discarded where nobody says: from none to 95 %, by 5 %.
SHARES = tuple(round(0.05 * i, 2) for i in range(20))


@dataclass(frozen=True)
class Step:
    """What is left with a ``share`` discarded: ``images`` (None where they are not known), and the
    ``rates`` of the pairs kept, whose numbers are in them.
    """

    share: float
    images: int | None
    rates: Rates


@dataclass(frozen=True)
class DiscardCurve:
    """FNMR by the share discarded at one threshold, ``by`` "pair" or "image".

    ``area`` is under FNMR over all steps, ``partial_area`` from 0 to ``limit``, by trapezoids, in
    units of FNMR times share: divided by the limit it is the mean FNMR up to there. None where a
    step on the way has no genuine pair left.
    """

    by: str
    threshold: float
    steps: tuple[Step, ...]
    area: float | None
    limit: float
    partial_area: float | None

    @property
    def mean(self) -> float | None:
        """The mean FNMR up to the limit, to set beside the one at the start."""
        return None if self.partial_area is None else self.partial_area / self.limit


def discard_curve(
    pairs: PairSet,
    quality: FloatArray,
    threshold: float,
    *,
    by: str = "pair",
    shares: Sequence[float] = SHARES,
    limit: float = 0.2,
) -> DiscardCurve:
    """The curve of these pairs; ``quality`` (2 x pairs,) is of the image in each slot, finite,
    higher is better.

    By ``pair``, the floor(share x pairs) go whose lower quality is lowest; by ``image``, so many of
    the images, with every pair that has one of them. Of equal quality the first go first, in the
    order of the pairs or of where images first occur. Raises InputError for other shapes, shares
    outside [0, 1) or not ascending from 0, a limit that they do not reach.
    """
    _check(pairs, quality, shares, limit)
    order = _by_image(pairs, quality) if by == "image" else _by_pair(quality)
    steps = []
    for share in shares:
        kept = order.kept(share)
        images = None if pairs.images is None else len(np.unique(pairs.images[np.repeat(kept, 2)]))
        steps.append(Step(share, images, pairs.only(kept).rates_at(threshold)))
    rates = [each.rates.frr for each in steps]
    return DiscardCurve(
        by, threshold, tuple(steps), _area(shares, rates), limit, _area(shares, rates, limit)
    )


@dataclass(frozen=True, eq=False)
class _Order:
    """The order in which units go, and the unit of either side of each pair."""

    place: IntArray
    sides: tuple[IntArray, IntArray]

    def kept(self, share: float) -> BoolArray:
        """Which pairs stay with that share of the units gone."""
        gone = int(np.floor(share * len(self.place) + 1e-9))
        left, right = (self.place[side] >= gone for side in self.sides)
        return left & right


def _by_pair(quality: FloatArray) -> _Order:
    lower = np.minimum(quality[0::2], quality[1::2])
    every = np.arange(len(lower))
    return _Order(_places(lower), (every, every))


def _by_image(pairs: PairSet, quality: FloatArray) -> _Order:
    images = np.arange(len(quality)) if pairs.images is None else pairs.images
    _, first, number = np.unique(images, return_index=True, return_inverse=True)
    if not np.array_equal(quality[first][number], quality):
        raise InputError("equal images have different qualities")
    # In the order of their first slots, which decides among equal ones.
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    slots = rank[number]
    return _Order(_places(quality[np.sort(first)]), (slots[0::2], slots[1::2]))


def _places(quality: FloatArray) -> IntArray:
    """The place of each in the order of going."""
    place = np.empty(len(quality), np.int64)
    place[np.argsort(quality, kind="stable")] = np.arange(len(quality))
    return place


def _area(
    shares: Sequence[float], rates: Sequence[float | None], limit: float | None = None
) -> float | None:
    """The area by trapezoids, up to a limit that may lie between two shares."""
    x, values = np.array(shares), [np.nan if each is None else each for each in rates]
    if limit is not None:
        inside = x < limit - 1e-12
        values = [*np.array(values)[inside], float(np.interp(limit, x, values))]
        x = np.append(x[inside], limit)
    y = np.array(values)
    area = float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
    return None if np.isnan(area) else area


def _check(pairs: PairSet, quality: FloatArray, shares: Sequence[float], limit: float) -> None:
    if quality.shape != (2 * len(pairs.scores),) or not np.isfinite(quality).all():
        raise InputError("quality must be one finite number a slot, two a pair")
    if len(shares) < 2 or shares[0] != 0 or not 0 <= shares[-1] < 1:
        raise InputError("shares must begin with 0 and stay below 1")
    if any(b <= a for a, b in itertools.pairwise(shares)):
        raise InputError("shares must ascend")
    if not 0 < limit <= shares[-1] + 1e-12:
        raise InputError(
            f"limit must lie above 0, up to {shares[-1]:g}, the last share; got {limit:g}"
        )
