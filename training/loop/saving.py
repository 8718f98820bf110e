"""What a run writes between its steps: checkpoints, the embedding model, skipped images."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import keras

from evaluator.files import whole_path
from training.loop.callbacks import DivergedError
from training.loop.restored import start_head
from training.loop.session import Session
from training.loop.variables import averaged, whole_arrays
from training.network.assembly import embedding_copy, kept_variables, shared_weights, turned
from training.network.centers import read_centers, write_centers
from training.network.heads import assign
from training.processes.devices import this_process_alone, whole_array
from training.processes.team import share, share_array, wait_for_all
from training.run.checkpoints import all_finite, read_state, save_checkpoint
from training.run.runs import KeptEpoch, RunFolder, size_of


def save_all(session: Session, model: keras.Model, *, best: bool) -> None:
    """Saves everything as the last checkpoint, and as the best one if it is that. All processes
    come here, and leave when it is written.

    Raises DivergedError instead where a weight is not finite: the checkpoint before stays the last.
    """
    arrays = whole_arrays(model, kept_variables(model))
    if not all_finite(arrays):
        raise DivergedError(diverged(session, session.position.steps_done, what="a weight"))
    position, run = session.position, session.run
    if session.team.lead:
        position.log_bytes = size_of(run.log)
        position.verification_bytes = size_of(run.verification)
        save_checkpoint(run.last, arrays, dataclasses.asdict(position))
        if best:
            _link(run.last, run.best)
    wait_for_all(session.team)


def load_start(session: Session, model: keras.Model) -> None:
    """Puts the recipe's ``start_head`` and ``center.start``, which the lead reads, into the model
    of each process.

    Raises InputError or OSError in the lead.
    """
    recipe, team = session.recipe, session.team
    if recipe.start_head is not None:
        found: list[Any] = []
        if team.lead:
            with this_process_alone():
                run = RunFolder(Path(recipe.start_head))
                found = start_head(run, session.data.faces, recipe.model.embedding_size)
        count = share(team, len(found))
        found = found or [None] * count
        # Centers where both runs have some.
        arrays = [share_array(team, each) for each in found]
        for variable, array in zip(shared_weights(model), turned(model, arrays), strict=False):
            assign(variable, array)
    if recipe.center is not None and recipe.center.start is not None:
        layer = model.get_layer("center")
        shape = (layer.classes, layer.centers.shape[1])
        centers = read_centers(Path(recipe.center.start), shape) if team.lead else None
        assign(layer.centers, share_array(team, centers))


def save_centers(session: Session, model: keras.Model) -> None:
    """Writes the centers, if there are any, as the founding system does; the lead does."""
    if session.recipe.center is None:
        return
    [centers] = whole_arrays(model, [model.get_layer("center").centers])
    if session.team.lead:
        write_centers(session.run.centers, centers)


def export(session: Session, path: Path | None = None) -> None:
    """Writes the embedding model alone, in float32, whole or not at all; the lead does."""
    if not session.team.lead:
        return
    weights = [whole_array(each) for each in session.embedding.weights]
    with this_process_alone():
        if session.exported is None:
            session.exported = embedding_copy(session.recipe, precision="float32")
        session.exported.set_weights(weights)
        with whole_path(path or session.run.model) as temporary:
            session.exported.save(temporary)


def keep(session: Session, model: keras.Model, *, improved: bool, ended: bool) -> None:
    """Writes the models that the recipe keeps of a place that was verified: where an epoch has
    ``ended``, or within one; the lead does, all processes come here.
    """
    recipe, position, run = session.recipe, session.position, session.run
    if not (improved if recipe.keep == "improved" else ended and recipe.keep == "epochs"):
        return
    kept = KeptEpoch(position.epochs_done + 1, None if ended else position.steps_done)
    with averaged(model):
        export(session, run.kept(kept))
    if recipe.keep_whole and session.team.lead:
        with whole_path(run.kept(kept, whole=True)) as temporary:
            model.save(temporary)


def write_skipped(session: Session) -> None:
    """Names the images that could not be read, if there were any; the lead those it met."""
    causes = session.data.broken
    if causes and session.team.lead:
        lines = [f"{origin}\t{cause}\n" for origin, cause in sorted(causes.items())]
        session.run.skipped.write_text("".join(lines), encoding="utf-8")


def diverged(session: Session, step: int, what: str = "the loss") -> str:
    """The words of a DivergedError."""
    kept = "there is no checkpoint before it"
    if session.run.last.exists():
        state = read_state(session.run.last)
        kept = f"{session.run.last} holds the weights of step {state['steps_done']}"
    return (
        f"step {step}: {what} is no finite number any more; training stopped, {kept}. "
        "Try a lower learning rate, a warm-up with softmax, or precision float32"
    )


def _link(source: Path, target: Path) -> None:
    """``target`` becomes a second name of ``source``, which is replaced and never written to."""
    with whole_path(target) as temporary:
        os.link(source, temporary)
