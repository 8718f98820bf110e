"""Cosines of the pairs of a 1:1 list, from the vectors of its templates.

Lists of this field compare few templates with many: where a list holds a good part of left x right,
that product is computed in blocks and the pairs are picked out of it, else the vectors of some
pairs at a time are. Beside the vectors of the templates at the right, once more as float64, and 26
bytes a pair, the scores among them, stand blocks of 150 MB at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluator.array_types import FloatArray
from evaluator.measure.embed import cosines
from evaluator.templates.template_set import TemplatePairs

Vectors = NDArray[np.float32] | FloatArray

# Cosines in a block of left x right, 64 MB.
_PRODUCTS = 1 << 23
# A cosine of picked vectors takes as long as so many of a product.
_PICKING = 32


def pair_scores(vectors: Vectors, pairs: TemplatePairs) -> FloatArray:
    """The cosine of each pair (p,) of templates whose unit vectors are ``vectors`` (t, d).

    Computed in float64; NaN where a template has no vector (a row of NaN).
    """
    lefts, left = _numbered(pairs.left, len(vectors))
    rights, right = _numbered(pairs.right, len(vectors))
    if len(left) * _PICKING < len(lefts) * len(rights):
        return cosines(vectors, pairs.left, pairs.right)
    across = vectors[rights].astype(np.float64).T
    step = max(1, _PRODUCTS // max(1, len(rights)))
    found = np.empty(len(left))
    for first, places in _by_block(left, step, len(lefts)):
        product = vectors[lefts[first : first + step]].astype(np.float64) @ across
        found[places] = product[left[places] - first, right[places]]
    return found


def _numbered(
    side: NDArray[np.int32], templates: int
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The templates on one side, ascending, and the place among them of each pair's."""
    used = np.zeros(templates, dtype=np.bool_)
    used[side] = True
    place = np.cumsum(used, dtype=np.int32) - 1
    return np.flatnonzero(used), place[side]


def _by_block(
    left: NDArray[np.int32], step: int, lefts: int
) -> list[tuple[int, slice | NDArray[np.intp]]]:
    """The first left template of each block of ``step`` of them, and the pairs that it has."""
    firsts = range(0, lefts, step)
    if np.all(left[1:] >= left[:-1]):
        ends = np.searchsorted(left, [*firsts, lefts]).tolist()
        return [(f, slice(*ends[i : i + 2])) for i, f in enumerate(firsts)]
    block = (left // step).astype(np.uint16 if len(firsts) < 1 << 16 else np.int64)
    order = np.argsort(block, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(block, minlength=len(firsts)))[:-1])
    return list(zip(firsts, parts, strict=True))
