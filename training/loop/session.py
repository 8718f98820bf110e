"""What the functions of one training run share: its recipe, data, models and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from evaluator.bins.verification_set import VerificationSet
from training.data.batches.pipeline import TrainingData
from training.processes.team import Team
from training.recipes.parts import Recipe, Stage
from training.run.position import PlateauState, Position
from training.run.runs import RunFolder
from training.triplets.stage import steps_an_epoch


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
    """Where a run's words go: whole lines, what a progress line shows, and each row of the log."""

    say: Callable[[str], None] = lambda _: None
    step: Callable[[Step], None] = lambda _: None
    row: Callable[[Mapping[str, Any]], None] = lambda _: None


@dataclass
class Session:
    """One run in this process. Only the team's lead has bins in ``sets`` (``verified`` says whether
    it has) and writes into the folder; ``local`` is its own copy of the embedding model where
    several processes train.
    """

    recipe: Recipe
    data: TrainingData
    run: RunFolder
    sets: Sequence[VerificationSet]
    report: Reporter
    position: Position
    embedding: keras.Model
    team: Team
    verified: bool
    head_parts: int = 1
    exported: keras.Model | None = None
    local: keras.Model | None = None
    clock_started: float | None = None
    clock_steps: int = 0
    epoch_steps: int = 0

    @property
    def total_steps(self) -> int:
        """Those of the whole run."""
        steps = steps_an_epoch(self.recipe, self.data.faces.labels[self.data.train])
        return sum(n * stage.epochs for n, stage in zip(steps, self.recipe.stages, strict=True))


def learning_rate(session: Session, stage: Stage) -> float:
    """The rate where the position is (at an epoch's end: at its last step)."""
    position = session.position
    if stage.learning_rate.by_step:
        at = position.epoch + max(position.step - 1, 0) / session.epoch_steps
    else:
        at = float(position.epoch)
    rate = stage.learning_rate.over(stage.epochs)(at)
    if stage.plateau is None:
        return rate
    return max(rate * PlateauState(**position.plateau).multiplier, stage.plateau.min_rate)
