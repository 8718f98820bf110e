"""What a threshold does in smaller galleries: the more are enrolled, the more strangers are found.

Means over all galleries of n templates drawn from one of N, by the hypergeometric distribution
instead of by drawing. A gallery of N templates says nothing of larger ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.array_types import FloatArray, IntArray
from evaluator.errors import InputError
from evaluator.templates.identification import GalleryFigures
from evaluator.templates.pair_scores import Vectors
from evaluator.templates.search import mates_in, scan, search
from evaluator.templates.template_set import Gallery


@dataclass(frozen=True)
class RatesOfSize:
    """FPIR and TPIR in galleries of ``size`` templates; None without probes of the kind."""

    size: int
    fpir: float | None
    tpir: float | None


@dataclass(frozen=True)
class GallerySizes:
    """What the threshold of an FPIR of the whole gallery does in smaller ones; it comes last."""

    name: str
    threshold: float
    sizes: tuple[RatesOfSize, ...]


def gallery_sizes(
    vectors: Vectors,
    person: IntArray,
    gallery: Gallery,
    probes: NDArray[np.intp],
    found: GalleryFigures,
) -> GallerySizes | None:
    """At the threshold of the lowest FPIR that the gallery's figures state, for sizes 1, 2, 5, 10
    and so on. None where they state none. Arguments as of `rates_by_size`.
    """
    stated = [each for each in found.tpir_at_fpir.values() if each is not None]
    if not stated or stated[-1].threshold is None:
        return None
    count, threshold = len(gallery.templates), stated[-1].threshold
    steps = (first * 10**power for power in range(len(str(count))) for first in (1, 2, 5))
    sizes = [*(each for each in steps if each < count), count]
    rates = rates_by_size(vectors, person, gallery, probes, threshold=threshold, sizes=sizes)
    return GallerySizes(gallery.name, threshold, tuple(rates))


def rates_by_size(
    vectors: Vectors,
    person: IntArray,
    gallery: Gallery,
    probes: NDArray[np.intp],
    *,
    threshold: float,
    sizes: Sequence[int],
) -> list[RatesOfSize]:
    """FPIR and TPIR at one threshold for galleries of each of ``sizes`` drawn from ``gallery``.

    Vectors and people are those of `search`. A probe without mates is searched among n templates,
    one with mates among the best of these and n - 1 of other people. Raises InputError for a size
    below 1 or above the gallery's.
    """
    count = len(gallery.templates)
    wrong = [size for size in sizes if not 1 <= size <= count]
    if wrong:
        raise InputError(
            f"sizes: expected 1 to {count:,}, the templates of the gallery; got {wrong[0]:,}"
        )
    found = search(vectors, person, gallery, probes)
    level = np.full(len(probes), np.nextafter(threshold, np.inf))
    mates = mates_in(person[probes], person[gallery.templates])
    above = scan(vectors, gallery, probes, level=level, mates=mates).count
    accepted = found.score[found.mated] > threshold
    ahead = found.rank[found.mated] - 1
    strangers = count - np.bincount(mates[0], minlength=len(probes))[found.mated]
    rates = []
    for size in sizes:
        missed = _none_drawn(above[~found.mated], np.full((~found.mated).sum(), count), size)
        first = accepted * _none_drawn(ahead, strangers, size - 1)
        rates.append(
            RatesOfSize(
                size,
                float(1 - missed.mean()) if len(missed) else None,
                float(first.mean()) if len(first) else None,
            )
        )
    return rates


def _none_drawn(marked: IntArray, of: IntArray, drawn: int) -> FloatArray:
    """The chance that none of the ``marked`` ones is among ``drawn`` drawn ``of`` so many."""
    from scipy.special import gammaln

    drawn_here = np.minimum(drawn, of)
    left = of - marked - drawn_here
    logs = gammaln(of - marked + 1) + gammaln(of - drawn_here + 1) - gammaln(of + 1)
    chance: FloatArray = np.exp(logs - gammaln(np.maximum(left, 0) + 1))
    return np.where(left < 0, 0.0, np.minimum(chance, 1.0))
