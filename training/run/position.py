"""Where a run stands: what its checkpoints say besides the variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PlateauState:
    """By what the rate is multiplied, the best figure so far, and the epochs since it."""

    multiplier: float = 1.0
    best: float | None = None
    waited: int = 0


@dataclass
class Position:
    """Where a run stands; all of it is in each checkpoint.

    ``stage`` and ``epoch`` (within the stage) count from 0, ``step`` is the next step of the
    epoch. ``epoch_seconds`` are those of its steps; ``timed_steps`` took ``timed_seconds`` without
    a first one, which compiles. The bytes are those of the log and of the verification lines that
    belong to it. ``best`` is the best aggregate of verification, ``best_step`` the step it had.
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
    timed_seconds: float = 0.0
    timed_steps: int = 0
    best: float | None = None
    best_step: int | None = None
    best_by_bin: dict[str, float] = field(default_factory=dict)
    plateau: dict[str, Any] = field(default_factory=dict)
    log_bytes: int = 0
    verification_bytes: int = 0
    finished: bool = False
