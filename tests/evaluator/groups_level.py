"""How often `zoo groups` finds a difference where there is none: about 5 % is meant.

    python tests/evaluator/groups_level.py [--draws 1000]

Groups are made up, so that they differ by luck alone: of real people on the shared bin (with its
people known, and with its images alone), of people whose pairs are made within groups as RFW's are,
and of two models that are equally fair.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from evaluator.bins.verification_set import read_bin
from evaluator.conditions.chance import equal_groups, tally_of
from evaluator.conditions.groups import compare_fairness, differences
from evaluator.conditions.pairs import PairSet, threshold_at_far
from evaluator.images.decode import decode_image

IntArray = NDArray[np.int64]


def devtest(shared: Path, *, with_people: bool = True) -> PairSet:
    """LFW's development test pairs with the cosines of their small grey pictures."""
    found = read_bin(shared / "bins" / "lfw_devtest.bin")
    small = []
    for data in found.images:
        grey = decode_image(data, decoder="accurate").mean(axis=2)
        side = grey[8:104, 8:104].reshape(12, 8, 12, 8).mean(axis=(1, 3)).ravel()
        small.append(side / np.linalg.norm(side))
    pictures = np.array(small)
    pictures -= pictures.mean(axis=0)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    scores = (pictures[0::2] * pictures[1::2]).sum(axis=1)
    number: dict[bytes, int] = {}
    images = np.array([number.setdefault(data, len(number)) for data in found.images])
    people = devtest_people(shared, found.genuine) if with_people else None
    return PairSet(scores, found.genuine, images, people)


def devtest_people(shared: Path, genuine: NDArray[np.bool_]) -> IntArray:
    """The number of the person in each slot: each fold of the bin has the next of both kinds."""
    lines = (shared / "bins" / "lfw_devtest_pairs.txt").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    of_kind = {size: iter([row for row in rows if len(row) == size]) for size in (3, 4)}
    in_order = [next(of_kind[3 if same else 4]) for same in genuine]
    names = [name for row in in_order for name in (row[0], row[0] if len(row) == 3 else row[2])]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def made_up(units: IntArray, groups: int, seed: int) -> IntArray:
    """A balanced attribute of people: the group of each slot."""
    number = np.unique(units, return_inverse=True)[1]
    size = int(number.max()) + 1
    found: IntArray = np.random.default_rng(seed).permutation(np.arange(size) % groups)[number]
    return found


def share_without_difference(
    pairs: PairSet, people: IntArray, far: float, groups: int, draws: int
) -> float:
    """Of seeded attributes, those with no difference beyond chance."""
    threshold = threshold_at_far(pairs, far)
    wrong = pairs.wrong_at(threshold)
    usable = {name: np.ones(groups, bool) for name in ("fmr", "fnmr", "wrong")}
    calm = 0
    for seed in range(draws):
        own = made_up(people, groups, seed)
        chance = equal_groups(pairs, own, wrong, groups, seed)
        tested = differences(tally_of(own, pairs.genuine, wrong, groups), chance, usable)
        calm += not tested.differ
    return calm / draws


def rfw_like(
    generator: np.random.Generator, *, groups: int, people: int, pairs: int, models: int = 1
) -> tuple[list[PairSet], IntArray]:
    """Pairs within groups, of people who are each in several: scores of as many models, which
    share half of what makes a person and a pair hard.
    """
    left, right = [], []
    for group in range(groups):
        ends = generator.integers(0, people, (pairs, 2))
        ends[ends[:, 0] == ends[:, 1], 1] += 1
        ends[: pairs // 2, 1] = ends[: pairs // 2, 0]
        ends = ends % people + group * people
        left.append(ends[:, 0])
        right.append(ends[:, 1])
    both = np.column_stack([np.concatenate(left), np.concatenate(right)])
    genuine = both[:, 0] == both[:, 1]
    shared = person_and_pair(generator, both, groups * people)
    found = []
    for _ in range(models):
        own = person_and_pair(generator, both, groups * people)
        scores = 3.5 * genuine + np.sqrt(0.5) * (shared + own)
        found.append(PairSet(scores, genuine, None, both.ravel()))
    return found, (both // people).ravel()


def person_and_pair(
    generator: np.random.Generator, both: IntArray, people: int
) -> NDArray[np.float64]:
    of_person = generator.normal(size=people) * 0.5
    noise: NDArray[np.float64] = generator.normal(size=len(both))
    return noise + of_person[both[:, 0]] + of_person[both[:, 1]]


def within_groups(draws: int) -> Iterator[str]:
    """Of pairs made within groups: how often there is no difference."""
    for groups, people, pairs, far in (
        (4, 400, 1200, 0.01),
        (4, 400, 3000, 0.01),
        (2, 100, 1000, 0.05),
    ):
        calm = 0
        usable = {name: np.ones(groups, bool) for name in ("fmr", "fnmr", "wrong")}
        for seed in range(draws):
            generator = np.random.default_rng(seed)
            [found], own = rfw_like(generator, groups=groups, people=people, pairs=pairs)
            wrong = found.wrong_at(threshold_at_far(found, far))
            chance = equal_groups(found, own, wrong, groups, seed)
            assert "drawn" in chance.how
            tally = tally_of(own, found.genuine, wrong, groups)
            calm += not differences(tally, chance, usable).differ
        yield (
            f"{groups} groups of {people} people, {pairs} pairs, FAR {far}: calm {calm / draws:.3f}"
        )


def equally_fair(draws: int) -> Iterator[str]:
    """Of two models that err alike apart from luck: how often one is called fairer."""
    for groups, people, pairs, far in (
        (4, 400, 1200, 0.01),
        (2, 100, 1000, 0.05),
        (2, 2000, 1000, 0.05),
    ):
        low = dict[str, list[float]]()
        for seed in range(draws):
            generator = np.random.default_rng(seed)
            (a, b), own = rfw_like(generator, groups=groups, people=people, pairs=pairs, models=2)
            wrong = tuple(each.wrong_at(threshold_at_far(each, far)) for each in (a, b))
            for each in compare_fairness(a, own, [str(i) for i in range(groups)], wrong, seed=seed):
                if each.p_value is not None:
                    low.setdefault(each.measure.key, []).append(each.p_value < 0.05)
        rates = ", ".join(f"{key} {np.mean(each):.3f}" for key, each in low.items())
        yield f"two models, {groups} groups of {people} people, {pairs} pairs, FAR {far}: {rates}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if given.only in ("", "devtest"):
        for with_people in (True, False):
            pairs = devtest(given.shared, with_people=with_people)
            people = devtest_people(given.shared, pairs.genuine)
            for far, groups in ((0.1, 2), (0.05, 2), (0.05, 4)):
                calm = share_without_difference(pairs, people, far, groups, given.draws)
                print(
                    f"devtest, people {with_people}, {groups} groups, FAR {far}: calm {calm:.3f}",
                    flush=True,
                )
    if given.only in ("", "within"):
        for line in within_groups(given.draws):
            print(line, flush=True)
    if given.only in ("", "two"):
        for line in equally_fair(given.draws):
            print(line, flush=True)


if __name__ == "__main__":
    main()
