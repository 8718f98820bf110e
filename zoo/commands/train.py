"""`zoo train`: an entry's recipe, from names to a run's folder and its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evaluator.bins import VerificationSet
    from training.data.faces import FaceSet
    from training.recipes import Recipe
    from training.runs import RunFolder
    from zoo.registry import Entry


def train_entry(
    name: Annotated[str, typer.Argument(metavar="ENTRY", help="A name that zoo list shows.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Training faces: a folder per person, a .rec file, or the folder that holds one. "
            "--resume knows it.",
        ),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE...",
            help="Change the recipe: model.backbone=iresnet50 stages.0.epochs=2 batch=64.",
        ),
    ] = None,
    bins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Bins to verify on during training; takes every value up to the next option. "
            "Default: the recipe's, where they are found.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder. Default: runs/ENTRY.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Print steps, memory, disk and expected time; train nothing."),
    ] = False,
    devices: Annotated[
        str, typer.Option(help="auto, cpu, gpu, or a number of them: gpu:2.")
    ] = "auto",
    registry: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another models.yaml ($ZOO_MODELS does the same)."),
    ] = None,
) -> None:
    """Train an entry's recipe into a run's folder, which is an entry itself.

    zoo train centsoft --data faces_emore --bins lfw agedb_30 cfp_fp
    """
    from evaluator.bins import read_bin
    from evaluator.errors import InputError
    from training.data.shards import open_training_faces
    from training.devices import check_devices
    from training.digits import digit_faces
    from training.runs import RunFolder, check_new_run, check_resumable
    from zoo.registry import entry_named, read_registry, registry_path
    from zoo.training import entry_recipe, parse_settings, run_entry, training_bins

    entries = read_registry(registry_path(registry))
    entry = entry_named(name, entries)
    settings = parse_settings(set or [])
    folder = RunFolder(run if run is not None else Path("runs") / name)
    stored = run_entry(folder.path) if resume else None
    recipe = entry_recipe(stored or entry, settings)
    if data is None:
        if stored is None and recipe.data.source == "none":
            raise InputError("missing --data DIR: a folder per person, or a .rec file")
        data = Path(recipe.data.source) if stored is None else _known_source(folder)
    if stored is None and not plan:
        check_new_run(folder.path)
    bundled = recipe.data.source != "none"
    faces = digit_faces(recipe.data.source) if bundled else open_training_faces(data)
    if stored is not None and stored.recipe is not None:
        check_resumable(folder, recipe, faces, stored.recipe)
    sets = [read_bin(path) for path in training_bins(bins or [], recipe, data)]
    kind = check_devices(devices)
    if plan:
        _print_plan(recipe, faces, kind, folder)
        return
    raise typer.Exit(
        _train(entry, recipe, faces, sets, folder, devices, resumed=stored is not None)
    )


def _known_source(folder: RunFolder) -> Path:
    """Where the data of a run was when it was started."""
    import json

    from evaluator.errors import InputError

    try:
        return Path(json.loads(folder.data.read_text(encoding="utf-8"))["source"])
    except (ValueError, KeyError):
        raise InputError(f"{folder.data}: does not say where the data is; give --data") from None


def _print_plan(recipe: Recipe, faces: FaceSet, devices: str, folder: RunFolder) -> None:
    from training.plan import plan_lines

    for line in plan_lines(recipe, faces, devices=devices, run=folder.path):
        print(line)


def _train(
    entry: Entry,
    recipe: Recipe,
    faces: FaceSet,
    sets: list[VerificationSet],
    folder: RunFolder,
    devices: str,
    *,
    resumed: bool,
) -> int:
    """Trains, evaluates what came out, and returns the exit code."""
    import sys

    from evaluator.inputs import InputSpec
    from evaluator.models.runtime import import_keras
    from training.callbacks import DivergedError
    from training.data.pipeline import prepare_data
    from training.devices import opened_devices
    from training.runs import RunEntry, clear_leftovers, create_run, locked
    from zoo.training import TrainingProgress
    from zoo.words import Interrupted

    import_keras()
    from training.fit import Reporter, train
    from training.plan import check_disk

    check_disk(recipe, len(faces.names), folder.path)
    about = RunEntry(
        name=folder.path.resolve().name,
        base=entry.name,
        source=f"zoo train {entry.name}, on {len(faces)} images of {len(faces.names)} people",
        notes=entry.notes,
    )
    height, width = recipe.preprocess.size
    spec = InputSpec(height, width, recipe.preprocess.profile, recipe.preprocess.channels)
    with opened_devices(devices) as shard:
        data = prepare_data(faces, recipe.data, spec, batch=recipe.batch, shard=shard)
        if not resumed:
            create_run(folder.path, about, recipe, faces)
        with locked(folder), TrainingProgress() as progress:
            clear_leftovers(folder)
            report = Reporter(progress.say, progress.step)
            try:
                outcome = train(recipe, data, folder, entry=about, sets=sets, report=report)
            except DivergedError as error:
                print(f"zoo: error: {error}", file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                raise Interrupted(_how_to_go_on(entry.name, folder)) from None
    best = "" if outcome.best is None else f", best verification {outcome.best:.6f}"
    best += "" if outcome.best_step is None else f" at step {outcome.best_step}"
    print(
        f"{folder.path}: {outcome.steps} steps{best}; {folder.model.name} is there", file=sys.stderr
    )
    return _evaluated(folder, sets) if sets else 0


def _how_to_go_on(name: str, folder: RunFolder) -> str:
    """What is kept of a run that was stopped, and the command that goes on with it."""
    from training.checkpoints import read_state

    command = f"zoo train {name} --run {folder.path} --resume"
    if not folder.last.is_file():
        return f"no checkpoint had been written yet; {command} begins again"
    return f"{read_state(folder.last)['steps_done']} steps are kept; {command} goes on from there"


def _evaluated(folder: RunFolder, sets: list[VerificationSet]) -> int:
    """Evaluates the exported file itself, as `zoo eval` does, and stores the results in the run."""
    from zoo.commands.evaluate import finish
    from zoo.evaluation import Request, run_request
    from zoo.lookup import resolve_models

    request = Request(
        models=resolve_models([str(folder.path)], {}),
        bins=[each.path for each in sets],
        results=folder.results,
    )
    return finish(run_request(request), request, None)
