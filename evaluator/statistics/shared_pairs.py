"""What models share on a bin: the pairs that all scored, whose people are on them, and how the
models' figures differ there.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluator.array_types import BoolArray, IntArray
from evaluator.errors import ResultError
from evaluator.metrics.figure import Figure
from evaluator.metrics.figures.search import NOT_FIRST
from evaluator.metrics.protocols import SortedPairs, sorted_pairs
from evaluator.metrics.sharing import Sharing, slots_sharing
from evaluator.results.record import Result, Scores
from evaluator.statistics.differences import Differences, differences_on_bin


@dataclass(frozen=True, eq=False)
class Scored:
    """A result and its scores."""

    result: Result
    scores: Scores

    @property
    def images(self) -> IntArray | None:
        """The number of the image in each slot; None where the images are not known."""
        return self.scores.images if self.result.bin.unique_images else None

    def asked(self, figure: Figure) -> Scored:
        """These scores, or for a figure of searches a list of those, as ``figures/search.py`` has
        it: its people are the probe's at the left and, at the right, its rival's where it has no
        mate.
        """
        if not figure.searches:
            return self
        if not self.scores.searches:
            name = self.result.bin.name
            raise ResultError(f"{name}: {figure.name} needs searches, and none are known")
        return replace(self, scores=_searched(self.scores, figure))

    @functools.cached_property
    def sorted(self) -> SortedPairs:
        """The pairs that figures are of, sorted for all figures."""
        kept, stored = self.scores.counted, self.scores
        return sorted_pairs(stored.scores[kept], stored.genuine[kept], stored.folds_of(kept))

    @functools.cached_property
    def sharing(self) -> Sharing | None:
        """How these pairs hang together, by what is known of images and people by now."""
        return slots_sharing(self.scores.counted, images=self.images, people=self.scores.people)

    def interval_of(self, figure: Figure) -> tuple[float, float] | None:
        """The figure's 95 % interval, with what is known of images and people by now."""
        if figure.searches:  # whose people are known with the set
            return figure.read_ci95(self.result.figures)
        return figure.interval_of(self.sorted, self.sharing)


def _searched(known: Scores, figure: Figure) -> Scores:
    if known.facts is None:
        raise ValueError("expected the facts of the set that was searched")
    probe = known.facts.person[known.facts.probes]
    scores, mated, slots, lists = [], [], [], []
    for number, each in enumerate(known.searches):
        kept = each.mated if figure.searches == "mated" else np.ones(len(each.mated), np.bool_)
        if figure.searches == "mated":
            # NaN and -inf stay what they are: left out, and missed.
            found = np.where(np.isfinite(each.score), -each.rank.astype(np.float64), each.score)
        else:
            score = np.where(each.mated & (each.rank > 1), NOT_FIRST, each.score)
            found = np.where(np.isnan(each.score), np.nan, np.maximum(score, NOT_FIRST))
        alone = each.mated | (each.rival < 0)
        rival = np.where(alone, probe, known.facts.person[np.maximum(each.rival, 0)])
        scores.append(found[kept])
        mated.append(each.mated[kept])
        slots.append(np.column_stack([probe, rival])[kept].ravel())
        lists.append(np.full(int(kept.sum()), number, np.int64))
    people = np.concatenate(slots).astype(np.int64)
    return Scores(
        np.concatenate(scores),
        np.concatenate(mated),
        people,
        people,
        lists=None if figure.searches == "mated" else np.concatenate(lists),
    )


@dataclass(frozen=True, eq=False)
class SharedPairs:
    """The pairs of a bin that two models both scored.

    ``pairs`` (n,) are their places in the bin, ascending, ``genuine`` (n,) their labels;
    ``images`` and ``people`` number what is in each slot of the bin, None where neither knows.
    ``lists`` (n,) are those of `Scores`.
    """

    pairs: npt.NDArray[np.intp]
    genuine: BoolArray
    images: IntArray | None
    people: IntArray | None
    lists: IntArray | None = None

    @property
    def sharing(self) -> Sharing | None:
        """How these pairs hang together; None where nobody knows."""
        return slots_sharing(self.pairs, images=self.images, people=self.people)


