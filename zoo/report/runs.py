"""The training runs that reported models came out of: recipe, data, and what the log says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from evaluator.errors import InputError, cause_of, plain_name
from evaluator.results.check import is_count
from evaluator.results.choice import Contestant
from evaluator.results.stored import is_there
from training.recipes.recipe import Recipe, summary
from training.run.curves import number_of
from training.run.runs import BIN_COLUMNS, RunError, RunFolder, read_data_record, read_log
from zoo.entries.registry import read_registry

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Run:
    """A run whose model is in the report. ``slot`` is the model's colour, ``series`` (epoch from
    1, value) by the log's column, ``starts`` the epochs at which its later stages begin.
    """

    slot: int
    label: str
    folder: Path
    recipe: Recipe
    data: dict[str, Any]
    series: dict[str, Points]
    starts: tuple[int, ...]
    epochs: int
    steps: int
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The recipe in a line for the model and one for each stage."""
        return summary(self.recipe)

    @property
    def source(self) -> str:
        """The name of the folder or file that it was trained on; no path, as a report is sent."""
        return PurePath(self.data.get("source", "")).name

    @property
    def bins(self) -> tuple[str, ...]:
        """The bins that it was verified on during training."""
        return tuple(key.removesuffix("_auc") for key in self.series if key.endswith("_auc"))


@dataclass(frozen=True)
class Runs:
    """The runs found, by the order of the models, and a line for each that cannot be read."""

    found: tuple[Run, ...]
    unreadable: tuple[str, ...]


def runs_of(contestants: Sequence[Contestant]) -> Runs:
    """The runs that hold the reported models' files, unchanged since they were measured.

    Settings of one model share a run. A model that is no run's, or whose file has gone, has none.
    """
    found: dict[str, Run] = {}
    unreadable = []
    for slot, each in enumerate(contestants):
        folder = RunFolder(Path(each.record.path).parent)
        if each.record.identity in found or not is_there(folder.entry) or not is_there(folder.log):
            continue
        try:
            run = _run(slot, each, folder)
        except (InputError, OSError) as error:
            unreadable.append(f"{each.label}: its run cannot be read: {cause_of(error)}")
            continue
        if run is not None:
            found[each.record.identity] = run
    return Runs(tuple(found.values()), tuple(unreadable))


def _run(slot: int, contestant: Contestant, folder: RunFolder) -> Run | None:
    """The run of that folder if its entry is of this very model. Raises InputError, OSError."""
    entries = read_registry(folder.entry).values()
    entry = next((each for each in entries if each.sha256 == contestant.record.sha256), None)
    if entry is None or entry.recipe is None:
        return None
    rows = read_log(folder)
    stages = [row.get("stage") for row in rows]
    return Run(
        slot=slot,
        label=contestant.label,
        folder=folder.path,
        recipe=entry.recipe,
        data=_data(folder),
        series=_series(rows),
        starts=tuple(i + 1 for i in range(1, len(rows)) if stages[i] != stages[i - 1]),
        epochs=len(rows),
        steps=int(number_of(rows[-1].get("step")) or 0) if rows else 0,
        seconds=sum(number_of(row.get("seconds")) or 0.0 for row in rows),
    )


def _data(folder: RunFolder) -> dict[str, Any]:
    """What of the record of a run's data is shown; each as a page may show it."""
    try:
        record = read_data_record(folder)
    except (RunError, OSError):
        return {}
    shown = {key: record[key] for key in ("images", "people") if is_count(record.get(key))}
    return {**shown, **{key: plain_name(record[key]) for key in ("source", "fingerprint")}}


def _series(rows: Sequence[dict[str, str]]) -> dict[str, Points]:
    """The columns that have a figure, each as (epoch from 1, value)."""
    bins = [key for key in (rows[0] if rows else {}) if key and key.endswith(_VERIFIED)]
    keys = ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")
    found = {}
    for key in (*keys, *(each for each in bins if each not in keys)):
        values = [(number, number_of(row.get(key))) for number, row in enumerate(rows, 1)]
        points = tuple((number, value) for number, value in values if value is not None)
        if points:
            found[key] = points
    return found


_VERIFIED = tuple(f"_{figure}" for figure in BIN_COLUMNS)
