"""Which of the negatives that violate a pair it gets: at random, semi-hard, hardest, by distance.

Each way first tries a few random numbers on all pairs at once; only for pairs that are still
without a negative then is a list made of all that violate them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.triplets.nearest import Floats, Rows

# Negatives tried for a pair before a list of all that violate is made. The number after them
# picks from that list.
_TRIES = 12
NUMBERS_A_PAIR = _TRIES + 1

# Cosines of two sums of float32 products can differ by this much from their threshold's rounding;
# what lies within it is looked at exactly.
_ROUNDING = 1e-5

# Wu et al. 2017: nearer negatives weigh no more than one at this distance, farther ones no less
# than one at the other.
_NEAREST, _FARTHEST = 0.5, 1.4

# The share of columns whose own weights are taken; the others are tried against the least of these.
_WEIGHED = 0.04

# Columns of a row from which that share is guessed, and cosines that one thread looks at at once.
_SAMPLE = 256
_COSINES_AT_ONCE = 2**21

Numbers = NDArray[np.float64]


class Source(NamedTuple):
    """Where the negatives of some pairs come from.

    ``cosines`` (anchors, columns) is -inf where a column is no negative; ``columns`` says which row
    each place is, if not itself. ``places`` and ``likeness`` are (pairs,): the pair's row of
    ``cosines``, which rise by 0 or 1, and the cosine of its positive.
    """

    cosines: Floats
    columns: Rows | None
    places: Rows
    likeness: Floats

    def rows(self, drawn: Rows) -> Rows:
        """The rows that the column drawn for each pair stands for; -1 for -1."""
        if self.columns is None:
            return drawn
        return np.where(drawn >= 0, self.columns[self.places, drawn], -1)


@dataclass(frozen=True)
class Choice:
    """How a negative is picked.

    ``tried(source, choice, alpha, numbers, pool)``: a column for each pair, -1 where the numbers
    hit none; ``shortlist(row, lowest)``: the columns of a row worth a look, all violating ones
    having a cosine above ``lowest``; ``pick(cosines, number)``: which of the violating ones on it,
    for a number in [0, 1); ``below``: only negatives less alike than the positive.
    """

    tried: Callable[[Source, Choice, float, Numbers, ThreadPoolExecutor], Rows]
    shortlist: Callable[[Floats, float], Rows] = lambda row, lowest: np.flatnonzero(
        row > np.float32(lowest)
    )
    pick: Callable[[Floats, float], int] = lambda values, number: int(number * len(values))
    below: bool = False

    def fits(self, likeness: Any, cosines: Floats, alpha: float) -> NDArray[np.bool_]:
        """Whether negatives with these cosines can be drawn for positives of this likeness."""
        valid = violates(likeness, cosines, alpha)
        return valid & (cosines < likeness) if self.below else valid


def violates(likeness: Any, cosines: Floats, alpha: float) -> NDArray[np.bool_]:
    """The margin as the founding system rounds it: a difference of float32, then one comparison."""
    violated: NDArray[np.bool_] = likeness - cosines < np.float32(alpha)
    return violated


def drawn_columns(
    source: Source, choice: Choice, alpha: float, numbers: Numbers, pool: ThreadPoolExecutor
) -> Rows:
    """A column of the source for each pair, -1 where none fits.

    ``numbers`` (pairs, `NUMBERS_A_PAIR`) in [0, 1) decide, and nothing else does.
    """
    drawn = choice.tried(source, choice, alpha, numbers, pool)
    left = np.flatnonzero(drawn < 0)

    def list_them(part: Rows) -> None:
        starts = np.flatnonzero(np.diff(source.places[part], prepend=-1))
        for begin, end in zip(starts, [*starts[1:], len(part)], strict=True):
            own = part[begin:end]
            row = source.cosines[source.places[own[0]]]
            lowest = float(source.likeness[own].min()) - alpha - _ROUNDING
            columns = choice.shortlist(row, lowest)
            values = row[columns]
            for pair in own:
                fitting = np.flatnonzero(choice.fits(source.likeness[pair], values, alpha))
                if len(fitting):
                    picked = choice.pick(values[fitting], numbers[pair, _TRIES])
                    drawn[pair] = columns[fitting[picked]]

    parts = [part for part in np.array_split(left, os.cpu_count() or 1) if len(part)]
    for done in [pool.submit(list_them, part) for part in parts]:
        done.result()
    return drawn


def _tried_alike(
    source: Source, choice: Choice, alpha: float, numbers: Numbers, _: ThreadPoolExecutor
) -> Rows:
    """Rejection: the first of some random columns that fits."""
    drawn = np.full(len(source.places), -1, np.intp)
    open_ = np.arange(len(drawn))
    for number in range(_TRIES):
        columns = (numbers[open_, number] * source.cosines.shape[1]).astype(np.intp)
        values = source.cosines[source.places[open_], columns]
        fits = choice.fits(source.likeness[open_], values, alpha)
        drawn[open_[fits]] = columns[fits]
        open_ = open_[~fits]
    return drawn


def _distance_weighted(size: int) -> Choice:
    """The choice for embeddings of ``size`` features, 2 or more: a weight then rises with its
    cosine.
    """
    low, high = np.float32(1 - _FARTHEST**2 / 2), np.float32(1 - _NEAREST**2 / 2)

    def log_weights(cosines: Floats) -> Floats:
        """Of 1 / (d^(size - 2) (1 - d^2 / 4)^((size - 3) / 2)), but for a constant: with
        d^2 = 2 - 2 cosine that is 1 / ((1 - cosine^2)^((size - 3) / 2) (1 - cosine)^(1 / 2)).
        """
        inside = np.clip(cosines, low, high)
        away = 1 - inside
        logs: Floats = np.float32((3 - size) / 2) * np.log(away * (1 + inside)) - np.log(away) / 2
        return logs

    def tried(
        source: Source, _: Choice, alpha: float, numbers: Numbers, pool: ThreadPoolExecutor
    ) -> Rows:
        height = max(1, _COSINES_AT_ONCE // source.cosines.shape[1])
        first, last = source.places[0], source.places[-1]
        ends = np.searchsorted(source.places, np.arange(first, last + height + 1, height))
        spans = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends) if a < b]
        parts = [
            pool.submit(_tried_by_weight, source, span, log_weights, alpha, numbers[span])
            for span in spans
        ]
        return np.concatenate([part.result() for part in parts])

    def pick(values: Floats, number: float) -> int:
        own = log_weights(values)
        weights = np.cumsum(np.exp(own - own.max()), dtype=np.float64)
        place = int(np.searchsorted(weights, number * weights[-1], side="right"))
        return min(place, len(values) - 1)

    return Choice(tried, pick=pick)


class _Envelope(NamedTuple):
    """Weights that are nowhere less than those looked for, for each row of a block of cosines.

    A column with a cosine above ``cut`` has its own weight: those of a row stand at ``first`` to
    ``stop`` of ``columns``, and ``ends`` is the sum of all before each; a row's add up to ``tops``.
    All others have the ``flat`` weight of the cut, 0 where nothing below it violates.
    """

    cut: Floats
    columns: Rows
    first: Rows
    stop: Rows
    ends: Numbers
    tops: Numbers
    flat: Numbers


def _tried_by_weight(
    source: Source,
    span: slice,
    log_weights: Callable[[Floats], Floats],
    alpha: float,
    numbers: Numbers,
) -> Rows:
    """Rejection from an envelope: a column drawn by it stays with the share of its own weight,
    if it violates. Exact whatever the cut is; the cut only decides how often a try hits.
    """
    places, likeness = source.places[span], source.likeness[span]
    block = source.cosines[places[0] : places[-1] + 1]
    rows = places - places[0]
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lowest = np.minimum.reduceat(likeness, starts) - np.float32(alpha + _ROUNDING)
    envelope = _envelope(block, lowest, log_weights)
    totals = envelope.tops + envelope.flat * block.shape[1]
    drawn = np.full(len(rows), -1, np.intp)
    open_ = np.flatnonzero(totals[rows] > 0)
    for number in range(_TRIES):
        row = rows[open_]
        at = numbers[open_, number] * totals[row]
        below = at - envelope.tops[row]
        in_top = below < 0
        before = envelope.ends[envelope.first[row]]
        entry = np.searchsorted(envelope.ends, before + at, side="right") - 1
        entry = np.clip(entry, envelope.first[row], np.maximum(envelope.stop[row] - 1, 0))
        # Where a number falls on the flat part says which column, and how far into its weight.
        place = np.where(in_top, 0.0, below) / np.where(in_top, 1.0, envelope.flat[row])
        column = np.minimum(place.astype(np.intp), block.shape[1] - 1)
        column = np.where(in_top, envelope.columns[entry], column)
        values = block[row, column]
        cut = envelope.cut[row]
        share = np.exp(log_weights(values) - log_weights(cut))
        fits = in_top | ((values <= cut) & (place % 1 < share))
        fits &= violates(likeness[open_], values, alpha)
        drawn[open_[fits]] = column[fits]
        open_ = open_[~fits]
    return drawn


def _envelope(block: Floats, lowest: Floats, log_weights: Callable[[Floats], Floats]) -> _Envelope:
    """The envelope of rows in which every violating column has a cosine above ``lowest``."""
    width = block.shape[1]
    sample = block[:, :: max(1, width // _SAMPLE)]
    nth = sample.shape[1] - max(1, round(_WEIGHED * sample.shape[1]))
    cut = np.maximum(lowest, np.partition(sample, nth, axis=1)[:, nth])
    found = np.flatnonzero(block > cut[:, None])
    stop = np.searchsorted(found, np.arange(1, len(block) + 1) * width)
    first = np.append(0, stop[:-1])
    values = block.reshape(-1)[found]
    # Each row's largest weight counts as 1: of 512 features some would overflow.
    peak = cut.copy()
    full = first < stop
    if len(values):
        peak[full] = np.maximum.reduceat(values, first[full])
    counts = stop - first
    logs = log_weights(values) - np.repeat(log_weights(peak), counts)
    ends = np.append(0.0, np.cumsum(np.exp(logs), dtype=np.float64))
    flat = np.exp(log_weights(cut) - log_weights(peak)).astype(np.float64)
    columns = found - np.repeat(np.arange(len(block)) * width, counts)
    return _Envelope(
        cut=cut,
        columns=np.append(columns, 0),
        first=first,
        stop=stop,
        ends=ends,
        tops=ends[stop] - ends[first],
        flat=np.where(cut > lowest, flat, 0.0),
    )


# How a negative is chosen, by name: the embedding's size -> choice.
CHOICES: Mapping[str, Callable[[int], Choice]] = MappingProxyType(
    {
        "random": lambda _: Choice(_tried_alike),
        "semi_hard": lambda _: Choice(_tried_alike, below=True),
        "hardest": lambda _: Choice(
            lambda source, *_: np.full(len(source.places), -1, np.intp),
            lambda row, _: np.array([row.argmax()]),
            lambda *_: 0,
        ),
        "distance_weighted": _distance_weighted,
    }
)