def shared_pairs(a: Scored, b: Scored) -> SharedPairs:
    """What two results on one bin have in common; what one of them knows counts for both.

    Raises ResultError where their labels differ, as those of one bin cannot.
    """
    if not np.array_equal(a.scores.genuine, b.scores.genuine):
        raise ResultError(
            f"{a.result.bin.name}: {b.result.model.name}'s labels are not those of "
            f"{a.result.model.name}, though the bin's hash is the same; evaluate both with --fresh"
        )
    pairs = np.flatnonzero(a.scores.counted & b.scores.counted)
    return SharedPairs(
        pairs,
        a.scores.genuine[pairs],
        _known(a.images, b.images),
        _known(a.scores.people, b.scores.people),
        None if a.scores.lists is None else a.scores.lists[pairs],
    )


def _known(one: IntArray | None, other: IntArray | None) -> IntArray | None:
    """What either knows of the slots; where they differ, that by which more slots are the same."""
    if one is None or other is None or np.array_equal(one, other):
        return other if one is None else one
    return min((one, other), key=lambda slots: (len(np.unique(slots)), slots.tobytes()))


def unlike_the_others(scores: Sequence[Scores | None]) -> list[int]:
    """Which of the scores on one bin, None where there are none, have other labels than most."""
    known = [None if each is None else _digest(each.genuine) for each in scores]
    usual = Counter(each for each in known if each is not None).most_common(1)
    return [i for i, own in enumerate(known) if own is not None and own != usual[0][0]]


@dataclass(frozen=True, eq=False)
class Block:
    """Models of ``rows`` against those of ``columns``, of which every two share the same pairs;
    ``members`` are all of these, ascending.
    """

    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    members: npt.NDArray[np.intp]
    shared: SharedPairs


def blocks_of(models: Sequence[Scored]) -> list[Block]:
    """Every two models on one bin, and each with itself, in few blocks: most models scored all
    pairs and know the same of them. Raises ResultError as `shared_pairs`.
    """
    return [
        Block(one, other, np.union1d(one, other), shared_pairs(models[one[0]], models[other[0]]))
        for one, other in itertools.combinations_with_replacement(_alike(models), 2)
    ]


def differences_of(models: Sequence[Scored], figure: Figure) -> Differences:
    """How every two models differ in a figure on the pairs of a bin that both scored.

    NaN where the figure is undefined on them. Raises ResultError as `shared_pairs`.
    """
    whole = Differences.undefined(len(models), len(models[0].scores.scores))
    for block in blocks_of(models):
        shared = block.shared
        scores = [models[i].scores.scores[shared.pairs] for i in block.members]
        found = differences_on_bin(scores, shared.genuine, shared.sharing, figure, shared.lists)
        for rows, columns in ((block.rows, block.columns), (block.columns, block.rows)):
            here = np.ix_(*(np.searchsorted(block.members, each) for each in (rows, columns)))
            whole.place(found, here, np.ix_(rows, columns))
        if block.rows is block.columns:
            whole.errors[np.ix_(block.rows, shared.pairs)] = found.errors
    return whole


def _digest(values: npt.NDArray[np.generic]) -> bytes:
    """What tells arrays apart that may have millions of values."""
    return hashlib.blake2b(np.ascontiguousarray(values).data).digest()


def _alike(models: Sequence[Scored]) -> list[npt.NDArray[np.intp]]:
    """Which models scored the same pairs and know the same of their images and people."""
    found: dict[tuple[bytes | None, ...], list[int]] = {}
    for i, each in enumerate(models):
        known = (each.scores.genuine, each.scores.counted, each.images, each.scores.people)
        key = tuple(None if values is None else _digest(values) for values in known)
        found.setdefault(key, []).append(i)
    return [np.array(own) for own in found.values()]
