"""What is done at an epoch's end: validation, verification, log, rate on a plateau, checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.all_figures import to_json
from training.data.batches.feed import Feed
from training.data.batches.pipeline import TrainingData, validation_batches
from training.loop.callbacks import Verified, after_epoch, bin_row, verify
from training.loop.saving import export, keep, save_all, write_skipped
from training.loop.session import Session, learning_rate
from training.loop.variables import averaged
from training.network.assembly import embedding_copy
from training.processes.devices import this_process_alone, whole_array
from training.processes.team import share
from training.recipes.parts import TRIPLET_LOSSES, Recipe, Stage
from training.run.curves import draw_curves, number_of
from training.run.position import PlateauState, Position
from training.run.runs import append_lines, append_row, read_log
from training.triplets.stage import held_back_triplets, triplet_lines


def end_epoch(session: Session, model: keras.Model, stage: Stage) -> None:
    """All of it, in an order in which a kill between any two parts leaves a checkpoint from which
    the epoch's end is done again.
    """
    position, data = session.position, session.data
    steps = session.epoch_steps
    row: dict[str, Any] = {
        "stage": position.stage,
        "epoch": position.epochs_done,
        "step": position.steps_done,
        "learning_rate": learning_rate(session, stage),
        "loss": position.loss_sum / steps,
        "accuracy": position.accuracy_sum / steps,
        "images_per_second": _images_per_second(position, steps, data.batch),
        "seconds": position.epoch_seconds,
    }
    with averaged(model):
        row |= _validated(session, model, stage)
    session.report.say(_epoch_line(row, session))
    if stage.loss.name in TRIPLET_LOSSES:
        _look_at_triplets(session, row["loss"], model)
    if stage.plateau is not None:
        state = after_epoch(
            stage.plateau, PlateauState(**position.plateau), row.get(stage.plateau.monitor)
        )
        position.plateau = dataclasses.asdict(state)
    verified, improved = look_at_bins(session, model) if session.verified else (None, False)
    keep(session, model, improved=improved, ended=True)
    position = session.position
    position.epoch += 1
    position.epochs_done += 1
    position.step, position.loss_sum, position.accuracy_sum = 0, 0.0, 0.0
    position.active_sum, position.spread_sum = 0.0, 0.0
    position.epoch_seconds, position.timed_seconds, position.timed_steps = 0.0, 0.0, 0
    if session.team.lead:
        row |= bin_row(verified.measurements) if verified else {}
        append_row(session.run, row, [each.name for each in session.sets])
        session.report.row(row)
        figure = session.recipe.verification.figure
        draw_curves(read_log(session.run), session.run.curves, figure)
    write_skipped(session)
    data.faces.release()
    save_all(session, model, best=improved)


def look_at_bins(session: Session, model: keras.Model) -> tuple[Verified | None, bool]:
    """Evaluates the bins in the lead, prints the seed's lines, keeps every figure, and exports the
    model if it is the best so far by the aggregate. What was found (None in the other processes),
    and whether it is the best; the position of all is the lead's.
    """
    team, verified, said = session.team, None, None
    with averaged(model):
        if team.lead:
            verified = _verified(session)
            said = [dataclasses.asdict(session.position), _improved(session, verified)]
        plain, improved = share(team, said)
    if not team.lead:
        session.position.__dict__.update(plain)
    return verified, bool(improved)


def _verified(session: Session) -> Verified:
    position = session.position
    found = verify(
        _own_forward(session),
        session.data.input,
        session.sets,
        recipe=session.recipe.verification,
        best=position.best_by_bin,
    )
    for line in found.standing.lines:
        session.report.say(line)
    position.best_by_bin = dict(found.standing.best)
    records = [
        {
            "step": position.steps_done,
            "bin": each.bin.name,
            "sha256": each.bin.sha256,
            "figures": None if each.figures is None else to_json(each.figures),
        }
        for each in found.measurements
    ]
    append_lines(session.run.verification, records)
    return found


def _own_forward(session: Session) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The embedding model as this process can run it without the others."""
    model, alone = session.embedding, session.team.processes > 1
    if alone:
        weights = [whole_array(each) for each in model.weights]
        with this_process_alone():
            if session.local is None:
                session.local = embedding_copy(session.recipe)
            session.local.set_weights(weights)
        model = session.local

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with this_process_alone() if alone else nullcontext():
            return np.asarray(model.predict_on_batch(batch), np.float32)

    return forward


def _improved(session: Session, verified: Verified) -> bool:
    """Notes and exports the embedding model if it is the best so far by the aggregate."""
    position = session.position
    best = float("-inf") if position.best is None else position.best
    aggregate = verified.standing.aggregate
    if aggregate is None or aggregate <= best:
        return False
    position.best, position.best_step = aggregate, position.steps_done
    if session.recipe.export == "best":
        export(session)
    return True


def _look_at_triplets(session: Session, loss: float, model: keras.Model) -> None:
    """Says how many triplets are active and how far embeddings lie apart, and what is wrong."""
    position, steps = session.position, session.epoch_steps
    rows = [row for row in read_log(session.run) if row.get("stage") == str(position.stage)]
    losses = [number_of(row.get("loss")) for row in rows]
    for line in triplet_lines(
        [*(each for each in losses if each is not None), loss],
        margin=model.loss.margin,
        spread=position.spread_sum / steps,
        active=position.active_sum / steps,
    ):
        session.report.say(line)


def _validated(session: Session, model: keras.Model, stage: Stage) -> dict[str, float]:
    """Loss and accuracy on the images held back, each once; nothing if there are none."""
    if not len(session.data.held_back):
        return {}
    if stage.triplets is not None and stage.loss.name in TRIPLET_LOSSES:
        figures, lines = held_back_triplets(
            stage.triplets,
            session.data,
            session.embedding,
            model.loss,
            epoch=session.position.epoch,
            mean_loss=session.position.loss_sum / session.epoch_steps,
        )
        for line in lines:
            session.report.say(line)
        return figures
    return validation_figures(model, session.data, session.recipe)


def validation_figures(model: keras.Model, data: TrainingData, recipe: Recipe) -> dict[str, float]:
    """``val_loss`` and ``val_accuracy`` of a stage's model: means over the images held back, each
    counted once and those that cannot be read not at all. The loss has the center's in it, and
    class weights where the recipe has some.
    """
    feed = Feed(data, lambda: validation_batches(data), recipe)
    steps = -(-len(data.held_back) // data.batch)
    logs = model.evaluate(feed.source(), steps=steps, verbose=0, return_dict=True)
    # Images that only fill up the last batch have the loss 0, and are in its mean.
    loss = float(logs["loss"]) / float(logs["counted"])
    return {"val_loss": loss, "val_accuracy": float(logs["accuracy"])}


def _images_per_second(position: Position, steps: int, batch: int) -> float:
    """Without steps that compile, if there were others."""
    if position.timed_steps:
        return batch * position.timed_steps / max(position.timed_seconds, 1e-9)
    return batch * steps / max(position.epoch_seconds, 1e-9)


def _epoch_line(row: dict[str, Any], session: Session) -> str:
    figures = [key for key in ("loss", "accuracy", "val_loss", "val_accuracy") if key in row]
    parts = [
        f"epoch {row['epoch'] + 1} (stage {row['stage'] + 1}), step {row['step']}:",
        *(f"{key} {row[key]:.4f}" for key in figures),
        f"rate {row['learning_rate']:.3g}",
        f"{row['images_per_second']:,.0f} images/s",
    ]
    skipped = len(session.data.broken)
    return " ".join(parts) + (f", {skipped} images skipped" if skipped else "")
