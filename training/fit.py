"""The training run: stages, epochs and segments of steps, with a checkpoint after each segment.

Keras's fit runs from one event to the next (checkpoint, verification, end of epoch); between two
calls all state lies still and is saved as a whole, on any backend.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.all_figures import to_json
from evaluator.bins import VerificationSet
from training.assembly import embedding_model, float32_copy, shared_weights, stage_model
from training.callbacks import (
    DivergedError,
    PlateauState,
    StepWatch,
    Verified,
    after_epoch,
    bin_row,
    verify,
)
from training.checkpoints import all_finite, load_checkpoint, read_state, save_checkpoint
from training.curves import draw_curves
from training.data.feed import Feed
from training.data.pipeline import TrainingData, train_batches, validation_batches
from training.events import append_events
from training.recipes import Recipe, Stage
from training.runs import (
    RunEntry,
    RunFolder,
    append_lines,
    append_row,
    cut_to,
    read_log,
    size_of,
    write_entry,
)
from training.triplet_stage import (
    epoch_order_of_triplets,
    held_back_triplets,
    steps_an_epoch,
    triplet_lines,
)


@dataclass
class Position:
    """Where a run stands; all of it is in each checkpoint.

    ``stage`` and ``epoch`` (within the stage) count from 0, ``step`` is the next step of the
    epoch. ``rows`` are bytes of the log and of the verification lines that belong to it.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    epochs_done: int = 0
    steps_done: int = 0
    loss_sum: float = 0.0
    accuracy_sum: float = 0.0
    active_sum: float = 0.0
    spread_sum: float = 0.0
    epoch_seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    best_by_bin: dict[str, float] = field(default_factory=dict)
    plateau: dict[str, Any] = field(default_factory=dict)
    log_bytes: int = 0
    verification_bytes: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Step:
    """What a progress line shows: ``done`` of ``total`` steps, the means of this epoch so far."""

    stage: int
    epoch: int
    epochs: int
    done: int
    total: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Reporter:
    """Where a run's words go: whole lines, and what a progress line shows."""

    say: Callable[[str], None]
    step: Callable[[Step], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its steps, and the best aggregate of verification with the step it had."""

    steps: int
    best: float | None
    best_step: int | None


@dataclass
class _Session:
    """What the functions of one run share."""

    recipe: Recipe
    data: TrainingData
    run: RunFolder
    entry: RunEntry
    sets: Sequence[VerificationSet]
    report: Reporter
    position: Position
    embedding: keras.Model
    exported: keras.Model | None = None
    started: float | None = None
    started_steps: int = 0
    epoch_steps: int = 0

    @property
    def total_steps(self) -> int:
        steps = steps_an_epoch(self.recipe, self.data.faces.labels[self.data.train])
        return sum(n * stage.epochs for n, stage in zip(steps, self.recipe.stages, strict=True))


def train(
    recipe: Recipe,
    data: TrainingData,
    run: RunFolder,
    *,
    entry: RunEntry,
    sets: Sequence[VerificationSet],
    report: Reporter,
) -> Outcome:
    """Trains a recipe in its folder, from its last checkpoint if there is one, to its end.

    Raises DivergedError where the loss stops being a number, InputError for data that cannot be
    read, OSError where the disk is full: the last checkpoint stays whole, and a resumed run goes
    on from it.
    """
    keras.utils.set_random_seed(recipe.data.seed)
    if recipe.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    position = Position()
    if run.last.exists():
        position = Position(**read_state(run.last))
    cut_to(run.log, position.log_bytes)
    cut_to(run.verification, position.verification_bytes)
    session = _Session(recipe, data, run, entry, sets, report, position, embedding_model(recipe))
    whole = position.finished
    if not whole:
        _train_stages(session)
    elif not run.model.exists():
        _restore(session)
    if not run.model.exists() or (recipe.export == "last" and not whole):
        _export(session)
    write_entry(run, entry, recipe)
    _write_skipped(session)
    return Outcome(position.steps_done, position.best, position.best_step)


def _train_stages(session: _Session) -> None:
    position = session.position
    resumed = session.run.last.exists()
    shared: list[Any] = []
    for number, stage in enumerate(session.recipe.stages):
        if number < position.stage:
            continue
        model = stage_model(
            session.recipe,
            stage,
            session.embedding,
            classes=len(session.data.faces.names),
            steps_per_epoch=session.data.steps,
        )
        for old, new in zip(shared, shared_weights(model), strict=False):
            new.assign(old)
        if resumed:
            load_checkpoint(session.run.last, _variables(model))
            resumed = False
        while position.epoch < stage.epochs:
            _train_epoch(session, model, stage)
        shared = [keras.ops.convert_to_numpy(each) for each in shared_weights(model)]
        position.stage, position.epoch, position.plateau = number + 1, 0, {}
    position.finished = True
    # The position alone changes: the variables are those of the last stage.
    _checkpoint(session, model, best=False)


def _restore(session: _Session) -> None:
    """Gives the embedding model of a finished run the weights that are exported."""
    recipe, run = session.recipe, session.run
    path = run.best if recipe.export == "best" and run.best.exists() else run.last
    number = min(int(read_state(path)["stage"]), len(recipe.stages) - 1)
    model = stage_model(
        recipe,
        recipe.stages[number],
        session.embedding,
        classes=len(session.data.faces.names),
        steps_per_epoch=session.data.steps,
    )
    load_checkpoint(path, _variables(model))


def _train_epoch(session: _Session, model: keras.Model, stage: Stage) -> None:
    """The rest of the epoch that the position is in."""
    position, data = session.position, session.data
    if not stage.learning_rate.by_step:
        model.optimizer.learning_rate = _rate(session, stage)
    order = _order(session, stage)
    session.epoch_steps = data.steps if order is None else -(-len(order) // data.batch)
    while position.step < session.epoch_steps:
        _train_segment(session, model, order, _next_event(session))
        if position.step < session.epoch_steps:
            verified = _verified(session) if _verification_due(session) else None
            _checkpoint(session, model, best=_improved(session, verified))
    _end_epoch(session, model, stage)


def _order(session: _Session, stage: Stage) -> NDArray[np.int64] | None:
    """The images of this epoch in order where triplets decide it; None elsewhere."""
    if stage.triplets is None:
        return None
    position = session.position
    order, line = epoch_order_of_triplets(
        stage.triplets,
        session.data,
        session.embedding,
        epoch=position.epochs_done,
        step=position.step,
        saved=session.run.path / "triplets.npz",
    )
    if line:
        session.report.say(line)
    return order


def _next_event(session: _Session) -> int:
    """The step of this epoch before which something is due besides training."""
    position, recipe = session.position, session.recipe
    before = position.steps_done - position.step
    ends = [session.epoch_steps]
    for every in (recipe.checkpoint_steps, recipe.verification.every_steps if session.sets else 0):
        if every:
            ends.append((position.steps_done // every + 1) * every - before)
    return min(ends)


def _verification_due(session: _Session) -> bool:
    every = session.recipe.verification.every_steps
    return bool(every and session.sets and session.position.steps_done % every == 0)


def _train_segment(
    session: _Session, model: keras.Model, order: NDArray[np.int64] | None, stop: int
) -> None:
    """The steps of this epoch up to ``stop``, and their loss added to the epoch's.

    Raises DivergedError.
    """
    position, data = session.position, session.data
    start, epoch, steps = position.step, position.epochs_done, stop - position.step
    feed = Feed(data, lambda: train_batches(data, epoch, start, stop, order=order), session.recipe)
    watch = StepWatch(_progress(session))
    begin = time.perf_counter()
    try:
        model.fit(
            feed.source(),
            steps_per_epoch=steps,
            epochs=1,
            verbose=0,
            shuffle=False,
            callbacks=[watch],
        )
    except Exception:
        # TensorFlow wraps what the generator raised into an error of its own.
        if feed.failure is not None:
            raise feed.failure from None
        raise
    if watch.bad_step is not None:
        raise DivergedError(_diverged(session, position.steps_done + watch.bad_step + 1))
    if watch.steps != steps:
        raise RuntimeError(f"fit was given {steps} steps and did {watch.steps}")
    position.epoch_seconds += time.perf_counter() - begin
    position.loss_sum += watch.logs["loss"] * steps
    position.accuracy_sum += watch.logs["accuracy"] * steps
    position.active_sum += watch.logs.get("active", 0.0) * steps
    position.spread_sum += watch.logs.get("spread", 0.0) * steps
    position.step += steps
    position.steps_done += steps
    if session.started is None:
        # The first segment compiles; the rate is counted from its end.
        session.started, session.started_steps = time.perf_counter(), position.steps_done


def _progress(session: _Session) -> Callable[[int, float, float], None]:
    position, begin = session.position, time.perf_counter()
    base = position.step

    def on_step(steps: int, loss: float, accuracy: float) -> None:
        now, done = time.perf_counter(), position.steps_done + steps
        since, first = (session.started, session.started_steps) if session.started else (begin, 0)
        if session.started is None:
            first = position.steps_done
        seconds_a_step = (now - since) / max(done - first, 1)
        count = base + steps
        session.report.step(
            Step(
                stage=position.stage,
                epoch=position.epoch,
                epochs=session.recipe.stages[position.stage].epochs,
                done=done,
                total=session.total_steps,
                loss=(position.loss_sum + loss * steps) / count,
                accuracy=(position.accuracy_sum + accuracy * steps) / count,
                images_per_second=session.data.batch / max(seconds_a_step, 1e-9),
                seconds_left=seconds_a_step * (session.total_steps - done),
            )
        )

    return on_step


def _end_epoch(session: _Session, model: keras.Model, stage: Stage) -> None:
    """Validation, verification, log, rate on a plateau, checkpoint: in an order in which a kill
    between any two of them leaves a checkpoint from which the epoch's end is done again.
    """
    position, data = session.position, session.data
    steps = session.epoch_steps
    row: dict[str, Any] = {
        "stage": position.stage,
        "epoch": position.epochs_done,
        "step": position.steps_done,
        "learning_rate": _rate(session, stage),
        "loss": position.loss_sum / steps,
        "accuracy": position.accuracy_sum / steps,
        "images_per_second": data.batch * steps / max(position.epoch_seconds, 1e-9),
        "seconds": position.epoch_seconds,
        **_validated(session, model, stage),
    }
    session.report.say(_epoch_line(row, session))
    if stage.triplets is not None:
        _look_at_triplets(session, row["loss"], model)
    verified = _verified(session) if session.sets else None
    if stage.plateau is not None:
        state = after_epoch(
            stage.plateau, PlateauState(**position.plateau), row.get(stage.plateau.monitor)
        )
        position.plateau = dataclasses.asdict(state)
    position.epoch += 1
    position.epochs_done += 1
    position.step, position.loss_sum, position.accuracy_sum = 0, 0.0, 0.0
    position.active_sum, position.spread_sum = 0.0, 0.0
    position.epoch_seconds = 0.0
    improved = _improved(session, verified)
    row |= bin_row(verified.measurements) if verified else {}
    append_row(session.run, row, [each.name for each in session.sets])
    append_events(session.run.path, position.steps_done, row)
    draw_curves(read_log(session.run), session.run.curves)
    _write_skipped(session)
    data.faces.release()
    _checkpoint(session, model, best=improved)


def _look_at_triplets(session: _Session, loss: float, model: keras.Model) -> None:
    """Says how many triplets are active and how far embeddings lie apart, and what is wrong."""
    position, steps = session.position, session.epoch_steps
    rows = [row for row in read_log(session.run) if int(row["stage"]) == position.stage]
    for line in triplet_lines(
        [*(float(row["loss"]) for row in rows), loss],
        margin=model.loss.margin,
        spread=position.spread_sum / steps,
        active=position.active_sum / steps,
    ):
        session.report.say(line)


def _validated(session: _Session, model: keras.Model, stage: Stage) -> dict[str, float]:
    """Loss and accuracy on the images held back; nothing if there are none."""
    if not len(session.data.held_back):
        return {}
    if stage.triplets is not None:
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
    feed = Feed(session.data, lambda: validation_batches(session.data), session.recipe)
    steps = -(-len(session.data.held_back) // session.data.batch)
    logs = model.evaluate(feed.source(), steps=steps, verbose=0, return_dict=True)
    return {"val_loss": float(logs["loss"]), "val_accuracy": float(logs["accuracy"])}


def _verified(session: _Session) -> Verified:
    """Evaluates the bins, prints the seed's lines and keeps every figure."""
    position = session.position
    found = verify(
        session.embedding,
        session.data.input,
        session.sets,
        recipe=session.recipe.verification,
        best=position.best_by_bin,
    )
    for line in found.lines:
        session.report.say(line)
    position.best_by_bin = dict(found.best)
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


def _improved(session: _Session, verified: Verified | None) -> bool:
    """Notes and exports the embedding model if it is the best so far by the aggregate."""
    position = session.position
    if verified is None or verified.aggregate is None:
        return False
    if position.best is not None and verified.aggregate <= position.best:
        return False
    position.best, position.best_step = verified.aggregate, position.steps_done
    if session.recipe.export == "best":
        _export(session)
    return True


def _checkpoint(session: _Session, model: keras.Model, *, best: bool) -> None:
    """Saves everything as the last checkpoint, and as the best one if it is that.

    Raises DivergedError instead where a weight is not finite: the checkpoint before stays the last.
    """
    variables = _variables(model)
    if not all_finite(variables):
        raise DivergedError(_diverged(session, session.position.steps_done, what="a weight"))
    position, run = session.position, session.run
    position.log_bytes = size_of(run.log)
    position.verification_bytes = size_of(run.verification)
    save_checkpoint(run.last, variables, dataclasses.asdict(position))
    if best:
        _link(run.last, run.best)


def _link(source: Any, target: Any) -> None:
    """``target`` becomes a second name of ``source``, which is replaced and never written to."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    os.link(source, temporary)
    temporary.replace(target)


def _export(session: _Session) -> None:
    """Writes the embedding model alone, in float32, whole or not at all."""
    if session.exported is None:
        session.exported = float32_copy(session.recipe, session.embedding)
    else:
        session.exported.set_weights(session.embedding.get_weights())
    target = session.run.model
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        session.exported.save(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _variables(model: keras.Model) -> list[Any]:
    """All that a checkpoint holds, in an order that is the same in each process."""
    return [*model.variables, *model.optimizer.variables]


def _rate(session: _Session, stage: Stage) -> float:
    """The learning rate where the position is (at an epoch's end: at its last step)."""
    position = session.position
    if stage.learning_rate.by_step:
        at = position.epoch + max(position.step - 1, 0) / session.epoch_steps
    else:
        at = float(position.epoch)
    rate = stage.learning_rate.over(stage.epochs)(at)
    if stage.plateau is None:
        return rate
    return max(rate * PlateauState(**position.plateau).multiplier, stage.plateau.min_rate)


def _epoch_line(row: dict[str, Any], session: _Session) -> str:
    parts = [f"epoch {row['epoch'] + 1} (stage {row['stage'] + 1}), step {row['step']}:"]
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        if row.get(key) is not None:
            parts.append(f"{key} {row[key]:.4f}")
    parts.append(f"rate {row['learning_rate']:.3g}")
    parts.append(f"{row['images_per_second']:,.0f} images/s")
    skipped = len(session.data.broken.causes)
    return " ".join(parts) + (f", {skipped} images skipped" if skipped else "")


def _diverged(session: _Session, step: int, what: str = "the loss") -> str:
    kept = "there is no checkpoint before it"
    if session.run.last.exists():
        state = read_state(session.run.last)
        kept = f"{session.run.last} holds the weights of step {state['steps_done']}"
    return (
        f"step {step}: {what} is no finite number any more; training stopped, {kept}. "
        "Try a lower learning rate, a warm-up with softmax, or precision float32"
    )


def _write_skipped(session: _Session) -> None:
    causes = session.data.broken.causes
    if causes:
        lines = [f"{origin}\t{cause}\n" for origin, cause in sorted(causes.items())]
        session.run.skipped.write_text("".join(lines), encoding="utf-8")
