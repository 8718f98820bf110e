"""Ten folds by what a list of pairs holds, for lists whose order is no protocol's.

A bin's order is its protocol: ten contiguous parts. A list of scores may come in any order, by
person, by score or mixed, and its figures must not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.metrics.protocols import INSIGHTFACE_FOLDS
from evaluator.metrics.sharing import pair_sharing

# A fold may have a tenth more or less of a class than its share, or one pair.
_TOLERANCE = 0.1
_SEED = 0


@dataclass(frozen=True, eq=False)
class RuledFolds:
    """The fold of each pair, (pairs,) uint8 from 0, and what is kept in one fold: all pairs of a
    ``person`` or of an ``image``, or a ``pair`` alone.
    """

    numbers: NDArray[np.uint8]
    together: Literal["person", "image", "pair"]


def folds_by_rule(
    scores: FloatArray,
    genuine: BoolArray,
    *,
    places: IntArray | None = None,
    images: IntArray | None = None,
    people: IntArray | None = None,
) -> RuledFolds:
    """Ten folds of n pairs that are the same pairs in whatever order these are given.

    ``scores`` (n,), NaN where a pair has none, and ``genuine`` (n,) tell pairs apart, after
    ``places`` (n,) where these are known: the place of each pair in an order of the list's own, by
    names say. Every fold has its share of both classes: of equal pairs, as many go to each as can,
    drawn by a fixed seed. ``images`` and ``people`` (2n,) number what each slot shows; all pairs
    that are linked by people stay in one fold where they come in groups small enough for that, else
    all that are linked by images, else folds are drawn pair by pair. Fewer than ten pairs are one
    fold.
    """
    if len(genuine) < INSIGHTFACE_FOLDS:
        return RuledFolds(np.zeros(len(genuine), np.uint8), "pair")
    content = [scores, ~genuine] if places is None else [scores, ~genuine, places]
    ranks = _ranks(content)
    units: tuple[tuple[Literal["person", "image"], IntArray | None], ...]
    units = (("person", people), ("image", images))
    for unit, slots in units:
        if slots is None:
            continue
        groups = pair_sharing(slots[0::2], slots[1::2]).cluster
        if 2 * np.bincount(groups).max() * INSIGHTFACE_FOLDS > 3 * len(groups):
            continue  # more than one fold and a half
        numbers = _dealt(groups, ranks, genuine)
        if _is_balanced(numbers, genuine):
            return RuledFolds(numbers, unit)
    return RuledFolds(_dealt(np.arange(len(genuine)), ranks, genuine), "pair")


def _ranks(content: list[NDArray[np.generic]]) -> IntArray:
    """The place of each pair by what it holds, the last array first; the same for equal pairs."""
    order = np.lexsort(content)
    differs = np.zeros(len(order), np.bool_)
    for values in content:
        one, next_one = values[order[:-1]], values[order[1:]]
        both_nan = (one != one) & (next_one != next_one)
        differs[1:] |= (one != next_one) & ~both_nan
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.cumsum(differs)
    return ranks


def _dealt(groups: IntArray, ranks: IntArray, genuine: BoolArray) -> NDArray[np.uint8]:
    """A fold for each pair, the same for all of a group.

    Groups of as many genuine pairs and impostors are alike, and are dealt evenly to all folds.
    Those left over go where the fewest of their pairs are, the largest first.
    """
    counts = np.stack([np.bincount(groups, genuine), np.bincount(groups, ~genuine)]).astype(
        np.int64
    )
    shares = np.maximum(1, np.append(counts.sum(axis=1), len(groups))) / INSIGHTFACE_FOLDS
    there = np.zeros((3, INSIGHTFACE_FOLDS), np.int64)  # genuine pairs, impostors, pairs
    fold_of = np.zeros(counts.shape[1], np.uint8)
    random = np.random.default_rng(_SEED)
    for size, alike in _alike(groups, ranks, counts):
        alike = random.permutation(alike)
        each, left = divmod(len(alike), INSIGHTFACE_FOLDS)
        even = alike[: len(alike) - left]
        fold_of[even] = np.arange(len(even)) % INSIGHTFACE_FOLDS
        there += each * size[:, None]
        for group in alike[len(even) :]:
            more = (there + size[:, None]) ** 2 - there**2
            fold = int(np.argmin((more / shares[:, None] ** 2).sum(axis=0)))
            fold_of[group] = fold
            there[:, fold] += size
    return fold_of[groups]


def _alike(
    groups: IntArray, ranks: IntArray, counts: IntArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Groups of one size, the largest first, in the order of what they hold: (genuine pairs,
    impostors, pairs) and the groups' numbers.
    """
    by_group = ranks[np.lexsort((ranks, groups))]
    pairs = counts.sum(axis=0)
    starts = np.cumsum(pairs) - pairs
    sizes, kind = np.unique(counts, axis=1, return_inverse=True)
    kind = kind.reshape(-1)
    for number in sorted(range(sizes.shape[1]), key=lambda i: -int(sizes[:, i].sum())):
        size = np.append(sizes[:, number], sizes[:, number].sum())
        members = np.flatnonzero(kind == number)
        held = by_group[starts[members][:, None] + np.arange(size[2])]
        yield size, members[np.lexsort(held.T[::-1])]


def _is_balanced(numbers: NDArray[np.uint8], genuine: BoolArray) -> bool:
    """Whether each fold has its share of both classes, nearly."""
    for own in (numbers[genuine], numbers[~genuine]):
        share = len(own) / INSIGHTFACE_FOLDS
        counts = np.bincount(own, minlength=INSIGHTFACE_FOLDS)
        if bool((np.abs(counts - share) > max(1.0, _TOLERANCE * share)).any()):
            return False
    return True
