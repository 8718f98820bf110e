"""Learning rates by epoch, as pure functions from an epoch to a rate.

An epoch counts from 0 and may be a fraction, for a rate that changes with every step; the seed's
own schedule was called with whole epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from evaluator.errors import InputError

Schedule = Callable[[float], float]


def constant(learning_rate: float) -> Schedule:
    """The same rate at every epoch."""
    positive(learning_rate=learning_rate)
    return lambda _: learning_rate


def founding_schedule(
    learning_rate: float = 0.001, *, hold: float = 10, rate: float = 0.2
) -> Schedule:
    """The founding system's rate, a function of the epoch from 0: ``learning_rate`` for the first
    ``hold`` epochs, then x exp(rate * (hold - epoch)).

    For ``keras.callbacks.LearningRateScheduler``, as `warm_up` is. Raises InputError for a
    ``learning_rate`` that is not above 0.
    """
    positive(learning_rate=learning_rate)
    return lambda epoch: learning_rate * math.exp(min(0.0, rate * (hold - epoch)))


def polynomial(
    learning_rate: float, *, epochs: float, power: float = 2.0, end: float = 0.0
) -> Schedule:
    """From ``learning_rate`` at 0 to ``end`` at ``epochs`` and after: (1 - epoch/epochs)^power."""
    positive(learning_rate=learning_rate, epochs=epochs, power=power)
    return lambda epoch: float(end + (learning_rate - end) * (1.0 - _done(epoch, epochs)) ** power)


def cosine(learning_rate: float, *, epochs: float, end: float = 0.0) -> Schedule:
    """From ``learning_rate`` at 0 to ``end`` at ``epochs`` and after, along half a cosine."""
    positive(learning_rate=learning_rate, epochs=epochs)
    return lambda epoch: (
        end + (learning_rate - end) * 0.5 * (1.0 + math.cos(math.pi * _done(epoch, epochs)))
    )


def _done(epoch: float, epochs: float) -> float:
    return min(max(epoch / epochs, 0.0), 1.0)


def warmup(schedule: Schedule, epochs: float) -> Schedule:
    """A line from 0 to ``schedule(epochs)``, then ``schedule`` itself, unshifted."""
    positive(epochs=epochs)
    return lambda epoch: (
        schedule(epochs) * max(epoch, 0.0) / epochs if epoch < epochs else schedule(epoch)
    )


def warm_up(schedule: Schedule, epochs: float) -> Schedule:
    """``schedule`` after a warm-up, for whole epochs from 0: each of the first ``epochs`` has the
    mean over it of a line from 0 to ``schedule(epochs)``, so that none is trained at a rate of 0.

    Raises InputError for ``epochs`` not above 0.
    """
    line = warmup(schedule, epochs)
    return lambda epoch: line(epoch + 0.5) if epoch + 0.5 < epochs else schedule(epoch)


SCHEDULES: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {
        "constant": constant,
        "founding": founding_schedule,
        # The name that recipes have had for it.
        "seed": founding_schedule,
        "polynomial": polynomial,
        "cosine": cosine,
    }
)


def make_schedule(name: str, *, warmup_epochs: float = 0.0, **options: Any) -> Schedule:
    """That schedule of `SCHEDULES` with its options, after ``warmup_epochs`` of warm-up.

    Raises:
        InputError: an option the schedule does not have or lacks, a value out of range.
    """
    try:
        schedule = SCHEDULES[name](**options)
    except TypeError as error:
        raise InputError(f"schedule {name}: {error}") from error
    return warmup(schedule, warmup_epochs) if warmup_epochs else schedule


def positive(**given: float) -> None:
    """Raises InputError for a value that is not a finite number above 0."""
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"schedule: {name}: expected a finite number above 0, found {value!r}")
