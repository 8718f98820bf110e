"""Error rates of groups of people at one threshold, how unequal they are, and whether by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.conditions.chance import (
    Chance,
    dealt,
    effect_within,
    equal_groups,
    group_of_pairs,
    tally_of,
)
from evaluator.conditions.group_measures import MEASURES, Measure, Tally
from evaluator.conditions.pairs import PairSet
from evaluator.metrics.rates import Rates
from evaluator.statistics.pair_tests import SIGNIFICANCE, holm_p_values

_ROUNDING = 1e-9
_PAIRED_DRAWS = 4999


@dataclass(frozen=True)
class GroupRates:
    """The rates within a group; ``people`` is None where they are not known."""

    name: str
    people: int | None
    images: int | None
    rates: Rates


@dataclass(frozen=True)
class Unequal:
    """A measure's ``value`` beside what equal groups show: its ``median``, and what it is as unfair
    as in 5 % of draws (``extreme``); ``p_value`` is of as unfair a value. None where it is
    undefined, for the reason that ``why`` gives.
    """

    measure: Measure
    value: float | None
    median: float | None
    extreme: float | None
    p_value: float | None
    why: str = ""


@dataclass(frozen=True)
class Tested:
    """Whether the groups' rates differ at all: p-values of FMR and FNMR, corrected by Holm for
    being two; None for a rate that fewer than two groups have enough pairs for.
    """

    fmr: float | None
    fnmr: float | None

    @property
    def differ(self) -> tuple[str, ...]:
        """The rates that differ beyond chance."""
        named = {"FMR": self.fmr, "FNMR": self.fnmr}
        return tuple(name for name, p in named.items() if p is not None and p < SIGNIFICANCE)

    @property
    def verdict(self) -> str:
        """In words."""
        if self.fmr is None and self.fnmr is None:
            return "cannot tell: too few pairs in the groups"
        if not self.differ and None in (self.fmr, self.fnmr):
            told, untold = ("FNMR", "FMR") if self.fmr is None else ("FMR", "FNMR")
            return f"no difference in {told} beyond chance, too few pairs for {untold}"
        if not self.differ:
            return "no difference between groups beyond chance"
        return f"{' and '.join(self.differ)} differ{'s' * (len(self.differ) == 1)} between groups"


@dataclass(frozen=True, eq=False)
class Audit:
    """What is known of an attribute's groups at a threshold. ``cross`` are the pairs of two groups,
    ``unknown`` how many pairs have a slot without one; ``too_few`` names the groups that measures
    leave out, with why. ``how`` says how chance was drawn.
    """

    groups: tuple[GroupRates, ...]
    cross: Rates
    unknown: int
    measures: tuple[Unequal, ...]
    tested: Tested
    too_few: tuple[str, ...]
    how: str


def audit_groups(
    pairs: PairSet,
    groups: IntArray,
    names: Sequence[str],
    threshold: float,
    *,
    alpha: float = 0.5,
    seed: int = 0,
) -> Audit:
    """The rates of each group at a threshold, the measures of all, and chance beside them.

    ``groups`` (2 x pairs,) number the name of the group in each slot, -1 where it is unknown. A
    pair is a group's only if both its slots are. Groups of whose pairs the rate of all would get
    less than one wrong have no part in measures of that rate. ``alpha`` weighs FMR in GARBE, FDR
    and IR. The threshold is taken as given: intervals and p-values do not hold its own luck.
    """
    within = group_of_pairs(groups)
    wrong = pairs.wrong_at(threshold)
    tally = tally_of(groups, pairs.genuine, wrong, len(names))
    usable, too_few = _usable(tally, _rates_of_all(pairs, wrong), names)
    chance = equal_groups(pairs, groups, wrong, len(names), seed)
    unknown = (groups[0::2] < 0) | (groups[1::2] < 0)
    return Audit(
        groups=tuple(
            _rates_within(pairs, within == i, name, threshold) for i, name in enumerate(names)
        ),
        cross=pairs.only((within < 0) & ~unknown).rates_at(threshold),
        unknown=int(unknown.sum()),
        measures=tuple(_unequal(each, tally, chance, usable, alpha) for each in MEASURES),
        tested=differences(tally, chance, usable),
        too_few=too_few,
        how=chance.how,
    )


def _rates_within(pairs: PairSet, own: BoolArray, name: str, threshold: float) -> GroupRates:
    inside = pairs.only(own)
    people, images = (
        None if slots is None else len(np.unique(slots)) for slots in (inside.people, inside.images)
    )
    return GroupRates(name, people, images, inside.rates_at(threshold))


def _rates_of_all(pairs: PairSet, wrong: BoolArray) -> dict[str, float]:
    """FMR and FNMR of all pairs, whoever is in them."""
    classes = {"fmr": ~pairs.genuine, "fnmr": pairs.genuine}
    return {name: float(wrong[own].mean()) if own.any() else 0.0 for name, own in classes.items()}


def _usable(
    tally: Tally, rates: dict[str, float], names: Sequence[str]
) -> tuple[dict[str, BoolArray], tuple[str, ...]]:
    """Which groups have enough pairs for measures of each rate, and words on those that do not."""
    pairs = {"fmr": tally.impostors, "fnmr": tally.genuine}
    usable = {name: pairs[name] * rates[name] >= 1 - 1e-9 for name in rates}
    usable["wrong"] = usable["fmr"] & usable["fnmr"]
    kinds = {"fmr": "impostor", "fnmr": "genuine"}
    return usable, tuple(
        f"{names[i]}: too few for {name.upper()}, {int(pairs[name][i]):,} {kinds[name]} pairs at "
        f"{rates[name]:.2g} are {pairs[name][i] * rates[name]:.2g} errors"
        for name in rates
        for i in map(int, np.flatnonzero(~usable[name]))
    )


def _unequal(
    measure: Measure, tally: Tally, chance: Chance, usable: dict[str, BoolArray], alpha: float
) -> Unequal:
    value, why = measure_of(measure, tally, usable, alpha)
    if value is None:
        return Unequal(measure, None, None, None, None, why)
    drawn = measure.on(chance.tally, usable, alpha)
    drawn = drawn[~np.isnan(drawn)]  # a draw may leave a group without pairs
    worse = measure.turned * drawn
    p_value = _share_as_extreme(worse, measure.turned * value)
    ends = np.quantile(worse, [0.5, 0.95], method="inverted_cdf") if len(worse) else [np.nan] * 2
    median, extreme = (measure.turned * float(each) for each in ends)
    return Unequal(measure, value, median, extreme, p_value)


def measure_of(
    measure: Measure, tally: Tally, usable: dict[str, BoolArray], alpha: float
) -> tuple[float | None, str]:
    """The value of a measure on tallies (groups,), or None and why there is none."""
    for name in measure.rates:
        if usable[name].sum() < 2:
            return None, "too few"
        if measure.ratio and bool((getattr(tally, name)[usable[name]] == 0).any()):
            return None, "a group without errors"
    return float(measure.on(tally, usable, alpha)), ""


def differences(tally: Tally, chance: Chance, usable: dict[str, BoolArray]) -> Tested:
    """Whether rates differ: Pearson's chi-square of the groups beside that of equal groups."""
    found = {}
    for name, parts in {
        "fmr": ("false_accepts", "impostors"),
        "fnmr": ("false_rejects", "genuine"),
    }.items():
        if usable[name].sum() < 2:
            continue
        own, drawn = (
            _spread(*(getattr(each, part)[..., usable[name]] for part in parts))
            for each in (tally, chance.tally)
        )
        found[name] = _share_as_extreme(drawn, float(own))
    corrected = dict(zip(found, holm_p_values(list(found.values())), strict=True))
    return Tested(corrected.get("fmr"), corrected.get("fnmr"))


