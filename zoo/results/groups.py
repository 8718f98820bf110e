"""Error rates of groups from stored scores, of each model and of every two."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.conditions.groups import Audit, FairnessDifference, audit_groups, compare_fairness
from evaluator.conditions.pairs import threshold_at_far
from evaluator.conditions.table import SlotTable, read_slot_table
from evaluator.errors import InputError, unknown_name
from evaluator.metrics.rates import Rates
from evaluator.results.choice import Contestant
from zoo.results.pooled import OfModel, Pooled, pool

IntArray = NDArray[np.int64]

# More groups than a table shows; ages and dates belong into classes first.
_MOST_GROUPS = 50

# What stands for an unknown value, as spreadsheets, R and pandas write it.
_UNKNOWN = frozenset({"", "na", "nan", "n/a", "none", "null", "unknown", "?"})


@dataclass(frozen=True, eq=False)
class Attribute:
    """A way to part images into groups: their ``names``, and the number of that of each slot of all
    pairs (2 x pairs,), -1 where it is unknown.
    """

    name: str
    groups: tuple[str, ...]
    of_slot: IntArray


@dataclass(frozen=True)
class ModelGroups:
    """A model at one threshold: ``far`` is what it was chosen for, None where it was given."""

    model: Contestant
    threshold: float
    far: float | None
    rates: Rates
    dropped: int
    missed: int
    audits: Mapping[str, Audit]


@dataclass(frozen=True)
class OfBins:
    """10-fold accuracies of a model on the bins, as RFW's tables have them; None: on some it has
    none.
    """

    label: str
    accuracies: tuple[float, ...]
    mean: float | None
    sd: tuple[float, float] | None
    ser: float | None


@dataclass(frozen=True)
class Fairness:
    """Which of two models is fairer, for each attribute; ``a`` and ``b`` are labels."""

    a: str
    b: str
    differences: Mapping[str, tuple[FairnessDifference, ...]]


@dataclass(frozen=True)
class GroupsReport:
    """All models' groups, every two models beside each other, and what is to be known of them."""

    bins: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    models: tuple[ModelGroups, ...]
    comparisons: tuple[Fairness, ...]
    of_bins: tuple[OfBins, ...]
    notes: tuple[str, ...]
    alpha: float


@dataclass(frozen=True, kw_only=True)
class GroupsAsked:
    """What is asked of the groups: the table ``by`` which they are told, or None for one a bin;
    attributes to ``cross``, "all" for every two; ``far`` or a ``threshold``.
    """

    by: Path | None = None
    cross: tuple[str, ...] = ()
    far: float = 0.01
    threshold: float | None = None
    alpha: float = 0.5
    seed: int = 0


def report_groups(models: Sequence[Contestant], asked: GroupsAsked) -> GroupsReport:
    """The groups of models' stored scores. Raises InputError for a wrong table, and for a FAR that
    the impostors cannot tell; ResultError for scores that are not there.
    """
    pooled = pool(models)
    notes = list(pooled.notes)
    attributes, of_bins = _attributes(pooled, asked, notes)
    found = [_of_model(each, attributes, asked) for each in pooled.models]
    comparisons = [
        _compared((pooled.models[i], pooled.models[j]), (found[i], found[j]), attributes, asked)
        for i, j in itertools.combinations(range(len(found)), 2)
    ]
    return GroupsReport(
        pooled.labels,
        attributes,
        tuple(found),
        tuple(comparisons),
        tuple(_of_bins(each, pooled) for each in pooled.models) if of_bins else (),
        tuple(notes),
        asked.alpha,
    )


def _of_model(own: OfModel, attributes: Sequence[Attribute], asked: GroupsAsked) -> ModelGroups:
    given = asked.threshold
    try:
        threshold = threshold_at_far(own.pairs, asked.far) if given is None else given
    except InputError as error:
        raise InputError(f"{own.model.label}: {error}") from None
    slots = np.repeat(own.kept, 2)
    audits = {
        each.name: audit_groups(
            own.pairs,
            each.of_slot[slots],
            each.groups,
            threshold,
            alpha=asked.alpha,
            seed=asked.seed,
        )
        for each in attributes
    }
    rates = own.pairs.rates_at(threshold)
    far = asked.far if given is None else None
    return ModelGroups(own.model, threshold, far, rates, own.dropped, own.missed, audits)


