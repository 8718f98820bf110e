"""What `zoo train` puts together: entry and settings -> recipe, data, bins, run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from evaluator.errors import InputError
from training.recipes.recipe import Recipe
from zoo.entries.lookup import RUN_ENTRY, bin_folders, bins_of_pairs, only_entry, resolve_model
from zoo.entries.registry import Entry, recipe_with
from zoo.terminal.words import error_text, note, shows_progress, warn


def parse_settings(values: Sequence[str]) -> dict[str, Any]:
    """``key=value`` options as a mapping, each value read as YAML. Raises InputError."""
    settings = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise InputError(f"--set {value}: expected key=value, as in model.backbone=iresnet50")
        try:
            settings[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {value}: the value is not YAML; quote it") from None
    return settings


def entry_recipe(entry: Entry, settings: dict[str, Any]) -> Recipe:
    """The entry's recipe with the settings. Raises InputError."""
    if entry.recipe_source is None:
        raise InputError(f"entry {entry.name!r} has no recipe: its models.yaml says how to add one")
    return recipe_with(entry.recipe_source, settings)


def with_start_found(recipe: Recipe, entries: Mapping[str, Entry]) -> Recipe:
    """The recipe with the file of ``model.start``, which may be an entry's name, a run's folder or
    a model file, as ``zoo eval`` takes them.

    Raises InputError where it is none of these, where an entry's weights are not there, and where
    the entry or run takes other pixels than the recipe gives it.
    """
    start = recipe.model.start
    if start is None:
        return recipe
    try:
        found = resolve_model(start, entries)
    except InputError as error:
        raise InputError(f"model.start: {error}") from None
    for key in ("profile", "channels") if found.entry else ():
        trained, given = getattr(found.entry, key), getattr(recipe.preprocess, key)
        if trained != given:
            raise InputError(
                f"model.start {start}: was trained with preprocess.{key} {trained}, and the recipe "
                f"has {given}: set preprocess.{key}={trained}"
            )
    return replace(recipe, model=replace(recipe.model, start=str(found.path)))


def run_entry(folder: Path) -> Entry:
    """The entry in a run's folder. Raises InputError if there is none."""
    if not (folder / RUN_ENTRY).is_file():
        raise InputError(f"{folder}: no run to resume: it has no {RUN_ENTRY}; start it first")
    return only_entry(folder)


def written_embedding(checkpoint: Path, folder: Path) -> tuple[Path, Recipe]:
    """The embedding model of a run's ``checkpoints/last.npz`` or ``best.npz``, as a ``.keras`` file
    in ``folder``, and the run's recipe. Raises InputError, OSError.
    """
    from training.loop.restored import restored_embedding

    recipe, model = restored_embedding(checkpoint)
    path = folder / f"{checkpoint.stem}.keras"
    model.save(path)
    return path, recipe


def run_rows(folder: Path) -> list[list[str]]:
    """A header and a row for each run in the folder: steps, state and its best verification.

    A run whose checkpoint cannot be read is named on stderr, and has no figures. Raises InputError
    for a folder that is not there.
    """
    from training.run.checkpoints import CheckpointError, read_state
    from training.run.runs import RunFolder

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; runs are where zoo train --run put them")
    rows = [["run", "steps", "best", "at_step", "state", "model"]]
    for path in sorted(folder.iterdir()):
        if not (path / RUN_ENTRY).is_file():
            continue
        run = RunFolder(path)
        model = "here" if run.model.is_file() else "missing"
        if not run.last.is_file():
            rows.append([path.name, "0", "-", "-", "started", model])
            continue
        try:
            state = read_state(run.last)
        except (CheckpointError, OSError) as error:
            warn(f"{path}: its checkpoint cannot be read: {error_text(error)}")
            rows.append([path.name, "-", "-", "-", "unreadable", model])
            continue
        best = "-" if state["best"] is None else f"{100 * state['best']:.2f}"
        done = "finished" if state["finished"] else "unfinished"
        at = "-" if state["best_step"] is None else str(state["best_step"])
        rows.append([path.name, str(state["steps_done"]), best, at, done, model])
    return rows


def epoch_rows(folder: Path) -> list[list[str]]:
    """A header and a row for each epoch of a run: losses, accuracy on the images held back and of
    each bin, in %, and the model kept of it. Raises RunError, OSError.
    """
    from training.run.curves import number_of
    from training.run.runs import RunFolder, read_log

    run = RunFolder(folder)
    log = read_log(run)
    kept = {place.epoch: run.kept(place).name for place in run.all_kept() if place.step is None}
    shares = [key for key in (log[0] if log else {}) if key.endswith("accuracy")]
    rows = [["epoch", "step", "loss", *(key.removesuffix("_accuracy") for key in shares), "kept"]]
    for number, row in enumerate(log, 1):
        values = [
            (number_of(row.get("loss")), 1.0),
            *((number_of(row.get(key)), 100.0) for key in shares),
        ]
        cells = ["-" if value is None else f"{value * by:.4g}" for value, by in values]
        rows.append(
            [str(number), f"{number_of(row.get('step')) or 0:.0f}", *cells, kept.get(number, "-")]
        )
    return rows


def training_bins(asked: Sequence[str], recipe: Recipe, data: Path) -> list[Path]:
    """The bins to verify on: those asked for, which must be there, or those of the recipe that
    are, with a line about the others. Bins are also looked for beside the training data.
    """
    beside = data if data.is_dir() else data.parent
    folders = bin_folders([beside] if beside.is_dir() else [])
    names = [part for value in asked for part in value.split(",") if part]
    if names:
        return bins_of_pairs(names, folders, {})
    found, missing = [], []
    for name in recipe.verification.bins:
        try:
            found += bins_of_pairs([name], folders, {})
        except InputError:
            missing.append(name)
    if missing:
        looked = ", ".join(str(folder) for folder in folders)
        warn(
            f"not verified on {', '.join(missing)}: no such bin in {looked}; "
            "name bins with --bins, or their folder in $ZOO_DATA"
        )
    return found


class TrainingProgress:
    """One line on stderr with loss, accuracy, images/s and time left, in a terminal only; nothing
    at all, not even whole lines, where it is ``silent``.
    """

    def __init__(self, *, silent: bool = False) -> None:
        """A line that appears with the first step."""
        console = Console(stderr=True, quiet=silent)
        self._silent = silent
        self._terminal = shows_progress() and not silent
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            disable=not self._terminal,
        )
        self._task: Any = None

    def __enter__(self) -> TrainingProgress:
        """Shows the line."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Takes the line away."""
        self._bar.stop()

    def step(self, step: Any) -> None:
        """What is shown after a step (a ``training.loop.session.Step``)."""
        if not self._terminal:
            return
        minutes, seconds = divmod(int(step.seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        figures = (
            f"step {step.done}/{step.total}  loss {step.loss:.4f}  accuracy {step.accuracy:.4f}  "
            f"{step.images_per_second:,.0f} images/s  {hours}:{minutes:02d}:{seconds:02d} left"
        )
        title = f"stage {step.stage + 1}, epoch {step.epoch + 1}/{step.epochs}"
        if self._task is None:
            self._task = self._bar.add_task(title, total=step.total, figures=figures)
        self._bar.update(self._task, description=title, completed=step.done, figures=figures)

    def say(self, line: str) -> None:
        """A whole line, above the bar; markup in it is not read."""
        if self._terminal:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif not self._silent:
            note(line)
