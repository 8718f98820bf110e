"""`zoo train`: an entry's recipe, from names to a run's folder and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evaluator.bins.verification_set import VerificationSet
    from training.data.sources.faces import FaceSet
    from training.processes.team import Team
    from training.recipes.recipe import Recipe
    from training.run.runs import RunFolder
    from zoo.entries.registry import Entry


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
    shard_head: Annotated[
        bool,
        typer.Option(
            "--shard-head", help="Split head and centers over the devices by class (JAX)."
        ),
    ] = False,
    hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT[,HOST...]",
            help="Train in several processes (JAX): where process 0 listens, or all of them.",
        ),
    ] = None,
    process: Annotated[
        int | None, typer.Option(metavar="I", help="With --hosts: this process's number, from 0.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="With --hosts: how many there are.")
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another models.yaml ($ZOO_MODELS does the same)."),
    ] = None,
) -> None:
    """Train an entry's recipe into a run's folder, which is an entry itself.

    zoo train centsoft --data faces_emore --bins lfw agedb_30 cfp_fp
    """
    from training.processes.hosts import parse_hosts
    from training.processes.team import joined

    together = parse_hosts(hosts, process, processes)
    asked = _Asked(
        name=name,
        data=data,
        settings=set or [],
        bins=bins or [],
        folder=run if run is not None else Path("runs") / name,
        resume=resume,
        plan=plan,
        devices=devices,
        shard_head=shard_head,
        registry=registry,
    )
    with joined(together) as team:
        code, run_folder, sets = _run(asked, team)
    if code == 0 and sets:
        code = _evaluated(run_folder, sets)
    raise typer.Exit(code)


@dataclass(frozen=True)
class _Asked:
    """The command's words."""

    name: str
    data: Path | None
    settings: list[str]
    bins: list[str]
    folder: Path
    resume: bool
    plan: bool
    devices: str
    shard_head: bool
    registry: Path | None


def _run(asked: _Asked, team: Team) -> tuple[int, RunFolder, list[VerificationSet]]:
    """Trains or plans in this process; the exit code, the run, and the bins that are left to be
    evaluated. The lead of a team decides what is done; the others need the data alone.
    """
    from evaluator.bins.verification_set import read_bin
    from training.data.sources.digits import digit_faces
    from training.data.sources.shards import open_training_faces
    from training.processes.devices import check_devices, check_triplets_fit
    from training.processes.team import agree
    from training.run.runs import RunFolder, check_new_run, check_resumable
    from zoo.entries.registry import entry_named, read_registry, registry_path
    from zoo.train.entry import run_entry, training_bins

    entries = read_registry(registry_path(asked.registry))
    entry = entry_named(asked.name, entries)
    folder = RunFolder(asked.folder)
    stored = run_entry(folder.path) if asked.resume and team.lead else None
    recipe, data = _recipe_and_data(asked, team, stored or entry, entries, folder=folder)
    if stored is None and not asked.plan and team.lead:
        check_new_run(folder.path)
    bundled = recipe.data.source != "none"
    faces = digit_faces(recipe.data.source) if bundled else open_training_faces(data)
    agree(team, "training faces", [len(faces), len(faces.names), faces.fingerprint])
    if stored is not None and stored.recipe is not None:
        check_resumable(folder, recipe, faces, stored.recipe)
    bins = training_bins(asked.bins, recipe, data) if team.lead else []
    sets = [read_bin(path) for path in bins]
    words = check_devices(asked.devices, team=team, shard_head=asked.shard_head)
    check_triplets_fit(recipe, words, processes=team.processes)
    if asked.plan:
        if team.lead:
            each = f"{words}, {team.processes} processes" if team.processes > 1 else words
            _print_plan(recipe, faces, each, folder)
        return 0, folder, []
    code = _train(asked, entry, recipe, faces, sets, folder=folder, team=team)
    return code, folder, sets if code == 0 else []


