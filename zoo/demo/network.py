"""The demo's third model: a small network, trained on the faces that fit the classic models."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from pathlib import Path

from evaluator.errors import InputError
from evaluator.models.runtime import import_keras
from training.data.sources.faces import FaceSet
from training.data.sources.shards import open_training_faces
from training.recipes.recipe import Recipe
from training.run.checkpoints import read_state
from training.run.runs import (
    RunEntry,
    RunError,
    RunFolder,
    check_resumable,
    model_sha256,
)
from zoo.demo.faces_and_models import Faces, png
from zoo.entries.registry import Entry, entry_named, own_registry, read_registry
from zoo.terminal.words import warn
from zoo.train.entry import TrainingProgress, entry_recipe, run_entry

# The entry of models.yaml whose recipe is trained.
ENTRY = "demo_network"

# What marks a run as the demo's own, to be replaced where its faces or recipe have changed.
_SOURCE = "zoo demo"

_OWN_FILE = re.compile(r"[a-z]+-\d\d/\d\d?-[0-9a-f]{12}\.png")


def write_people(folder: Path, faces: Faces) -> None:
    """Makes ``folder`` hold these faces as PNG, a folder a person, and no others.

    A file's name carries a hash of its bytes, so that the data's fingerprint, which is made of
    names, changes with the faces. Raises OSError, and InputError for files that are not the demo's.
    """
    wanted: dict[str, bytes] = {}
    counts: dict[int, int] = {}
    for image, person in zip(faces.images, faces.people.tolist(), strict=True):
        counts[person] = counts.get(person, -1) + 1
        data = png(image)
        digest = hashlib.sha256(data).hexdigest()[:12]
        wanted[f"{faces.name}-{person:02d}/{counts[person]}-{digest}.png"] = data
    files = (each for each in folder.rglob("*") if each.is_file() and each.name[0] != ".")
    there = {path.relative_to(folder).as_posix(): path for path in files}
    foreign = sorted(name for name in there if not _OWN_FILE.fullmatch(name))
    if foreign:
        raise InputError(
            f"{folder}: expected the demo's faces only, found {foreign[0]}; "
            "move it, or let the demo write elsewhere with -o DIR"
        )
    for name in there.keys() - wanted.keys():
        there[name].unlink()
        if not any(there[name].parent.iterdir()):
            there[name].parent.rmdir()
    for name, data in wanted.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Always, as one that is there may have been cut off or changed.
        path.write_bytes(data)


def trained_network(folder: Path, faces: Faces) -> RunFolder:
    """The run of the demo's recipe on these faces, below ``folder``: trained if it is not there.

    A whole run of the same recipe on the same faces is left as it is, an unfinished one goes on,
    any other run of the demo is replaced. Raises InputError for a run that is not the demo's, and
    what `write_people` and training raise.
    """
    people = folder / faces.name
    write_people(people, faces)
    entry = entry_named(ENTRY, read_registry(own_registry()))
    recipe, found = entry_recipe(entry, {}), open_training_faces(people)
    run = RunFolder(folder / "runs" / "network")
    if not _goes_on(run, recipe, found):
        _remove(run)
    elif read_state(run.last)["finished"] and run_entry(run.path).sha256 == model_sha256(run):
        warn(f"model: {run.path}, trained before on these faces")
        return run
    run.model.unlink(missing_ok=True)
    epochs = sum(stage.epochs for stage in recipe.stages)
    warn(f"training {run.path}: {epochs} epochs of {len(found)} images, about a minute")
    begin = time.perf_counter()
    _train(run, entry, recipe, found, faces.origin)
    seconds = time.perf_counter() - begin
    warn(
        f"model: {run.path}, {recipe.model.embedding_size}-d, trained on {len(found.names)} people "
        f"in {seconds:.0f} s"
    )
    return run


def _goes_on(run: RunFolder, recipe: Recipe, faces: FaceSet) -> bool:
    """Whether there is a run with a checkpoint, of this recipe on these faces."""
    if not run.entry.is_file() or not run.last.is_file():
        return False
    try:
        stored = run_entry(run.path).recipe
        if stored is not None:
            check_resumable(run, recipe, faces, stored)
            read_state(run.last)
    except (InputError, FileNotFoundError):
        return False
    return stored is not None


def _remove(run: RunFolder) -> None:
    """Removes the demo's run, if there is one. Raises RunError for anything else."""
    if not run.path.exists():
        return
    if not run.entry.is_file() or not run_entry(run.path).source.startswith(_SOURCE):
        raise RunError(
            f"{run.path}: expected the demo's own run or nothing, found something else; "
            "move it, or let the demo write elsewhere with -o DIR"
        )
    shutil.rmtree(run.path)


def _train(run: RunFolder, entry: Entry, recipe: Recipe, faces: FaceSet, origin: str) -> None:
    import_keras()
    from training.loop.session import Reporter
    from training.loop.whole_run import RunJob, carry_out

    about = RunEntry(
        name=run.path.name,
        base=entry.name,
        source=f"{_SOURCE}, on {len(faces)} images of {len(faces.names)} people: {origin}",
        notes=entry.notes,
    )
    job = RunJob(
        recipe=recipe,
        faces=faces,
        folder=run,
        entry=about,
        sets=(),
        resume=run.path.exists(),
        logs=(),
        devices="auto:1",
    )
    with TrainingProgress() as progress:
        # A row an epoch is in the run's log; here one line that moves is enough.
        carry_out(job, Reporter(step=progress.step))
