"""An entry's recipe, trained: from the words of `zoo train` to a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluator.bins.verification_set import VerificationSet, read_bin
from evaluator.errors import InputError
from evaluator.models.runtime import import_keras
from training.data.sources.digits import digit_faces
from training.data.sources.faces import FaceSet
from training.data.sources.shards import open_training_faces
from training.processes.devices import check_devices, check_triplets_fit
from training.processes.team import Team, agree, share
from training.recipes.parts import Recipe, fail_in
from training.recipes.recipe import parse_recipe, to_plain
from training.recipes.registry import imported
from training.run.checkpoints import read_state
from training.run.position import Position
from training.run.runs import (
    RunEntry,
    RunError,
    RunFolder,
    check_new_run,
    check_resumable,
    read_data_record,
)
from zoo.entries.registry import Entry, entry_named, read_registry, registry_path
from zoo.terminal.words import Interrupted, note_passed_over, warn
from zoo.train.entry import (
    TrainingProgress,
    entry_recipe,
    parse_settings,
    run_entry,
    training_bins,
    with_start_found,
)


@dataclass(frozen=True)
class Asked:
    """The words of one `zoo train`."""

    name: str
    data: Path | None
    settings: list[str]
    custom: list[str]
    bins: list[str]
    folder: Path
    resume: bool
    log: list[str] | None
    plan: bool
    devices: str
    shard_head: bool
    registry: Path | None


def trained(asked: Asked, team: Team) -> tuple[int, list[Path]]:
    """Trains or plans in this process; the exit code, and the bins that are left to be evaluated.

    The lead of a team decides what is done; the others need the data alone. Raises InputError, or
    OSError.
    """
    custom = imported(asked.custom)
    agree(team, "--custom modules", custom)
    entries = read_registry(registry_path(asked.registry))
    entry = entry_named(asked.name, entries)
    folder = RunFolder(asked.folder)
    stored = run_entry(folder.path) if asked.resume and team.lead else None
    recipe, data = _recipe_and_data(asked, team, stored or entry, entries, folder=folder)
    if stored is None and not asked.plan and team.lead:
        check_new_run(folder.path)
    bundled = recipe.data.source != "none"
    faces = digit_faces(recipe.data.source) if bundled else open_training_faces(data)
    if team.lead:
        note_passed_over(data, faces.ignored)
    agree(team, "training faces", [len(faces), len(faces.names), faces.fingerprint])
    if stored is not None and stored.recipe is not None:
        check_resumable(folder, recipe, faces, stored.recipe)
    paths = training_bins(asked.bins, recipe, data) if team.lead else []
    sets = [read_bin(path) for path in paths]
    words = check_devices(asked.devices, team=team, shard_head=asked.shard_head)
    check_triplets_fit(recipe, words, processes=team.processes)
    if asked.plan:
        if team.lead:
            each = f"{words}, {team.processes} processes" if team.processes > 1 else words
            _print_plan(recipe, faces, each, folder)
        return 0, []
    code = _train(asked, entry, recipe, faces, sets, folder=folder, team=team)
    return code, [each.path for each in sets] if code == 0 else []


def _recipe_and_data(
    asked: Asked, team: Team, entry: Entry, entries: Mapping[str, Entry], *, folder: RunFolder
) -> tuple[Recipe, Path]:
    """The lead's recipe, in each process, and where the data is, which may differ by machine."""
    recipe = None
    if team.lead:
        settings = parse_settings(asked.settings)
        if asked.custom:
            settings["custom"] = imported(asked.custom)
        recipe = with_start_found(entry_recipe(entry, settings), entries)
    source = asked.data
    if recipe is not None and source is None:
        if not asked.resume and recipe.data.source == "none":
            raise InputError("missing --data DIR: a folder per person, or a .rec file")
        source = _known_source(folder) if asked.resume else Path(recipe.data.source)
    plain, found = share(team, recipe and [to_plain(recipe), str(source)])
    if recipe is None:
        recipe = parse_recipe(plain, fail_in("recipe"))
    return recipe, asked.data or Path(found)


def _known_source(folder: RunFolder) -> Path:
    """Where the data of a run was when it was started."""
    try:
        return Path(read_data_record(folder)["source"])
    except RunError:
        raise InputError(f"{folder.data}: does not say where the data is; give --data") from None


def _print_plan(recipe: Recipe, faces: FaceSet, devices: str, folder: RunFolder) -> None:
    import_keras()
    from training.loop.plan import plan_lines

    for line in plan_lines(recipe, faces, devices=devices, run=folder.path):
        print(line)


def _train(
    asked: Asked,
    entry: Entry,
    recipe: Recipe,
    faces: FaceSet,
    sets: list[VerificationSet],
    *,
    folder: RunFolder,
    team: Team,
) -> int:
    """Trains and returns the exit code."""
    import_keras()
    from training.loop.callbacks import DivergedError
    from training.loop.session import Reporter
    from training.loop.whole_run import RunJob, carry_out

    about = RunEntry(
        name=folder.path.resolve().name,
        base=entry.name,
        source=f"zoo train {entry.name}, on {len(faces)} images of {len(faces.names)} people",
        notes=entry.notes,
    )
    job = RunJob(
        recipe=recipe,
        faces=faces,
        folder=folder,
        entry=about,
        sets=sets,
        resume=asked.resume,
        logs=asked.log,
        devices=asked.devices,
        shard_head=asked.shard_head,
        team=team,
    )
    with TrainingProgress(silent=not team.lead) as progress:
        try:
            end = carry_out(job, Reporter(progress.say, progress.step))
        except DivergedError as error:
            if team.lead:
                warn(f"zoo: error: {error}")
            return 1
        except KeyboardInterrupt:
            words = _how_to_go_on(entry.name, folder) if team.lead else "stopped, with all others"
            raise Interrupted(words) from None
    if team.lead:
        warn(_said(end, folder))
    return 0


def _said(end: Position, folder: RunFolder) -> str:
    best = "" if end.best is None else f", best verification {end.best:.6f}"
    best += "" if end.best_step is None else f" at step {end.best_step}"
    return f"{folder.path}: {end.steps_done} steps{best}; {folder.model.name} is there"


def _how_to_go_on(name: str, folder: RunFolder) -> str:
    """What is kept of a run that was stopped, and the command that goes on with it."""
    command = f"zoo train {name} --run {folder.path} --resume"
    if not folder.last.is_file():
        return f"no checkpoint had been written yet; {command} begins again"
    return f"{read_state(folder.last)['steps_done']} steps are kept; {command} goes on from there"
