"""What equal groups would show: rates of few pairs differ by chance, and the highest of several is
too high on average.

``exchanged``: people change their groups with one another, so that groups keep their sizes, and
every image of a person goes along. Exact where pairs were made without a look at groups.
``drawn``: errors are drawn for each group at the rate of all, from a binomial distribution that is
widened (beta-binomial) as people in several pairs widen the variance. For pairs that were made
within groups, as RFW's, where exchanged people would leave hardly any pair within one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.conditions.group_measures import Tally
from evaluator.conditions.pairs import PairSet
from evaluator.metrics.rates import sharing_of
from evaluator.metrics.sharing import design_effect

GroupNumbers = NDArray[np.int16]

# Exchanges of people: enough for a p-value of a thousandth, fewer where pairs are very many.
_DRAWS = 1999
_FEWEST_DRAWS = 199
_MOST_LOOKUPS = 400_000_000
_LOOKUPS_AT_ONCE = 2_000_000

# Pairs within groups so many, or so few, by so small a chance were not made blind to groups.
_BLIND = 0.002


@dataclass(frozen=True, eq=False)
class Chance:
    """``tally`` (draws, groups) of equal groups, and in words how they were made equal."""

    tally: Tally
    how: str


def equal_groups(
    pairs: PairSet, groups: IntArray, wrong: BoolArray, count: int, seed: int
) -> Chance:
    """What equal groups would show on these pairs.

    ``groups`` (2 x pairs,) number the group in each slot from 0 to below ``count``, negative where
    it is unknown; ``wrong`` (pairs,) are the pairs decided wrongly.
    """
    generator = np.random.default_rng(seed)
    found, why = _exchanged(pairs, groups, wrong, count, generator)
    if found is not None:
        return Chance(found, f"{why} exchanged between groups, {len(found.genuine):,} times")
    drawn = _drawn(pairs, groups, wrong, count, generator)
    return Chance(drawn, f"errors drawn at one rate, {_DRAWS:,} times: {why}")


def tally_of(groups: IntArray, genuine: BoolArray, wrong: BoolArray, count: int) -> Tally:
    """Errors and pairs within each group, (groups,) each."""
    within = group_of_pairs(groups)
    return Tally(
        *(
            np.bincount(within[each & (within >= 0)], minlength=count).astype(np.float64)
            for each in (~genuine & wrong, ~genuine, genuine & wrong, genuine)
        )
    )


def group_of_pairs(groups: IntArray) -> IntArray:
    """The group that both slots of a pair are in, (pairs,); negative where they are not in one."""
    return np.where(groups[0::2] == groups[1::2], groups[0::2], -1)


# ---- People exchanged ----------------------------------------------------------------------------


def _exchanged(
    pairs: PairSet, groups: IntArray, wrong: BoolArray, count: int, generator: np.random.Generator
) -> tuple[Tally | None, str]:
    """The tallies (draws, groups), or None; and who was exchanged, or why nobody could be."""
    known = np.repeat((groups[0::2] >= 0) & (groups[1::2] >= 0), 2)
    unit, slot_unit = np.unique(pairs.units[known], return_inverse=True)
    own = np.full(len(unit), -1, np.int16)
    own[slot_unit] = groups[known]
    if not np.array_equal(own[slot_unit], groups[known]):
        return None, "images of one person are in several groups"
    both = known[0::2]
    left, right = slot_unit[0::2], slot_unit[1::2]
    genuine, errs = pairs.genuine[both], wrong[both]
    parts = [
        _Edges.of(left[each], right[each], errs[each], len(unit)) for each in (~genuine, genuine)
    ]
    lookups = sum(len(each.left) for each in parts) + len(unit)
    draws = max(_FEWEST_DRAWS, min(_DRAWS, _MOST_LOOKUPS // max(1, lookups)))
    at_once = max(1, _LOOKUPS_AT_ONCE // max(1, lookups))
    own_pairs = float(tally_of(groups, pairs.genuine, wrong, count).impostors.sum())
    found: list[list[FloatArray]] = [[], [], [], []]
    start = 0
    while start < draws:
        # Few first: they tell pairs that were made within groups.
        rows = min(at_once, draws - start, draws if start else _FEWEST_DRAWS)
        placed = generator.permuted(np.tile(own, (rows, 1)), axis=1)
        for part, place in zip(parts, (0, 2), strict=True):
            errors, all_pairs = part.within(placed, count)
            found[place].append(errors)
            found[place + 1].append(all_pairs)
        start += rows
        if start == draws or len(found[0]) == 1:
            within = np.concatenate(found[1]).sum(axis=1)
            if _is_rare(own_pairs, within, at_a_glance=start < draws):
                return None, "impostor pairs were made with a look at groups"
    tally = Tally(*map(np.concatenate, found))
    return tally, "people" if pairs.people is not None else "images that genuine pairs join"


def _is_rare(value: float, among: FloatArray, *, at_a_glance: bool) -> bool:
    """Whether a value lies beyond nearly all of the others, on either side; at a glance, whether it
    lies so far beyond that the rest need not be seen.
    """
    if at_a_glance:
        return len(among) > 1 and abs(value - among.mean()) > 8 * among.std() + 1
    beyond = min(float((among >= value).mean()), float((among <= value).mean()))
    return 2 * beyond < _BLIND


@dataclass(frozen=True, eq=False)
class _Edges:
    """Couples of units (couples,) with the number of their pairs and of those decided wrongly."""

    left: IntArray
    right: IntArray
    pairs: FloatArray
    errors: FloatArray

    @classmethod
    def of(cls, left: IntArray, right: IntArray, wrong: BoolArray, units: int) -> _Edges:
        units = max(1, units)
        low, high = np.minimum(left, right), np.maximum(left, right)
        couple, place = np.unique(low * units + high, return_inverse=True)
        size = len(couple)
        counts = (np.bincount(place, weights, size) for weights in (None, wrong))
        return cls(couple // units, couple % units, *(each.astype(np.float64) for each in counts))

    def within(self, placed: GroupNumbers, count: int) -> tuple[FloatArray, FloatArray]:
        """Errors and pairs (draws, groups) within groups, given those (draws, units) of units."""
        left, right = placed[:, self.left], placed[:, self.right]
        weights = np.column_stack([self.errors, self.pairs])
        sums = [((left == i) & (right == i)).astype(np.float64) @ weights for i in range(count)]
        both = np.stack(sums, axis=1)
        return both[..., 0], both[..., 1]


# ---- Errors drawn --------------------------------------------------------------------------------


def _drawn(
    pairs: PairSet, groups: IntArray, wrong: BoolArray, count: int, generator: np.random.Generator
) -> Tally:
    """Tallies (draws, groups) of errors drawn at the rate of all pairs within groups."""
    own = tally_of(groups, pairs.genuine, wrong, count)
    within = group_of_pairs(groups)
    found = []
    for genuine, errors, sizes in (
        (False, own.false_accepts, own.impostors),
        (True, own.false_rejects, own.genuine),
    ):
        kind = (pairs.genuine == genuine) & (within >= 0)
        effect = effect_within(pairs, kind, within, wrong.astype(np.float64))
        rate = float(errors.sum() / sizes.sum()) if sizes.sum() else 0.0
        found += [
            widened_binomial(sizes, rate, effect, _DRAWS, generator),
            np.tile(sizes, (_DRAWS, 1)),
        ]
    return Tally(*found)


def effect_within(pairs: PairSet, kind: BoolArray, within: IntArray, values: FloatArray) -> float:
    """Times by which shared people multiply the variance of the groups' means of ``values``
    (pairs,), over the pairs of a ``kind`` (pairs,), each of which is ``within`` a group.
    """
    if not kind.any():
        return 1.0
    group, own = within[kind], values[kind]
    means = np.bincount(group, own) / np.maximum(np.bincount(group), 1)
    return design_effect(own - means[group], sharing_of(pairs.images, pairs.people, kind))


def widened_binomial(
    trials: FloatArray, rate: float, effect: float, draws: int, generator: np.random.Generator
) -> FloatArray:
    """Counts (draws, groups) with the variance of the binomial times ``effect`` (beta-binomial)."""
    counts = trials.astype(np.int64)
    shape = (draws, len(counts))
    if rate in (0.0, 1.0) or effect <= 1:
        return generator.binomial(counts, rate, shape).astype(np.float64)
    # Of one trial nothing can be widened, of n at most n times.
    correlation = np.minimum((effect - 1) / np.maximum(counts - 1, 1), 1 - 1e-9)
    both = 1 / correlation - 1
    rates = generator.beta(rate * both, (1 - rate) * both, shape)
    return generator.binomial(counts, rates).astype(np.float64)


def dealt(
    draws: int, sizes: FloatArray, chosen: int, effect: float, generator: np.random.Generator
) -> FloatArray:
    """How many of each group (draws, groups) are among so many chosen of all, by luck, with
    ``effect`` times the variance: whole numbers that add up to as many: what two models could show.
    """

    def once() -> IntArray:
        return generator.multivariate_hypergeometric(
            sizes.astype(np.int64), chosen, size=draws, method="marginals"
        )

    found, left = once(), (effect - 1) / 2
    while left > 0:  # the difference of two deals has twice the variance of one, and adds up to 0
        taken = generator.uniform(size=(draws, 1)) < left
        found += taken * (once() - once())
        left -= 1
    return np.clip(found, 0, sizes)
