"""How pairs hang together by the images or people that they share, and what that does to a figure.

Two pairs that show the same image err together: every mistake on that image enters both. Treating
them as independent makes figures look more certain than they are. What is done depends on how the
pairs hang together:

``pairs``     nothing is shared, or it is not known: pairs are independent.
``clusters``  the pairs fall into many clusters that share nothing with one another (connected
              components of the graph with a node an image and an edge a pair): clusters are.
``dyads``     reuse chains most pairs into a few clusters. Two pairs are dependent exactly when they
              share an image; a t distribution pays for few images.

Weighting a pair by the product of its images' weights (the pigeonhole bootstrap, Owen 2007) is not
offered: where images are mostly used once it triples the variance of independent pairs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evaluator.array_types import BoolArray, FloatArray, IntArray

Method = Literal["pairs", "clusters", "dyads"]

# Below this many clusters of equal size, drawing clusters rejects a true null too often.
MINIMUM_CLUSTERS = 50.0
# Pairs that are looked at together where components are joined.
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Sharing:
    """Which pairs share an image (or a person).

    ``left`` and ``right`` number what each pair shows, ``cluster`` the connected component of each
    pair; all have shape (pairs,) and count from 0. The effective counts are Kish's: how many
    equally used ones would weigh the same.
    """

    unit: Literal["image", "person"]
    left: IntArray
    right: IntArray
    cluster: IntArray
    nodes: int
    clusters: int
    effective_nodes: float
    effective_clusters: float

    @property
    def method(self) -> Method:
        """The bootstrap that these pairs ask for."""
        if self.clusters == len(self.cluster):
            return "pairs"
        return "clusters" if self.effective_clusters >= MINIMUM_CLUSTERS else "dyads"

    @functools.cached_property
    def dyad(self) -> IntArray:
        """The number of the two ends of each pair (pairs,), the same either way round."""
        key = np.minimum(self.left, self.right)
        key *= self.nodes
        key += np.maximum(self.left, self.right)
        # Where many of all couples of nodes are pairs, the key is a number as good as a rank.
        few = self.nodes**2 <= 4 * len(key)
        return key if few else np.unique(key, return_inverse=True)[1].astype(np.int64)

    def sums(
        self, errors: FloatArray, pairs: slice | npt.NDArray[np.intp] = slice(None)
    ) -> tuple[FloatArray, FloatArray]:
        """Errors of some pairs summed by cluster, or by end, and by the two ends of pairs that have
        two: pairs hang together by the first, and were counted twice there by the second.
        """
        if self.method == "clusters":
            return _totals(self.cluster[pairs], errors, self.clusters), np.zeros(0)
        left, right = self.left[pairs], self.right[pairs]
        by_end = _totals(left, errors, self.nodes)
        twice = np.where(left != right, errors, 0.0)
        by_end += _totals(right, twice, self.nodes)
        return by_end, _totals(self.dyad[pairs], twice, int(self.dyad.max(initial=-1)) + 1)

    @property
    def correction(self) -> float:
        """Times by which sums over few clusters, images or people are too small on average."""
        if self.method == "clusters":
            return self.effective_clusters / (self.effective_clusters - 1)
        return self.effective_nodes / max(self.effective_nodes - 4, 1.0)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance that they give; inf where nothing is shared."""
        if self.method == "pairs":
            return math.inf
        units = self.effective_clusters if self.method == "clusters" else self.effective_nodes
        return max(1.0, units - 1)


@dataclass(frozen=True)
class Spread:
    """How much a figure moves by chance, with what its pairs share.

    ``variance`` is that of the figure. ``genuine`` and ``impostor`` are how many times sharing
    multiplies the variance of independent pairs of one class, at least 1.
    ``freedom`` are the degrees of freedom of its t distribution, inf the normal one; ``largest`` is
    what the pairs of one cluster, image or person add to the figure's error, at most.
    """

    variance: float
    genuine: float = 1.0
    impostor: float = 1.0
    freedom: float = math.inf
    largest: float = 0.0

    def reach(self, confidence: float = 0.95) -> float:
        """Standard errors on either side that hold the truth with so much confidence."""
        from scipy.special import ndtri, stdtrit

        at = 0.5 + confidence / 2
        return float(ndtri(at) if math.isinf(self.freedom) else stdtrit(self.freedom, at))


def pair_sharing(
    left: npt.ArrayLike, right: npt.ArrayLike, *, unit: Literal["image", "person"] = "image"
) -> Sharing:
    """How pairs hang together, from the number of the image (or person) on either side.

    Equal numbers mean the same image, on whichever side. ``ValueError`` for other than two
    integer arrays of one shape (pairs,).
    """
    ends = [np.asarray(side) for side in (left, right)]
    if ends[0].ndim != 1 or ends[0].shape != ends[1].shape:
        raise ValueError(
            f"left and right must number one {unit} a pair, equally many; "
            f"got shapes {ends[0].shape} and {ends[1].shape}"
        )
    if not all(np.issubdtype(side.dtype, np.integer) for side in ends):
        raise ValueError(f"{unit} numbers must be integers; got {ends[0].dtype}, {ends[1].dtype}")
    left, right = _numbered(ends)
    nodes = int(max(left.max(initial=-1), right.max(initial=-1))) + 1
    uses = np.bincount(left, minlength=nodes) + np.bincount(right, minlength=nodes)
    cluster = components(left, right, nodes)[left]
    return Sharing(
        unit=unit,
        left=left,
        right=right,
        cluster=cluster,
        nodes=nodes,
        clusters=int(cluster.max(initial=-1)) + 1,
        effective_nodes=_effective_count(uses),
        effective_clusters=_effective_count(np.bincount(cluster)),
    )


