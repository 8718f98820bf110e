"""Runs from Python: trained as `zoo train` does it, and read with the models they kept."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import yaml

import evaluator
from evaluator.bins.verification_set import VerificationSet, read_bin
from evaluator.errors import InputError, cause_of
from evaluator.files import read_bounded
from training.api.models import load_model
from training.data.sources.digits import digit_faces
from training.data.sources.faces import FaceSet
from training.data.sources.shards import open_training_faces
from training.loop.session import Reporter
from training.loop.whole_run import RunJob, carry_out
from training.processes.devices import check_devices, check_triplets_fit
from training.recipes.parts import Recipe, RecipeError, fail_in
from training.recipes.recipe import parse_recipe, to_plain
from training.recipes.registry import found, imported
from training.run.curves import number_of
from training.run.runs import (
    COUNTS,
    RunEntry,
    RunFolder,
    check_new_run,
    check_resumable,
    only_entry,
    read_entry,
    read_log,
)

_LARGEST_RECIPE = 1_000_000


@dataclass(frozen=True)
class Checkpoint:
    """A model that a run has kept: of the end of ``epoch`` (from 1 on, over all stages), which was
    the run's ``step``, or of a step within it. ``path`` is that of the embedding model.
    """

    epoch: int
    step: int | None
    path: Path
    pixels: Mapping[str, str] = field(repr=False, default_factory=dict)

    def load(self) -> keras.Model:
        """The embedding model, float32: images (n, height, width, channels) to (n, size)."""
        return load_model(self.path)

    def load_whole(self) -> keras.Model:
        """The whole model as it was trained, compiled: head, centers and optimizer are in it.

        Raises:
            InputError: the recipe did not say ``keep_whole``.
        """
        path = self.path.with_name(f"{self.path.stem}-whole.keras")
        if not path.is_file():
            raise InputError(f"{path}: is not there; keep_whole: true in a recipe has it written")
        return load_model(path)

    def evaluate(self, bins: Any, **options: Any) -> evaluator.Evaluation:
        """`evaluator.evaluate` of the embedding model on the pixels it was trained on; ``options``
        are those of that function. The model is called run-name and epoch.
        """
        name = f"{self.path.absolute().parent.parent.name}-{self.path.stem}"
        return evaluator.evaluate(self.path, bins, **{"name": name, **self.pixels, **options})


@dataclass(frozen=True)
class Run:
    """A run's folder as it was when it was read.

    ``recipe`` is plain data with every default written out; ``log`` has a row an epoch, from the
    first, by the columns of log.csv: counts are ints (``stage`` and ``epoch`` from 0), figures
    floats, None where there is none. ``checkpoints`` are the models kept, in the order of training.
    """

    path: Path
    recipe: dict[str, Any] = field(repr=False)
    log: list[dict[str, float | int | None]] = field(repr=False)
    checkpoints: tuple[Checkpoint, ...] = field(repr=False)

    def model(self) -> keras.Model:
        """The embedding model that the run exported: its best, or its last, as the recipe says."""
        return load_model(RunFolder(self.path).model)


def load_run(path: str | Path) -> Run:
    """The run in a folder that `train` or ``zoo train`` has written, finished or not.

    Raises:
        RunError: it holds no run, or a file of another content.
        RecipeError: the recipe is of no use.
        OSError: a file cannot be read.
    """
    folder = RunFolder(Path(path))
    _, recipe = read_entry(folder)
    log = [{key: _cell(key, text) for key, text in row.items()} for row in read_log(folder)]
    pixels = {"input": recipe.preprocess.profile}
    if recipe.preprocess.channels != "gray":
        pixels["channels"] = recipe.preprocess.channels
    checkpoints = []
    for place in folder.all_kept():
        step = place.step
        if step is None and place.epoch <= len(log):
            ended = log[place.epoch - 1].get("step")
            step = None if ended is None else int(ended)
        checkpoints.append(Checkpoint(place.epoch, step, folder.kept(place), pixels))
    return Run(folder.path, to_plain(recipe), log, tuple(checkpoints))


def train(
    recipe: Mapping[str, Any] | str | Path,
    data: str | Path | None,
    run: str | Path,
    *,
    bins: str | Path | VerificationSet | Sequence[str | Path | VerificationSet] = (),
    resume: bool = False,
    custom: Sequence[str | ModuleType] = (),
    log: Sequence[str] | None = None,
    devices: str = "auto",
    verbose: int = 1,
) -> Run:
    """Trains a recipe into the folder ``run`` as ``zoo train`` does, and returns what it left.

    ``recipe`` is plain data, a YAML file of it, or a run's folder, whose recipe is taken; ``data``
    a folder of a folder per person, a ``.rec`` file or TFRecord shards, None where the recipe has
    its own (``data.source``). After each epoch ``bins`` are verified. ``resume`` goes on from the
    last checkpoint of a run with this recipe and data. ``custom`` are modules that register names
    of the recipe; one that has done so in this process need not be named. ``log`` names what gets
    the rows of the log besides log.csv: ``tensorboard``, ``wandb``, ``mlflow``; None is the first,
    where its writer is installed. ``verbose`` 0 prints nothing.

    Raises:
        RecipeError: the recipe is wrong; the message has the key.
        RunError: the folder is not empty, or resumed with another recipe or other data.
        DivergedError: the loss is no number any more; the last checkpoint is whole.
        InputError: data or bins cannot be used.
        OSError: a file cannot be read or written.
    """
    folder = RunFolder(Path(run))
    checked = _recipe(recipe, custom)
    if not resume:
        check_new_run(folder.path)
    faces = _faces(checked, data)
    if resume:
        check_resumable(folder, checked, faces, read_entry(folder)[1])
    given = [bins] if isinstance(bins, str | Path | VerificationSet) else bins
    sets = [each if isinstance(each, VerificationSet) else read_bin(Path(each)) for each in given]
    check_triplets_fit(checked, check_devices(devices))
    words = f"training.train, on {len(faces)} images of {len(faces.names)} people"
    name = folder.path.resolve().name
    job = RunJob(
        recipe=checked,
        faces=faces,
        folder=folder,
        entry=RunEntry(name=name, base=name, source=words, notes=""),
        sets=sets,
        resume=resume,
        logs=log,
        devices=devices,
    )
    carry_out(job, Reporter(print) if verbose else Reporter())
    return load_run(folder.path)


def _faces(recipe: Recipe, data: str | Path | None) -> FaceSet:
    if recipe.data.source != "none":
        return digit_faces(recipe.data.source)
    if data is None:
        raise InputError("data: expected a folder per person, a .rec file or shards; found None")
    return open_training_faces(Path(data))


def _recipe(given: Mapping[str, Any] | str | Path, custom: Sequence[str | ModuleType]) -> Recipe:
    stamps = imported(custom)
    where, plain = "recipe", given
    if isinstance(given, str | Path):
        path = Path(given)
        path = RunFolder(path).entry if path.is_dir() else path
        where = str(path)
        try:
            plain = yaml.safe_load(read_bounded(path, _LARGEST_RECIPE))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise RecipeError(f"{path}: not YAML ({cause_of(error)})") from None
        if isinstance(plain, Mapping) and "models" in plain:
            plain = only_entry(path)[1]["recipe"]

    if stamps and isinstance(plain, Mapping):
        plain = {**plain, "custom": stamps}
    checked = parse_recipe(plain, fail_in(where))
    made = [found("backbone", checked.model.backbone)]
    for stage in checked.stages:
        made += [found("loss", stage.loss.name), found("optimizer", stage.optimizer.name)]
    modules = [module for each in made if each and (module := inspect.getmodule(each)) is not None]
    return (
        checked
        if checked.custom or not modules
        else replace(checked, custom=tuple(dict.fromkeys(imported(modules))))
    )


def _cell(key: str, text: str) -> float | int | None:
    value = number_of(text)
    return int(value) if value is not None and key in COUNTS else value
