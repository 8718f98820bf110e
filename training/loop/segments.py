"""The steps of an epoch from one event to the next, in one call of Keras's fit."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.batches.feed import Feed
from training.data.batches.pipeline import train_batches
from training.loop.callbacks import DivergedError, StepWatch
from training.loop.saving import diverged
from training.loop.session import Session, Step
from training.processes.team import told_to_stop


def next_event(session: Session) -> int:
    """The step of this epoch before which something is due besides training."""
    position, recipe = session.position, session.recipe
    before = position.steps_done - position.step
    verify_every = recipe.verification.every_steps if session.verified else 0
    due = (every for every in (recipe.checkpoint_steps, verify_every) if every)
    ends = ((position.steps_done // every + 1) * every - before for every in due)
    return min(session.epoch_steps, *ends)


def verification_due(session: Session) -> bool:
    """Whether this step is one after which bins are evaluated within an epoch."""
    every = session.recipe.verification.every_steps
    return bool(every and session.verified and session.position.steps_done % every == 0)


def train_segment(
    session: Session, model: keras.Model, order: NDArray[np.int64] | None, stop: int
) -> bool:
    """The steps of this epoch up to ``stop``, and their loss added to the epoch's. Whether all
    processes are to stop, as SIGTERM says; then after fewer steps.

    Raises DivergedError.
    """
    position, data = session.position, session.data
    start, epoch, steps = position.step, position.epochs_done, stop - position.step
    feed = Feed(data, lambda: train_batches(data, epoch, start, stop, order=order), session.recipe)
    before = position.steps_done
    watch = StepWatch(_progress(session), lambda done: told_to_stop(session.team, before + done))
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
        raise DivergedError(diverged(session, position.steps_done + watch.bad_step + 1))
    if watch.steps != steps and not watch.stopped:
        raise RuntimeError(f"fit was given {steps} steps and did {watch.steps}")
    steps = watch.steps
    _count_time(session, watch, begin, steps)
    position.loss_sum += watch.logs["loss"] * steps
    position.accuracy_sum += watch.logs["accuracy"] * steps
    position.active_sum += watch.logs.get("active", 0.0) * steps
    position.spread_sum += watch.logs.get("spread", 0.0) * steps
    position.step += steps
    position.steps_done += steps
    return watch.stopped


def _count_time(session: Session, watch: StepWatch, begin: float, steps: int) -> None:
    """Adds a segment's seconds; those of a step that compiles stay out of the rate."""
    position, now = session.position, time.perf_counter()
    position.epoch_seconds += now - begin
    if session.clock_started is None:
        # The first step of a stage in this process compiles: the rate is counted from its end.
        session.clock_started, session.clock_steps = watch.first_end, position.steps_done + 1
        begin, steps = watch.first_end, steps - 1
    position.timed_seconds += now - begin
    position.timed_steps += steps


def _progress(session: Session) -> Callable[[int, float, float], None]:
    position, begin = session.position, time.perf_counter()
    base, total = position.step, session.total_steps

    def on_step(steps: int, loss: float, accuracy: float) -> None:
        now, done = time.perf_counter(), position.steps_done + steps
        since, first = begin, position.steps_done
        if session.clock_started is not None:
            since, first = session.clock_started, session.clock_steps
        seconds_a_step = (now - since) / max(done - first, 1)
        count = base + steps
        session.report.step(
            Step(
                stage=position.stage,
                epoch=position.epoch,
                epochs=session.recipe.stages[position.stage].epochs,
                done=done,
                total=total,
                loss=(position.loss_sum + loss * steps) / count,
                accuracy=(position.accuracy_sum + accuracy * steps) / count,
                images_per_second=session.data.batch / max(seconds_a_step, 1e-9),
                seconds_left=seconds_a_step * (total - done),
            )
        )

    return on_step
