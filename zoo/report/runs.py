"""The training runs that reported models came out of: recipe, data, and what the log says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from evaluator.errors import InputError, cause_of, plain_name
from evaluator.results.check import is_count
from evaluator.results.choice import Contestant
from evaluator.results.epochs import epochs_in
from evaluator.results.stored import is_there
from training.recipes.recipe import Recipe, summary
from training.run.curves import (
    FIGURES,
    Line,
    Panel,
    Points,
    bins_of,
    draw_panel,
    number_of,
    run_panels,
    series_of,
    stage_starts,
)
from training.run.runs import RunError, RunFolder, read_data_record, read_log
from zoo.entries.registry import read_registry

# Width and height of what lies over one another; drawings of one run are smaller.
_LARGE = (480, 300)


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
        return bins_of(self.series)

    @property
    def panels(self) -> list[Panel]:
        """Its curves."""
        figure = self.recipe.verification.figure
        return run_panels(
            self.series, figure=figure, starts=self.starts, label=self.label, slot=self.slot
        )


@dataclass(frozen=True)
class Runs:
    """The runs found, by the order of the models, a line for each that cannot be read, and the
    accuracy of epochs that were evaluated, a drawing a bin.
    """

    found: tuple[Run, ...]
    unreadable: tuple[str, ...]
    kept: tuple[Panel, ...] = ()


def runs_of(contestants: Sequence[Contestant], *, also: Sequence[Contestant] = ()) -> Runs:
    """The runs that hold the reported models' files, unchanged since they were measured.

    Curves over epochs are of the models that are ``also`` there, too.
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
    return Runs(
        tuple(found.values()), tuple(unreadable), tuple(_epoch_panels([*contestants, *also]))
    )


def _epoch_panels(contestants: Sequence[Contestant]) -> list[Panel]:
    """For each bin the accuracy over the epochs of runs whose models were evaluated, a line a run;
    of several settings the first.
    """
    found: dict[str, list[tuple[str, tuple[tuple[int, float], ...]]]] = {}
    first = list({each.record.path: each for each in reversed(contestants)}.values())[::-1]
    for run in epochs_in([each.record.path for each in first]):
        points: dict[str, list[tuple[int, float]]] = {}
        for number, place in zip(run.numbers, run.places, strict=True):
            for stored in first[place].results.values():
                accuracy = (stored.result.figures or {}).get("accuracy")
                if accuracy is not None:
                    points.setdefault(stored.result.bin.name, []).append((number, accuracy))
        for name, own in points.items():
            found.setdefault(name, []).append((run.run, tuple(own)))
    panels = []
    for name, runs in found.items():
        lines = tuple(Line(run, slot % 12, points) for slot, (run, points) in enumerate(runs))
        words = f"{name}, accuracy"
        described = f"{words} by epoch of each run"
        panels.append(draw_panel(words, described, lines, (0.0, 1.0), size=_LARGE))
    return panels


def _run(slot: int, contestant: Contestant, folder: RunFolder) -> Run | None:
    """The run of that folder if its entry is of this very model. Raises InputError, OSError."""
    entries = read_registry(folder.entry).values()
    entry = next((each for each in entries if each.sha256 == contestant.record.sha256), None)
    if entry is None or entry.recipe is None:
        return None
    rows = read_log(folder)
    return Run(
        slot=slot,
        label=contestant.label,
        folder=folder.path,
        recipe=entry.recipe,
        data=_data(folder),
        series=series_of(rows),
        starts=stage_starts(rows),
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


def overlays(runs: Sequence[Run]) -> list[Panel]:
    """For each bin that runs were verified on, their figure over epochs, a line a run.

    The figure is the one that all runs chose their best by, else the accuracy.
    """
    verified = [run for run in runs if run.bins]
    figures = {run.recipe.verification.figure for run in verified}
    figure = figures.pop() if len(figures) == 1 else "accuracy"
    panels = []
    for name in dict.fromkeys(name for run in verified for name in run.bins):
        key = f"{name}_{figure}"
        lines = tuple(
            Line(run.label, run.slot, run.series[key], model=run.slot)
            for run in verified
            if key in run.series
        )
        if lines:
            title = f"{name}, {FIGURES[figure]}"
            described = f"{title} by epoch of each run"
            panels.append(draw_panel(title, described, lines, (0.0, 1.0), size=_LARGE))
    return panels
