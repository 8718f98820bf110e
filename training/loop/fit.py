"""The training run: stages, epochs and segments of steps, with a checkpoint after each segment.

Keras's fit runs from one event to the next (checkpoint, verification, end of epoch); between two
calls all state lies still and is saved as a whole, on any backend. Where several processes train
together each of them goes through all of this in step; the lead alone reads and writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import VerificationSet
from training.data.batches.pipeline import TrainingData
from training.loop.epoch_end import end_epoch, look_at_bins
from training.loop.saving import (
    export,
    keep,
    load_start,
    save_all,
    save_centers,
    write_skipped,
)
from training.loop.segments import next_event, train_segment, verification_due
from training.loop.session import Reporter, Session, learning_rate
from training.loop.variables import averaged, load_all, whole_arrays
from training.network.assembly import embedding_model, shared_weights, stage_model, turned
from training.network.heads import assign
from training.processes.team import ALONE, Team, share, stop_together
from training.recipes.parts import Recipe, Stage
from training.run.checkpoints import read_state
from training.run.position import Position
from training.run.runs import RunEntry, RunFolder, clear_leftovers, cut_to, write_entry
from training.triplets.stage import epoch_order_of_triplets


def train(
    recipe: Recipe,
    data: TrainingData,
    run: RunFolder,
    *,
    entry: RunEntry,
    sets: Sequence[VerificationSet],
    report: Reporter,
    team: Team = ALONE,
    head_parts: int = 1,
) -> Position:
    """Trains a recipe in its folder, from its last checkpoint if there is one, to its end, which
    it returns.

    Of a team all processes call this; folder, bins and words are the lead's. ``head_parts`` is
    that of `stage_model`.

    Raises DivergedError where the loss stops being a number, InputError for data that cannot be
    read, OSError where the disk is full: the last checkpoint stays whole, and a resumed run goes
    on from it.
    """
    keras.utils.set_random_seed(recipe.data.seed)
    if recipe.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    position = _last_position(run, team)
    session = Session(
        recipe,
        data,
        run,
        sets,
        report,
        position,
        embedding_model(recipe),
        team,
        bool(share(team, len(sets))),
        head_parts,
    )
    whole = position.finished
    model = None if whole else _train_stages(session)
    position = session.position
    if share(team, not run.model.exists() or (recipe.export == "last" and not whole)):
        with averaged(_restored(session) if model is None else model):
            export(session)
    if team.lead:
        write_entry(run, entry, recipe)
    write_skipped(session)
    return position


def _last_position(run: RunFolder, team: Team) -> Position:
    """Where the last checkpoint stood, in all processes; what came after it is taken away."""
    state = None
    if team.lead:
        clear_leftovers(run)
        state = read_state(run.last) if run.last.exists() else {}
        cut_to(run.log, state.get("log_bytes", 0))
        cut_to(run.verification, state.get("verification_bytes", 0))
    return Position(**share(team, state))


def _train_stages(session: Session) -> keras.Model:
    """Trains what is left of the run; the model of its last stage."""
    position = session.position
    resumed = position.steps_done > 0
    shared: list[Any] = []
    for number, stage in enumerate(session.recipe.stages):
        if number < position.stage:
            continue
        if number:
            # What a stage draws must not depend on what was built before it: a resumed run builds
            # less, and so do the processes that export nothing.
            keras.utils.set_random_seed(session.recipe.data.seed + number)
        model = _model_of(session, stage)
        for old, new in zip(turned(model, shared), shared_weights(model), strict=False):
            assign(new, old)
        if resumed:
            load_all(model, session.run.last, session.team)
            resumed = False
        elif number == 0:
            load_start(session, model)
        session.clock_started = None
        while position.epoch < stage.epochs:
            _train_epoch(session, model, stage)
        shared = turned(model, whole_arrays(model, shared_weights(model)))
        position.stage, position.epoch, position.plateau = number + 1, 0, {}
    save_centers(session, model)
    position.finished = True
    # The position alone changes: the variables are those of the last stage.
    save_all(session, model, best=False)
    return model


def _model_of(session: Session, stage: Stage) -> keras.Model:
    """The whole model of a stage around the run's embedding model."""
    return stage_model(
        session.recipe,
        stage,
        session.embedding,
        classes=session.data.faces.people,
        steps_per_epoch=session.data.steps,
        head_parts=session.head_parts,
    )


def _restored(session: Session) -> keras.Model:
    """The model of a finished run, and so its embedding model, with the weights to export."""
    recipe, run = session.recipe, session.run
    path = run.exported_from(recipe)
    stage = share(session.team, read_state(path)["stage"] if session.team.lead else None)
    model = _model_of(session, recipe.stage_at(stage))
    load_all(model, path, session.team)
    return model


def _train_epoch(session: Session, model: keras.Model, stage: Stage) -> None:
    """The rest of the epoch that the position is in."""
    position, data = session.position, session.data
    if not stage.learning_rate.by_step:
        model.optimizer.learning_rate = learning_rate(session, stage)
    order = _order(session, stage)
    session.epoch_steps = data.steps if order is None else -(-len(order) // data.batch)
    stopped = False
    while position.step < session.epoch_steps:
        stopped = train_segment(session, model, order, next_event(session))
        if stopped and position.step < session.epoch_steps:
            save_all(session, model, best=False)
            stop_together(session.team)
        if position.step < session.epoch_steps:
            improved = look_at_bins(session, model)[1] if verification_due(session) else False
            keep(session, model, improved=improved, ended=False)
            save_all(session, model, best=improved)
    end_epoch(session, model, stage)
    if stopped:
        stop_together(session.team)


def _order(session: Session, stage: Stage) -> NDArray[np.int64] | None:
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
