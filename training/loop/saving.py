"""What a run writes between its steps: checkpoints, the embedding model, skipped images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from evaluator.files import whole_path
from training.loop.callbacks import DivergedError
from training.loop.session import Session
from training.network.assembly import embedding_copy, whole_shapes
from training.network.centers import read_centers, write_centers
from training.processes.devices import this_process_alone, whole_array
from training.processes.team import share_array, wait_for_all
from training.run.checkpoints import (
    all_finite,
    check_fit,
    read_checkpoint,
    read_state,
    save_checkpoint,
)
from training.run.runs import size_of


def save_all(session: Session, model: keras.Model, *, best: bool) -> None:
    """Saves everything as the last checkpoint, and as the best one if it is that. All processes
    come here, and leave when it is written.

    Raises DivergedError instead where a weight is not finite: the checkpoint before stays the last.
    """
    arrays = whole_arrays(model, _variables(model))
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


def load_all(session: Session, model: keras.Model, path: Path) -> None:
    """Puts a checkpoint, which the lead reads, into the model of each process.

    Raises CheckpointError or OSError in the lead.
    """
    variables = _variables(model)
    held = whole_shapes(model)
    shapes = [held.get(each.path, tuple(each.shape)) for each in variables]
    arrays: list[Any] = [None] * len(variables)
    if session.team.lead:
        arrays = list(read_checkpoint(path))
        check_fit(path, arrays, shapes, [each.path for each in variables])
    for array, variable in zip(arrays, variables, strict=True):
        assign(variable, share_array(session.team, array))


def load_start_centers(session: Session, model: keras.Model) -> None:
    """Puts the recipe's ``center.start``, which the lead reads, into the model of each process.

    Raises InputError or OSError in the lead.
    """
    start = session.recipe.center.start if session.recipe.center else None
    if start is None:
        return
    layer = model.get_layer("center")
    shape = (layer.classes, layer.centers.shape[1])
    array = read_centers(Path(start), shape) if session.team.lead else None
    assign(layer.centers, share_array(session.team, array))


def save_centers(session: Session, model: keras.Model) -> None:
    """Writes the centers, if there are any, as the founding system does; the lead does."""
    if session.recipe.center is None:
        return
    [centers] = whole_arrays(model, [model.get_layer("center").centers])
    if session.team.lead:
        write_centers(session.run.centers, centers)


def assign(variable: Any, array: np.ndarray[Any, Any]) -> None:
    """Puts an array into a variable that may have zeros after it."""
    spare = [(0, side - own) for side, own in zip(variable.shape, array.shape, strict=True)]
    variable.assign(np.pad(array, spare) if any(more for _, more in spare) else array)


def whole_arrays(model: keras.Model, variables: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    """Some of a model's variables without zeros after them; asked for by all processes."""
    held = whole_shapes(model)
    found = []
    for each in variables:
        array = whole_array(each)
        shape = held.get(each.path, array.shape)
        found.append(array if array.shape == shape else array[tuple(map(slice, shape))])
    return found


def export(session: Session) -> None:
    """Writes the embedding model alone, in float32, whole or not at all; the lead does."""
    if not session.team.lead:
        return
    weights = [whole_array(each) for each in session.embedding.weights]
    with this_process_alone():
        if session.exported is None:
            session.exported = embedding_copy(session.recipe, precision="float32")
        session.exported.set_weights(weights)
        with whole_path(session.run.model) as temporary:
            session.exported.save(temporary)


def write_skipped(session: Session) -> None:
    """Names the images that could not be read, if there were any; the lead those it met."""
    causes = session.data.broken.causes
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


def _variables(model: keras.Model) -> list[Any]:
    """All that a checkpoint holds, in an order that is the same in each process."""
    return [*model.variables, *model.optimizer.variables]


def _link(source: Path, target: Path) -> None:
    """``target`` becomes a second name of ``source``, which is replaced and never written to."""
    with whole_path(target) as temporary:
        os.link(source, temporary)
