"""Scored pairs with what is in their slots, and the threshold that all conditions share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.errors import InputError
from evaluator.metrics.figures.tar_at_far import tar_at_far
from evaluator.metrics.rates import Rates, rates_at_threshold
from evaluator.metrics.sharing import pair_sharing
from evaluator.metrics.sweep import sweep


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs with scores: ``scores`` (n,), ``genuine`` (n,) bool; ``images`` and ``people`` (2 x n,)
    number what is in each slot, None where nobody knows.
    """

    scores: FloatArray
    genuine: BoolArray
    images: IntArray | None = None
    people: IntArray | None = None

    def only(self, kept: BoolArray) -> PairSet:
        """The pairs of a mask (n,)."""
        slots = np.repeat(kept, 2)
        return replace(
            self,
            scores=self.scores[kept],
            genuine=self.genuine[kept],
            images=None if self.images is None else self.images[slots],
            people=None if self.people is None else self.people[slots],
        )

    def wrong_at(self, threshold: float) -> BoolArray:
        """Which pairs are decided wrongly: accepted is what scores above the threshold."""
        wrong: BoolArray = (self.scores > threshold) != self.genuine
        return wrong

    def rates_at(self, threshold: float) -> Rates:
        """Both error rates with their intervals, as `zoo threshold` gives them."""
        return rates_at_threshold(
            self.scores, self.genuine, threshold, images=self.images, people=self.people
        )

    @property
    def units(self) -> IntArray:
        """The number of what is exchangeable in each slot, (2 x n,): the person, or as much of one
        as is known, the images that genuine pairs join.
        """
        if self.people is not None:
            return np.unique(self.people, return_inverse=True)[1].astype(np.int64)
        images = np.arange(2 * len(self.scores)) if self.images is None else self.images
        _, node = np.unique(images, return_inverse=True)
        ends = node[0::2][self.genuine], node[1::2][self.genuine]
        joined = pair_sharing(*ends)
        unit = np.arange(int(node.max(initial=-1)) + 1) + joined.clusters
        for end in ends:
            unit[end] = joined.cluster
        return unit[node].astype(np.int64)


def threshold_at_far(pairs: PairSet, far: float) -> float:
    """The threshold of TAR at that FAR: at most so large a share of all impostors is accepted.

    Raises InputError where a class is missing, or the FAR is below one impostor.
    """
    impostors = int((~pairs.genuine).sum())
    found = tar_at_far(sweep(pairs.scores, pairs.genuine), far)
    if found is None:
        if impostors in (0, len(pairs.genuine)):
            kind = "impostor" if impostors == 0 else "genuine"
            raise InputError(f"there are no {kind} pairs, and so no threshold")
        raise InputError(
            f"FAR {far:g} of {impostors:,} impostors is less than one of them; ask for "
            f"{math.ceil(1e4 / impostors) / 1e4:g} or more"
        )
    return found.threshold
