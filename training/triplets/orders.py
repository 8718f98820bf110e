"""The order of images in an epoch of triplets: pure functions of labels and seed."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from training.triplets.mining import TripletError
from training.triplets.nearest import people_of

Numbers = NDArray[np.int64]


def balanced_order(
    labels: Numbers, *, people: int, images: int, batches: int, seed: int
) -> Numbers:
    """Image numbers of ``batches`` batches, each of ``people`` people with ``images`` images.

    People come in shuffled rounds, nobody twice in a round; so do the images of each, so that none
    comes again before all have; only a person with fewer than ``images`` has one twice in a batch.

    Raises:
        TripletError: fewer people than a batch has.
    """
    random = np.random.default_rng(seed)
    own = people_of(labels).each()
    if len(own) < people:
        raise TripletError(
            f"people: expected at most the {len(own)} people there are in a batch; found {people}"
        )
    waiting: list[list[int]] = [[] for _ in own]
    order: list[int] = []
    queue: list[int] = []
    for _ in range(batches):
        if len(queue) < people:
            queue = random.permutation(len(own)).tolist()
        for person in queue[:people]:
            if len(waiting[person]) < images:
                waiting[person] = random.permutation(own[person]).tolist()
                while len(waiting[person]) < images:
                    waiting[person] += random.permutation(own[person]).tolist()
            order += waiting[person][:images]
            del waiting[person][:images]
        queue = queue[people:]
    return np.array(order, np.int64)


def sliding_window_order(labels: Numbers, *, seed: int, rounds: int = 1) -> Numbers:
    """Image numbers of triplets, anchor, positive, negative, anchor, ...: the founding MLP's.

    Each person gets as many triplets as the smallest has images less one: neighbours i and i + 1
    of its images, which are shuffled anew for each i, and image i of another person, whose own
    order is as it was shuffled last. Any of the others is as likely. All that ``rounds`` times.

    Raises:
        TripletError: one person only, or one with a single image.
    """
    random = np.random.default_rng(seed)
    own = people_of(labels).each()
    if len(own) < 2:
        raise TripletError("expected images of two people or more; found one person only")
    window = min(map(len, own)) - 1
    if not window:
        raise TripletError("expected two images or more of each person; found one of some")
    order: list[int] = []
    for _, (person, images), i in itertools.product(range(rounds), enumerate(own), range(window)):
        random.shuffle(images)
        other = (person + int(random.integers(1, len(own)))) % len(own)
        order += [int(images[i]), int(images[i + 1]), int(own[other][i])]
    return np.array(order, np.int64)


def shuffled_triplets(order: Numbers, *, seed: int) -> Numbers:
    """The same triplets in another order."""
    return np.random.default_rng(seed).permutation(order.reshape(-1, 3)).reshape(-1)