def _compared(
    models: tuple[OfModel, OfModel],
    found: tuple[ModelGroups, ModelGroups],
    attributes: Sequence[Attribute],
    asked: GroupsAsked,
) -> Fairness:
    """Two models on the pairs that both scored, each at its own threshold."""
    both = models[0].kept & models[1].kept
    own = [each.pairs.only(both[each.kept]) for each in models]
    wrong = own[0].wrong_at(found[0].threshold), own[1].wrong_at(found[1].threshold)
    slots = np.repeat(both, 2)
    return Fairness(
        models[0].model.label,
        models[1].model.label,
        {
            each.name: compare_fairness(
                own[0],
                each.of_slot[slots],
                each.groups,
                wrong,
                alpha=asked.alpha,
                seed=asked.seed,
            )
            for each in attributes
        },
    )


def _of_bins(own: OfModel, pooled: Pooled) -> OfBins:
    results = [own.model.results[each.sha256].result for each in pooled.records]
    found = tuple(
        float((each.figures or {})["kfold"]["accuracy"])
        for each in results
        if (each.figures or {}).get("kfold") is not None
    )
    if len(found) < len(results):
        return OfBins(own.model.label, found, None, None, None)
    best, worst = max(found), min(found)
    return OfBins(
        own.model.label,
        found,
        float(np.mean(found)),
        (float(np.std(found)), float(np.std(found, ddof=1))),
        (1 - worst) / (1 - best) if best < 1 else None,
    )


# ---- Attributes ----------------------------------------------------------------------------------


def _attributes(
    pooled: Pooled, asked: GroupsAsked, notes: list[str]
) -> tuple[tuple[Attribute, ...], bool]:
    """The attributes that are asked for, crossings last, and whether bins are the groups."""
    if asked.by is None:
        if asked.cross:
            raise InputError("--cross: goes with --by FILE.csv, whose columns it names")
        if len(pooled.labels) < 2:
            raise InputError(
                "expected --by FILE.csv, which says what group an image or a person is in, or two "
                f"bins or more, one a group; got {', '.join(pooled.labels)}"
            )
        return (Attribute("bin", pooled.labels, pooled.bin_of_slot),), True
    table = read_slot_table(asked.by, pooled.slot_names())
    notes += _notes(asked.by, table)
    own, unusable = {}, []
    for name, values in table.columns.items():
        found = _attribute(name, values)
        if isinstance(found, Attribute):
            own[name] = found
        else:
            unusable.append(f"{asked.by}: {found}")
    if not own:
        raise InputError("; ".join(unusable))
    notes += unusable
    crossings = [_crossed(each, own) for each in _crosses(asked.cross, tuple(own))]
    return (*own.values(), *crossings), False


def _notes(path: Path, table: SlotTable) -> list[str]:
    notes = []
    if table.strangers:
        notes.append(f"{path}: {table.strangers:,} of its names are not in these bins")
    if table.silent:
        notes.append(
            f"{path}: says nothing of {table.silent:,} slots; pairs with one have no group"
        )
    return notes


def _attribute(name: str, values: Sequence[str]) -> Attribute | str:
    """The groups of a column, or why it has none."""
    known = sorted({value for value in values if value.lower() not in _UNKNOWN})
    if len(known) > _MOST_GROUPS:
        return (
            f"column {name!r} has {len(known):,} values, where {_MOST_GROUPS} groups are the most; "
            "put them into classes"
        )
    if len(known) < 2:
        return f"column {name!r} has one group alone, {known[0] if known else ''!r}"
    number = {value: i for i, value in enumerate(known)}
    return Attribute(name, tuple(known), np.array([number.get(each, -1) for each in values]))


def _crosses(asked: Sequence[str], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The columns of each crossing."""
    found: list[tuple[str, ...]] = []
    for value in asked:
        if value == "all":
            found += itertools.combinations(names, 2)
            continue
        parts = tuple(part.strip() for part in value.split(","))
        for part in parts:
            if part not in names:
                raise InputError(
                    f"--cross {value}: no column {part!r}; {unknown_name(part, names)}"
                )
        if len(set(parts)) < 2:
            raise InputError(
                f"--cross {value}: expected two columns or more, as gender,age, or all"
            )
        found.append(parts)
    return list(dict.fromkeys(found))


def _crossed(names: Sequence[str], known: Mapping[str, Attribute]) -> Attribute:
    """The groups of which every value is one of a value of each attribute."""
    parts = [known[name] for name in names]
    there = np.all([each.of_slot >= 0 for each in parts], axis=0)
    number = np.zeros(len(there), np.int64)
    for each in parts:
        number = number * len(each.groups) + each.of_slot
    every = [" ".join(group) for group in itertools.product(*(each.groups for each in parts))]
    used, own = np.unique(number[there], return_inverse=True)
    if len(used) > _MOST_GROUPS:
        raise InputError(
            f"--cross {','.join(names)}: {len(used)} groups; {_MOST_GROUPS} are the most"
        )
    of_slot = np.full(len(there), -1, np.int64)
    of_slot[there] = own
    return Attribute(" x ".join(names), tuple(every[i] for i in used), of_slot)
