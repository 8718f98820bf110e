"""What bins have in common: pairs, images and people, numbered alike, so that none counts twice.

An image is known by its bytes, whatever bin holds them; a person by a name that two pairs files
share. Where nobody noted the bytes of a bin's images, nothing is said of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.array_types import BoolArray, IntArray
from evaluator.bins.pairs_file import NAMED
from evaluator.metrics.text import counted
from evaluator.results.record import Scores

Ends = tuple[IntArray, IntArray]

# Of couples of bins that share something, so many are named in a line.
_NAMED_COUPLES = 3
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Common:
    """What two bins have in common; ``pairs`` and ``images`` by their bytes, ``people`` by name."""

    bins: tuple[str, str]
    pairs: int
    images: int
    people: int

    @property
    def words(self) -> str:
        """The most telling of these counts, as "6,000 pairs"; empty where all are 0."""
        counts = (self.pairs, "pair"), (self.images, "image"), (self.people, "person", "people")
        return next((counted(*each) for each in counts if each[0]), "")


@dataclass(frozen=True, eq=False)
class Together:
    """Bins side by side. ``across`` is, for each, what the left and the right of all its pairs
    show, (pairs,) each, with one number for one person or image on all bins; None where no bin is
    known to share any. ``couples`` are those that do.
    """

    across: tuple[Ends, ...] | None
    couples: tuple[Common, ...]

    @property
    def words(self) -> str:
        """As "lfw and copy share 6,000 pairs"; empty where no bins share anything."""
        named = [
            f"{each.bins[0]} and {each.bins[1]} share {each.words}"
            for each in self.couples[:_NAMED_COUPLES]
        ]
        more = len(self.couples) - _NAMED_COUPLES
        return ", ".join([*named, *([f"{more} couples more share some"] if more > 0 else [])])


def shared_images(bins: Mapping[str, Scores]) -> Together:
    """What bins, by what they are called, have in common.

    ``across`` numbers people where they are known on every bin, by its own pairs file or by a
    photograph that another bin names; else images. ``Scores.images`` that are not known must all
    differ.
    """
    couples = [
        found
        for one, other in itertools.combinations(bins, 2)
        if (found := _common((one, other), bins[one], bins[other])).words
    ]
    if not couples:
        return Together(None, ())
    scores = list(bins.values())
    people = _people(scores)
    if people is not None:
        slots = _alike(people, [each >= NAMED for each in people])
    else:
        images = [each.images if each.digests is None else each.digests for each in scores]
        known = [np.full(len(each.images), each.digests is not None) for each in scores]
        slots = _alike(images, known)
    return Together(tuple((each[0::2], each[1::2]) for each in slots), tuple(couples))


def _common(names: tuple[str, str], one: Scores, other: Scores) -> Common:
    pairs = images = people = 0
    if one.digests is not None and other.digests is not None:
        images = len(np.intersect1d(one.digests, other.digests))
        keys = _pair_keys(one.digests), _pair_keys(other.digests)
        found = np.isin(keys[0], keys[1]), np.isin(keys[1], keys[0])
        pairs = min(int(each.sum()) for each in found)
    if one.people is not None and other.people is not None:
        shared = np.intersect1d(one.people, other.people)
        people = int((shared >= NAMED).sum())
    return Common(names, pairs, images, people)


def _pair_keys(digests: IntArray) -> npt.NDArray[np.uint64]:
    """A number of each pair, whichever of its images is at the left."""
    ends = np.sort(digests.reshape(-1, 2), axis=1).astype(np.uint64)
    return ends[:, 0] * _ODD + ends[:, 1]


def _people(scores: Sequence[Scores]) -> list[IntArray] | None:
    """The person in each slot of each bin; None unless all are known."""
    named = [(each.digests, each.people) for each in scores]
    both = [(d, p) for d, p in named if d is not None and p is not None and (p >= NAMED).all()]
    digests = np.concatenate([d for d, _ in both]) if both else np.zeros(0, np.int64)
    photographs, first = np.unique(digests, return_index=True)
    found = []
    for own_digests, own_people in named:
        if own_people is None and own_digests is not None and np.isin(own_digests, digests).all():
            people = np.concatenate([p for _, p in both])
            own_people = people[first][np.searchsorted(photographs, own_digests)]
        if own_people is None:
            return None
        found.append(own_people)
    return found


def _alike(slots: Sequence[IntArray], known: Sequence[BoolArray]) -> list[IntArray]:
    """Slots of several bins with one number for what is ``known`` to be the same on all; the other
    numbers are of a bin alone.
    """
    everywhere = np.unique(
        np.concatenate([own[same] for own, same in zip(slots, known, strict=True)])
    )
    found, count = [], len(everywhere)
    for own, same in zip(slots, known, strict=True):
        numbers = np.searchsorted(everywhere, own)
        alone, inverse = np.unique(own[~same], return_inverse=True)
        numbers[~same] = count + inverse
        count += len(alone)
        found.append(numbers.astype(np.int64))
    return found
