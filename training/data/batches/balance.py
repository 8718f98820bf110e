"""How often each person comes in an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def balanced_by_person(
    labels: NDArray[np.int64], power: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """As many places in ``labels`` as it has, in random order: a person with n images comes
    n^(1 - power) times as often as one with a single image.

    0 is each image once; 1 is each person as often as any other (class-balanced sampling), 0.5 the
    square root (Mahajan et al. 2018). What a person's share is beside a whole number is drawn, and
    the shares over all people sum to the epoch. None of a person's images comes again before all
    of them have.
    """
    people, counts = np.unique(labels, return_counts=True)
    share = counts ** (1.0 - power)
    # Systematic sampling: whole numbers whose means are the shares and whose sum is fixed.
    edges = np.concatenate([[0.0], np.cumsum(share)]) * (len(labels) / share.sum())
    edges[-1] = len(labels)
    drawn = np.diff(np.floor(edges + random.random()).astype(np.int64))
    shuffled = np.lexsort((random.random(len(labels)), labels))
    first = np.cumsum(counts) - counts
    person = np.repeat(np.arange(len(people)), drawn)
    turn = np.arange(len(person)) - np.repeat(np.cumsum(drawn) - drawn, drawn)
    return random.permutation(shuffled[first[person] + turn % counts[person]])