def _spread(errors: FloatArray, pairs: FloatArray) -> FloatArray:
    """Pearson's chi-square of the groups' rates (..., groups)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (errors.sum(axis=-1) / pairs.sum(axis=-1))[..., None]
        parts = (errors - pairs * rate) ** 2 / (pairs * rate * (1 - rate))
    found: FloatArray = np.nan_to_num(parts, nan=0.0).sum(axis=-1)
    return found


def _share_as_extreme(drawn: FloatArray, value: float) -> float:
    """The share of draws that are as high, the value itself counted as one of them."""
    reach = value - _ROUNDING * max(1.0, abs(value))
    return float((1 + (drawn >= reach).sum()) / (1 + len(drawn)))


# ---- Two models ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FairnessDifference:
    """A measure of two models on the same pairs; ``p_value`` is two-sided. ``fairer`` is "a", "b"
    or None where it may be luck. Values are None where the measure is undefined for a model, the
    p-value also where luck has nothing to deal: one model alone errs where just one does.
    """

    measure: Measure
    a: float | None
    b: float | None
    p_value: float | None

    @property
    def fairer(self) -> str | None:
        """Which model is fairer by this measure, if any."""
        if self.a is None or self.b is None or self.p_value is None:
            return None
        if self.p_value >= SIGNIFICANCE:
            return None
        return "b" if (self.b - self.a) * self.measure.turned < 0 else "a"


def compare_fairness(
    pairs: PairSet,
    groups: IntArray,
    names: Sequence[str],
    wrong: tuple[BoolArray, BoolArray],
    *,
    alpha: float = 0.5,
    seed: int = 0,
) -> tuple[FairnessDifference, ...]:
    """Whether model B is fairer than A, or less so, by each measure, on the pairs that both scored.

    ``wrong`` are the pairs (pairs,) that A and B decide wrongly, each at its own threshold. Where
    just one of them errs, luck decides in which group it is A and in which B, as often in all as
    they do: so that a model that errs less everywhere is not fairer for it. This is drawn without
    replacement, for impostors and genuine pairs, and widened as people in several pairs widen the
    variance of the difference.
    """
    within = group_of_pairs(groups)
    generator = np.random.default_rng(seed)
    tallies = [tally_of(groups, pairs.genuine, each, len(names)) for each in wrong]
    rates = [_rates_of_all(pairs, each) for each in wrong]
    both, _ = _usable(tallies[0], {k: min(each[k] for each in rates) for k in rates[0]}, names)
    drawn = [_swapped(pairs, within, wrong, genuine, len(names), generator) for genuine in (0, 1)]
    swapped = [
        Tally(drawn[0][side], tallies[0].impostors, drawn[1][side], tallies[0].genuine)
        for side in (0, 1)
    ]
    found = []
    for measure in MEASURES:
        a, b = (measure_of(measure, each, both, alpha)[0] for each in tallies)
        p_value = None
        if a is not None and b is not None:
            with np.errstate(invalid="ignore"):
                apart = np.subtract(*(measure.on(each, both, alpha) for each in swapped))
            # Two infinite ratios say nothing of which is larger.
            apart = apart[~np.isnan(apart)]
            sides = _share_as_extreme(apart, a - b), _share_as_extreme(-apart, b - a)
            if abs(a - b) <= _ROUNDING or not np.allclose(apart, a - b, rtol=0, atol=_ROUNDING):
                p_value = min(1.0, 2 * min(sides))
        found.append(FairnessDifference(measure, a, b, p_value))
    return tuple(found)


def _swapped(
    pairs: PairSet,
    within: IntArray,
    wrong: tuple[BoolArray, BoolArray],
    genuine: int,
    count: int,
    generator: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Errors (draws, groups) of both models, had luck decided whose each single error is."""
    kind = (pairs.genuine == bool(genuine)) & (within >= 0)
    effect = effect_within(pairs, kind, within, wrong[1].astype(np.float64) - wrong[0])

    def counted(those: BoolArray) -> FloatArray:
        return np.bincount(within[kind & those], minlength=count).astype(np.float64)

    single, shared = counted(wrong[0] ^ wrong[1]), counted(wrong[0] & wrong[1])
    of_a = dealt(_PAIRED_DRAWS, single, int(counted(wrong[0] & ~wrong[1]).sum()), effect, generator)
    return shared + of_a, shared + single - of_a
