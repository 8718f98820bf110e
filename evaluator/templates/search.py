"""Every probe searched among all templates of a gallery, exactly.

Products of blocks, in float32, say which templates can matter; the cosines of these are computed
again in float64, pair by pair. So results do not depend on the size of blocks, on the order of a
gallery or on who multiplies. An index that looks at a part of the gallery only has no place here:
it misses the most alike strangers, so that a model looks safer than it is.

Beside the vectors, which may be a memory map, stand the probes' once more as float32 and blocks of
160 MB at most for vectors of 512 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.measure.embed import cosines
from evaluator.templates.pair_scores import Vectors
from evaluator.templates.searches import Searches
from evaluator.templates.template_set import NOBODY, Gallery

Rows = NDArray[np.intp]

# Templates of a gallery, and probes, whose products are a block.
_GALLERY_ROWS = 8192
_PROBE_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Found:
    """What a pass over a gallery found for each probe (p,), its mates left out.

    ``count`` is how many templates have a cosine of at least the probe's level; ``best`` numbers
    the template with the highest cosine, ``score``; -1 and -inf where there is none.
    """

    count: IntArray
    best: IntArray
    score: FloatArray


def search(
    vectors: Vectors, person: IntArray, gallery: Gallery, probes: Rows, *, jobs: int = 1
) -> Searches:
    """Every probe searched in a gallery, from the unit vectors (t, d) of all templates; by several
    processes, each with a part of the probes, where ``jobs`` says so and joblib is configured.

    ``person`` (t,) numbers who each shows; NOBODY has no mates. A template without a vector (NaN)
    is found by no probe and finds nobody: its cosines count as -inf. Of equal rivals the template
    with the lowest number counts.
    """
    if jobs > 1 and len(probes) > _PROBE_ROWS:
        import joblib

        parts = np.array_split(probes, min(jobs, -(-len(probes) // _PROBE_ROWS)))
        calls = [joblib.delayed(search)(vectors, person, gallery, part) for part in parts]
        return _joined(joblib.Parallel(len(parts))(calls))
    mates = mates_in(person[probes], person[gallery.templates])
    score = np.full(len(probes), -np.inf)
    own = cosines(vectors, probes[mates[0]], gallery.templates[mates[1]])
    np.maximum.at(score, mates[0], np.where(np.isnan(own), -np.inf, own))
    counts = np.bincount(mates[0], minlength=len(probes))
    mated = counts > 0
    level = np.where(mated & (score > -np.inf), score, np.inf)
    found = scan(vectors, gallery, probes, level=level, mates=mates)
    # Where the mate has no cosine, every stranger's is at least its own.
    others = len(gallery.templates) - counts
    above = np.where(score > -np.inf, found.count, others)
    return Searches(
        gallery=gallery.name,
        size=len(gallery.templates),
        mated=mated,
        score=np.where(mated, score, found.score),
        rank=np.where(mated, 1 + above, 0),
        rival=found.best,
        rival_score=found.score,
    )


def _joined(parts: Sequence[Searches]) -> Searches:
    """The searches of all probes from those of parts of them, in order."""
    first = parts[0]
    arrays: dict[str, Any] = {
        each.name: np.concatenate([getattr(part, each.name) for part in parts])
        for each in fields(first)
        if isinstance(getattr(first, each.name), np.ndarray)
    }
    return replace(first, **arrays)


def mates_in(probe: IntArray, held: IntArray) -> tuple[Rows, Rows]:
    """Which probes and which templates of a gallery show one person: two arrays of places."""
    order = np.argsort(held, kind="stable")
    first = np.searchsorted(held, probe, side="left", sorter=order)
    count = np.searchsorted(held, probe, side="right", sorter=order) - first
    count[probe == NOBODY] = 0
    row = np.repeat(np.arange(len(probe)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, order[np.repeat(first, count) + within]


def scan(
    vectors: Vectors,
    gallery: Gallery,
    probes: Rows,
    *,
    level: FloatArray,
    mates: tuple[Rows, Rows],
) -> Found:
    """One pass over a gallery: what is at least as alike as each probe's ``level``, and the most
    alike. ``mates`` are places of probes and in the gallery that are left out.
    """
    size = vectors.shape[1]
    # Of a product of two unit vectors in float32, in any order (Higham 2002, section 3.1), and of
    # the rounding of the vectors and of what it is compared with.
    error = (size + 8) * 2.0**-24
    found = Found(
        np.zeros(len(probes), np.int64),
        np.full(len(probes), -1, np.int64),
        np.full(len(probes), -np.inf),
    )
    searched, blind = _as_float32(vectors[probes])
    by_column = np.argsort(mates[1], kind="stable")
    row, column = mates[0][by_column], mates[1][by_column]
    for start in range(0, len(gallery.templates), _GALLERY_ROWS):
        block = gallery.templates[start : start + _GALLERY_ROWS]
        columns, lost = _as_float32(vectors[block])
        here = slice(*np.searchsorted(column, [start, start + len(block)]))
        own, places = row[here], column[here] - start
        for first in range(0, len(probes), _PROBE_ROWS):
            part = slice(first, first + _PROBE_ROWS)
            products = searched[part] @ columns.T
            products[blind[part]] = -np.inf
            products[:, lost] = -np.inf
            inside = (own >= first) & (own < first + _PROBE_ROWS)
            products[own[inside] - first, places[inside]] = -np.inf
            _Block(vectors, probes[part], block, products, error).take(found, level[part], first)
    return found


def _as_float32(rows: Vectors) -> tuple[NDArray[np.float32], BoolArray]:
    """Vectors as float32, and which are none: these are zero there."""
    found = rows.astype(np.float32)
    lost = np.isnan(found[:, 0])
    found[lost] = 0
    return found, lost


@dataclass(frozen=True, eq=False)
class _Block:
    """Products (probes, templates) of a block, wrong by ``error`` at most; -inf is no cosine."""

    vectors: Vectors
    probes: Rows
    templates: Rows
    products: NDArray[np.float32]
    error: float

    def take(self, found: Found, level: FloatArray, first: int) -> None:
        """Adds what the block has to what was found for the probes from ``first`` on."""
        highest = self.products.max(axis=1)
        counted = np.flatnonzero(highest >= level - self.error)
        if len(counted):
            found.count[first + counted] += self._at_least(counted, level[counted])
        best = found.score[first : first + len(highest)]
        risen = np.flatnonzero((highest >= best - self.error) & (highest > -np.inf))
        if len(risen):
            floor = np.maximum(highest[risen] - 2 * self.error, best[risen] - self.error)
            row, column, exact = self._exact(
                risen, self.products[risen], floor, np.full(len(risen), np.inf)
            )
            template = self.templates[column]
            order = np.lexsort((-template, exact, row))
            last = order[np.append(np.diff(row[order]) > 0, True)]
            at, score, number = first + risen[row[last]], exact[last], template[last]
            better = (score > found.score[at]) | (
                (score == found.score[at]) & (number < found.best[at])
            )
            found.score[at[better]], found.best[at[better]] = score[better], number[better]

    def _at_least(self, rows: Rows, level: FloatArray) -> IntArray:
        """How many cosines of some rows are at least their levels."""
        sure = _not_above(level + self.error)[:, None]
        picked = self.products[rows]
        count: IntArray = np.count_nonzero(picked > sure, axis=1)
        row, _, exact = self._exact(rows, picked, level - self.error, level + self.error)
        return count + np.bincount(row[exact >= level[row]], minlength=len(rows))

    def _exact(
        self, rows: Rows, picked: NDArray[np.float32], low: FloatArray, high: FloatArray
    ) -> tuple[Rows, Rows, FloatArray]:
        """Where products from ``low`` to ``high`` stand in those ``picked``, of ``rows``, and the
        cosines there.
        """
        within = picked >= -_not_above(-low)[:, None]
        within &= picked <= _not_above(high)[:, None]
        row, column = np.nonzero(within)
        exact = cosines(self.vectors, self.probes[rows[row]], self.templates[column])
        return row, column, exact


def _not_above(values: FloatArray) -> NDArray[np.float32]:
    """The float32 next below each value, or the value itself."""
    found = values.astype(np.float32)
    return np.where(found > values, np.nextafter(found, np.float32(-np.inf)), found)
