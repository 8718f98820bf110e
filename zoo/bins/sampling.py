"""Pairs from a folder per person: seeded, balanced, in folds that share no person."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evaluator.bins.pairs_file import Pair
from evaluator.errors import InputError

Item = TypeVar("Item")
People = Mapping[str, Sequence[str]]

#: People of a fold and the number wanted -> impostor pairs of image names.
Impostors = Callable[[Sequence[str], int], list[tuple[str, str]]]


@dataclass(frozen=True)
class Sampling:
    """What pairs to draw.

    Up to ``pairs_per_person`` genuine pairs of each person; ``impostors`` in all (None: as many as
    genuine pairs); ``folds`` of equal size; ``seed``. ``singles`` are people with one image:
    ``fail``, use them for ``impostors`` only, or ``skip`` them.
    """

    pairs_per_person: int = 3
    impostors: int | None = None
    folds: int = 10
    seed: int = 0
    singles: str = "fail"

    def __post_init__(self) -> None:
        """Refuses numbers that give no folds of equal size."""
        if self.folds < 2 or self.pairs_per_person < 1:
            raise InputError("--folds must be at least 2, and --pairs-per-person at least 1")
        if self.impostors is not None and (self.impostors < 1 or self.impostors % self.folds):
            near = max(1, round(self.impostors / self.folds)) * self.folds
            raise InputError(
                f"--impostors {self.impostors}: expected a multiple of the {self.folds} folds,"
                f" which are of equal size; {near} is the nearest"
            )


def sample_pairs(
    people: People, sampling: Sampling, *, hard: Impostors | None = None
) -> list[Pair]:
    """Pairs fold after fold, in each the genuine ones first, as LFW's official list has them.

    Every person is in one fold only, impostor pairs included, so no fold knows a face of another.
    All folds have the same number of genuine and of impostor pairs: the people go to the lightest
    fold, largest first, and what the fullest folds have more is left out. Impostor pairs are
    random (two people of the fold, then an image of each) or what ``hard`` chooses.

    Deterministic, on every machine and version of Python: drawn with ``random.Random.random``
    alone, the one stream that Python keeps. Raises InputError for too few people or images.
    """
    people = _usable(people, sampling.singles)
    if len(people) < 2 * sampling.folds:
        fewer = f"pass --folds {len(people) // 2} or " if len(people) > 3 else ""
        raise InputError(
            f"--folds {sampling.folds}: each fold needs at least 2 people of its own, found"
            f" {len(people)} people; {fewer}add people"
        )
    draw = random.Random(sampling.seed)
    folds = _folds(people, sampling, draw)
    genuine = [
        shuffled([pair for name in fold for pair in _own_pairs(people[name], sampling, draw)], draw)
        for fold in folds
    ]
    per_fold = min(map(len, genuine))
    if not per_fold:
        raise InputError(
            f"--folds {sampling.folds}: a fold has nobody with two images, so no genuine pair;"
            " fewer folds or more images"
        )
    wanted = per_fold if sampling.impostors is None else sampling.impostors // sampling.folds
    owner = {image: name for name, images in people.items() for image in images}
    pairs = []
    for fold, same in zip(folds, genuine, strict=True):
        different = hard(fold, wanted) if hard else random_impostors(people, fold, wanted, draw)
        for left, right in itertools.chain(same[:per_fold], different):
            names = owner[left], owner[right]
            pairs.append(Pair(left, right, names[0] == names[1], names))
    return pairs


def random_impostors(
    people: People, fold: Sequence[str], wanted: int, draw: random.Random
) -> list[tuple[str, str]]:
    """Distinct impostor pairs of a fold: two people drawn evenly, then an image of each."""
    sizes = [len(people[name]) for name in fold]
    available = (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2
    if available < wanted:
        raise InputError(
            f"a fold of {len(fold)} people has {available} impostor pairs, {wanted} are wanted;"
            " lower --impostors or --folds"
        )
    found: dict[tuple[str, str], None] = {}
    if available > 4 * wanted:
        # Where few of many are wanted a repeat is rare, unless one person has most of the images.
        for _ in range(50 * wanted):
            a, b = distinct_numbers(2, len(fold), draw)
            names = fold[min(a, b)], fold[max(a, b)]
            left, right = (people[name][below(len(people[name]), draw)] for name in names)
            found.setdefault((left, right))
            if len(found) == wanted:
                return list(found)
    every = [
        (left, right)
        for a, b in itertools.combinations(fold, 2)
        for left, right in itertools.product(people[a], people[b])
    ]
    return shuffled(every, draw)[:wanted]


def shuffled(items: Sequence[Item], draw: random.Random) -> list[Item]:
    """The items in a drawn order (Fisher and Yates)."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        other = below(last + 1, draw)
        order[last], order[other] = order[other], order[last]
    return order


def distinct_numbers(count: int, limit: int, draw: random.Random) -> list[int]:
    """``count`` different numbers below ``limit``, in a drawn order."""
    if 2 * count > limit:
        return shuffled(range(limit), draw)[:count]
    numbers: dict[int, None] = {}
    while len(numbers) < count:
        numbers.setdefault(below(limit, draw))
    return list(numbers)


def below(limit: int, draw: random.Random) -> int:
    """A number in 0 .. limit - 1."""
    return int(draw.random() * limit)


def _usable(people: People, singles: str) -> People:
    alone = [name for name, images in people.items() if len(images) < 2]
    if alone and singles == "fail":
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise InputError(
            f"{', '.join(alone[:3])}{more}: only one image, and a genuine pair needs two; add one,"
            " or pass --singles impostors (use them in impostor pairs only) or --singles skip"
        )
    if singles == "skip":
        return {name: images for name, images in people.items() if len(images) > 1}
    return people


def _folds(people: People, sampling: Sampling, draw: random.Random) -> list[list[str]]:
    """People to folds: most genuine pairs first, each to the fold with the fewest."""
    counts = {name: _own_count(len(images), sampling) for name, images in people.items()}
    folds: list[list[str]] = [[] for _ in range(sampling.folds)]
    loads = [0] * sampling.folds
    for name in sorted(shuffled(list(people), draw), key=lambda name: -counts[name]):
        count = counts[name]
        lightest = min(range(sampling.folds), key=lambda i: (count and loads[i], len(folds[i])))
        folds[lightest].append(name)
        loads[lightest] += count
    if min(map(len, folds)) < 2:
        raise InputError(
            f"--folds {sampling.folds}: a fold would have one person only, and so no impostor pair;"
            " fewer folds, or a lower --pairs-per-person"
        )
    return folds


def _own_count(images: int, sampling: Sampling) -> int:
    return min(sampling.pairs_per_person, math.comb(images, 2))


def _own_pairs(
    images: Sequence[str], sampling: Sampling, draw: random.Random
) -> list[tuple[str, str]]:
    """Drawn pairs of one person's images, each at most once."""
    pairs = []
    count = _own_count(len(images), sampling)
    for number in sorted(distinct_numbers(count, math.comb(len(images), 2), draw)):
        # Pairs (i, j) with i < j, counted by j: number = j (j - 1) / 2 + i.
        j = (1 + math.isqrt(1 + 8 * number)) // 2
        pairs.append((images[number - j * (j - 1) // 2], images[j]))
    return pairs