def _numbered(ends: Sequence[npt.NDArray[np.integer]]) -> tuple[IntArray, IntArray]:
    """Both sides with numbers from 0 instead, in the same order and none left out."""
    low = min(int(side.min(initial=0)) for side in ends)
    span = max(int(side.max(initial=0)) for side in ends) - low + 1
    pairs = len(ends[0])
    if span > 4 * pairs:
        node = np.unique(np.concatenate(ends), return_inverse=True)[1].astype(np.int64)
        return node[:pairs], node[pairs:]
    # Numbers without wide gaps are counted, a fifth of the time that sorting them takes.
    used = np.zeros(span, dtype=np.bool_)
    for side in ends:
        used[side.astype(np.int64) - low] = True
    number = np.cumsum(used) - 1
    return number[ends[0].astype(np.int64) - low], number[ends[1].astype(np.int64) - low]


def slots_sharing(
    pairs: npt.NDArray[np.intp] | BoolArray,
    *,
    images: npt.NDArray[np.integer] | None,
    people: npt.NDArray[np.integer] | None = None,
) -> Sharing | None:
    """How some pairs of a bin hang together: by people where they are known, else by images.

    ``pairs`` are their places in the bin (n,), or say of each of its pairs whether it is one;
    ``images`` and ``people`` number what its slots show, two a pair. None where nobody knows.
    """
    slots = images if people is None else people
    if slots is None:
        return None
    unit: Literal["image", "person"] = "image" if people is None else "person"
    return pair_sharing(slots[0::2][pairs], slots[1::2][pairs], unit=unit)


def components(
    left: npt.NDArray[np.integer], right: npt.NDArray[np.integer], nodes: int
) -> IntArray:
    """The number of each node's connected component, from 0 in the order of their first nodes.

    Each round every component that touches one with a lower first node joins it, so that at least
    half of them are gone after two.
    """
    first = np.arange(nodes)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(left), _BLOCK)]
    while True:
        joined = first.copy()
        for block in blocks:
            one, other = first[left[block]], first[right[block]]
            if np.array_equal(one, other):
                continue
            lower = np.minimum(one, other)
            np.minimum.at(joined, one, lower)
            np.minimum.at(joined, other, lower)
        while not np.array_equal(further := joined[joined], joined):
            joined = further
        if np.array_equal(joined, first):
            return np.unique(first, return_inverse=True)[1].astype(np.int64)
        first = joined


def design_effect(contributions: npt.ArrayLike, sharing: Sharing | None) -> float:
    """Times by which sharing multiplies the variance of a mean of per-pair contributions.

    1 without sharing or without variance, and never less: an estimate below 1 is noise or a gain
    that should not be counted on. Clusters: sums over clusters (Liang and Zeger 1986), times
    G / (G - 1) for the G of them that the mean had to be estimated from. Dyads: every product of
    two pairs that share an end (Aronow, Samii and Assenova 2015), times n / (n - 4) for n images or
    people: what makes it unbiased for effects of people that add up, every two of them in a pair.
    """
    values = np.asarray(contributions, dtype=np.float64)
    if sharing is None or sharing.method == "pairs":
        return 1.0
    errors = values - values.mean()
    return _effect(float(errors @ errors), sharing.sums(errors), sharing)


def spread_of(contributions: FloatArray, genuine: BoolArray, sharing: Sharing) -> Spread:
    """The spread of a figure from what each pair adds to its error, which sums to 0 in a class."""
    if sharing.method == "pairs":
        independent = float(contributions @ contributions)
        return Spread(independent, largest=float(np.abs(contributions).max(initial=0.0)))
    squares, sums = [], []
    for held in (genuine, ~genuine):
        # Picking out a class pays where it is small.
        few = 4 * np.count_nonzero(held) < len(held)
        at = np.flatnonzero(held) if few else slice(None)
        part = contributions[at] if few else np.where(held, contributions, 0.0)
        squares.append(float(part @ part))
        sums.append(sharing.sums(part, at))
    both = sums[0][0] + sums[1][0], sums[0][1] + sums[1][1]
    whole = _effect(sum(squares), both, sharing)
    own, others = (_effect(*each, sharing) for each in zip(squares, sums, strict=True))
    largest = float(np.abs(both[0]).max(initial=0.0))
    return Spread(sum(squares) * whole, own, others, sharing.freedom, largest)


def _effect(independent: float, sums: tuple[FloatArray, FloatArray], sharing: Sharing) -> float:
    """`design_effect` of errors with that sum of squares, and their sums."""
    if independent <= 0:
        return 1.0
    dependent = float(sums[0] @ sums[0] - sums[1] @ sums[1])
    return max(1.0, dependent / independent * sharing.correction)


def _totals(group: IntArray, errors: FloatArray, groups: int = 0) -> FloatArray:
    return np.asarray(np.bincount(group, weights=errors, minlength=groups), dtype=np.float64)


def _effective_count(sizes: IntArray) -> float:
    return float(sizes.sum()) ** 2 / float(sizes.astype(np.float64) @ sizes) if len(sizes) else 0.0
