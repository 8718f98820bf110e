"""What the models of a table cost, beside their figures: and which nobody beats on both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.results.choice import Contestant, Variant
from evaluator.results.cost import Cost, costs_of
from evaluator.statistics.pair_tests import SIGNIFICANCE
from zoo.results.cost_text import amount, milliseconds, where_words
from zoo.results.ranking import Place

Key = tuple[str, str, Variant]
#: What a model may cost, by the names of JSON and the headings of tables.
MEASURES = {"parameters": "parameters", "macs": "MACs", "image_seconds": "ms/image"}


@dataclass(frozen=True)
class ModelCost:
    """What a row of a table costs, by the keys of ``MEASURES``, None where that is not known;
    ``unbeaten`` are those by which no model is shown to be better and costs no more.
    """

    values: Mapping[str, float | None]
    unbeaten: frozenset[str] = frozenset()

    @property
    def cells(self) -> list[str]:
        """As a table shows it, with a star where nobody beats it."""
        parameters, macs, seconds = self.values.values()
        shown = [
            amount(None if parameters is None else int(parameters)),
            amount(None if macs is None else int(macs)),
            "-" if seconds is None else milliseconds(seconds),
        ]
        return [
            f"{cell} *" if name in self.unbeaten else cell
            for name, cell in zip(MEASURES, shown, strict=True)
        ]

    def to_dict(self) -> dict[str, object]:
        """Its JSON object."""
        return {**self.values, "unbeaten": sorted(self.unbeaten)}


_UNKNOWN = ModelCost(dict.fromkeys(MEASURES))


@dataclass(frozen=True, eq=False)
class Costs:
    """The costs of a table's models by their keys. ``conditions`` are those of all times, None
    where there are none; ``problems`` name what cannot be read.
    """

    models: Mapping[Key, ModelCost]
    conditions: Cost | None
    problems: tuple[str, ...]

    def of(self, model: Contestant) -> ModelCost:
        """What a model costs."""
        return self.models.get(model.key, _UNKNOWN)

    @property
    def caption(self) -> str:
        """What the columns are, in sentences."""
        if not self.models:
            return "No costs of these models are stored: zoo cost MODEL measures them."
        said = "Costs are of an image, of both passes where it is mirrored. "
        if (timed := self.conditions) is not None:
            said += f"ms/image: in batches of {timed.batch:,}, {where_words(timed)}. "
        return said + (
            "*: no model here is shown to be better and costs no more (5 %, as the ranks are)."
        )


# ---- The columns of a table; None are costs that were not asked for -----------------------------


def cost_headings(costs: Costs | None) -> tuple[str, ...]:
    """The headings of the columns."""
    return () if costs is None else tuple(MEASURES.values())


def cost_cells(costs: Costs | None, model: Contestant | None) -> tuple[str, ...]:
    """A model's cells; of a published one, of which no cost is known, dashes."""
    if costs is None:
        return ()
    return ("-",) * 3 if model is None else tuple(costs.of(model).cells)


def exact_costs(costs: Costs | None, model: Contestant | None) -> dict[str, object]:
    """A model's costs at full precision, by their names in JSON; None for what is unknown."""
    if costs is None:
        return {}
    return dict.fromkeys((*MEASURES, "unbeaten")) if model is None else costs.of(model).to_dict()


# ---- Read ----------------------------------------------------------------------------------------


def read_costs_of(
    folders: Iterable[Path],
    models: Sequence[Contestant],
    places: Sequence[Place | None],
    p_values: Sequence[Sequence[float]],
) -> Costs:
    """The stored costs of a table's models, and which of the ranked ones nobody beats.

    ``places`` and ``p_values`` are as for ``beating``. Times are all under one set of conditions,
    the one that most models have; of several, that of the smallest batch.
    """
    problems: list[str] = []
    own: list[list[Cost]] = []
    for model in models:
        read = [costs_of(folder, (model.name, model.identity)) for folder in folders]
        found = [each for costs, _ in read for each in costs if _is_of(each, model)]
        own.append(sorted(found, key=lambda each: each.measured, reverse=True))
        problems += [line for _, lines in read for line in lines]
    conditions = _shared_conditions(own)
    values = [_values(model, costs, conditions) for model, costs in zip(models, own, strict=True)]
    ranked = [
        each if place is not None else _UNKNOWN.values
        for each, place in zip(values, places, strict=True)
    ]
    beats = beating(places, p_values)
    unbeaten = {name: unbeaten_by([each[name] for each in ranked], beats) for name in MEASURES}
    costs = {
        model.key: ModelCost(values[i], frozenset(n for n, found in unbeaten.items() if found[i]))
        for i, model in enumerate(models)
        if own[i]
    }
    return Costs(costs, conditions, tuple(dict.fromkeys(problems)))


def unbeaten_by(
    costs: Sequence[float | None], beats: Callable[[int, int], bool]
) -> tuple[bool, ...]:
    """For each model of known cost, whether no other of known cost beats it and costs no more.

    A model that cannot be told from a cheaper one stays: nobody is shown to be better.
    """
    known = [(i, cost) for i, cost in enumerate(costs) if cost is not None]
    return tuple(
        cost is not None and not any(other <= cost and beats(j, i) for j, other in known if j != i)
        for i, cost in enumerate(costs)
    )


def beating(
    places: Sequence[Place | None], p_values: Sequence[Sequence[float]]
) -> Callable[[int, int], bool]:
    """Whether one of a table's ranked models is shown to be better than another, by their index.

    ``places`` are in the table's order, the best first; None for a model that is not ranked on all
    bins, which neither beats nor is beaten. Models beyond those of ``p_values`` go by their ranks.
    """

    def beats(i: int, j: int) -> bool:
        one, other = places[i], places[j]
        if one is None or other is None or i > j:
            return False
        if j < len(p_values):
            return p_values[i][j] < SIGNIFICANCE
        return one.worst < other.best

    return beats


def _is_of(cost: Cost, model: Contestant) -> bool:
    """Whether a cost is of a model as it was measured: its engine, precision and size of input."""
    given = model.record.input.get("size")
    variant = model.variant
    same = (cost.engine, cost.precision) == (variant.engine, variant.precision)
    return same and (given is None or list(cost.size) == list(given))


def _shared_conditions(own: Sequence[Sequence[Cost]]) -> Cost | None:
    """A cost under the conditions that most models have, engine and precision apart."""
    every = [each for costs in own for each in costs]
    count = [sum(any(o.where == each.where for o in costs) for costs in own) for each in every]
    # One image at a time is what a door or a phone does: first of those that are as common.
    order = [(n, -each.batch, each.measured) for n, each in zip(count, every, strict=True)]
    return every[order.index(max(order))] if every else None


def _values(
    model: Contestant, costs: Sequence[Cost], conditions: Cost | None
) -> dict[str, float | None]:
    if not costs or conditions is None:
        return dict.fromkeys(MEASURES)
    times = 2 if model.variant.flip == "sum" else 1
    last = max(costs, key=lambda each: each.measured)
    timed = [each.image_seconds for each in costs if each.where == conditions.where]
    return {
        "parameters": last.parameters,
        "macs": None if last.macs is None else times * last.macs,
        "image_seconds": times * timed[0] if timed else None,
    }