def _recipe_and_data(
    asked: _Asked, team: Team, entry: Entry, entries: Mapping[str, Entry], *, folder: RunFolder
) -> tuple[Recipe, Path]:
    """The lead's recipe, in each process, and where the data is, which may differ by machine."""
    from evaluator.errors import InputError
    from training.processes.team import share
    from training.recipes.recipe import RecipeError, parse_recipe, to_plain
    from zoo.train.entry import entry_recipe, parse_settings, with_start_found

    recipe = None
    if team.lead:
        recipe = with_start_found(entry_recipe(entry, parse_settings(asked.settings)), entries)
    source = asked.data
    if recipe is not None and source is None:
        if not asked.resume and recipe.data.source == "none":
            raise InputError("missing --data DIR: a folder per person, or a .rec file")
        source = _known_source(folder) if asked.resume else Path(recipe.data.source)
    plain, found = share(team, recipe and [to_plain(recipe), str(source)])
    if recipe is None:
        recipe = parse_recipe(plain, lambda place, words: RecipeError(f"{place}: {words}"))
    return recipe, asked.data or Path(found)


def _known_source(folder: RunFolder) -> Path:
    """Where the data of a run was when it was started."""
    from evaluator.errors import InputError
    from training.run.runs import RunError, read_data_record

    try:
        return Path(read_data_record(folder)["source"])
    except RunError:
        raise InputError(f"{folder.data}: does not say where the data is; give --data") from None


def _print_plan(recipe: Recipe, faces: FaceSet, devices: str, folder: RunFolder) -> None:
    from training.loop.plan import plan_lines

    for line in plan_lines(recipe, faces, devices=devices, run=folder.path):
        print(line)


def _train(
    asked: _Asked,
    entry: Entry,
    recipe: Recipe,
    faces: FaceSet,
    sets: list[VerificationSet],
    *,
    folder: RunFolder,
    team: Team,
) -> int:
    """Trains and returns the exit code."""

    from evaluator.images.inputs import InputSpec
    from evaluator.models.runtime import import_keras
    from training.data.batches.pipeline import prepare_data
    from training.loop.callbacks import DivergedError
    from training.processes.devices import check_batch, opened_devices
    from training.run.runs import RunEntry, create_run, locked
    from zoo.terminal.words import Interrupted, warn
    from zoo.train.entry import TrainingProgress

    import_keras()
    from training.loop.fit import Reporter, train
    from training.loop.plan import check_disk

    if team.lead:
        check_disk(recipe, len(faces.names), folder.path)
    about = RunEntry(
        name=folder.path.resolve().name,
        base=entry.name,
        source=f"zoo train {entry.name}, on {len(faces)} images of {len(faces.names)} people",
        notes=entry.notes,
    )
    height, width = recipe.preprocess.size
    spec = InputSpec(height, width, recipe.preprocess.profile, recipe.preprocess.channels)
    with opened_devices(asked.devices, team=team, shard_head=asked.shard_head) as opened:
        data = prepare_data(faces, recipe.data, spec, batch=recipe.batch, shard=opened.shard)
        check_batch(recipe.batch, opened)
        if team.lead and not asked.resume:
            create_run(folder.path, about, recipe, faces)
        lock = locked(folder) if team.lead else nullcontext()
        with lock, TrainingProgress(silent=not team.lead) as progress:
            report = Reporter(progress.say, progress.step)
            try:
                outcome = train(
                    recipe,
                    data,
                    folder,
                    entry=about,
                    sets=sets,
                    report=report,
                    team=team,
                    head_parts=opened.head_parts,
                )
            except DivergedError as error:
                if team.lead:
                    warn(f"zoo: error: {error}")
                return 1
            except KeyboardInterrupt:
                raise Interrupted(_how_to_go_on(entry.name, folder)) from None
    best = "" if outcome.best is None else f", best verification {outcome.best:.6f}"
    best += "" if outcome.best_step is None else f" at step {outcome.best_step}"
    if team.lead:
        warn(f"{folder.path}: {outcome.steps} steps{best}; {folder.model.name} is there")
    return 0


def _how_to_go_on(name: str, folder: RunFolder) -> str:
    """What is kept of a run that was stopped, and the command that goes on with it."""
    from training.run.checkpoints import read_state

    command = f"zoo train {name} --run {folder.path} --resume"
    if not folder.last.is_file():
        return f"no checkpoint had been written yet; {command} begins again"
    return f"{read_state(folder.last)['steps_done']} steps are kept; {command} goes on from there"


def _evaluated(folder: RunFolder, sets: list[VerificationSet]) -> int:
    """Evaluates the exported file itself, as `zoo eval` does, and stores the results in the run."""
    from zoo.commands.evaluate import finish
    from zoo.entries.lookup import resolve_models
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.request import Request

    request = Request(
        models=resolve_models([str(folder.path)], {}),
        bins=[each.path for each in sets],
        results=folder.results,
    )
    return finish(run_request(request), request, None)
