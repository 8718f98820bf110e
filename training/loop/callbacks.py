"""What happens beside the steps: the guard on the loss, verification, rates on a plateau."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import VerificationSet
from evaluator.errors import InputError
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.measure.embed import EmbedOptions
from evaluator.measure.evaluation import Measurement, evaluate_bins
from evaluator.metrics.all_figures import to_json
from evaluator.metrics.standing import LOGGED, OnBin, Standing, column_values, standing
from training.recipes.parts import Plateau, Verification
from training.run.position import PlateauState

# Images that are embedded at once.
_BATCH = 64


class DivergedError(InputError):
    """The loss or a weight is not finite any more; the message says at which step."""


class StepWatch(keras.callbacks.Callback):  # type: ignore[misc]
    """Looks at the loss after each step of a fit: reports it, and stops where it is not finite.

    ``logs`` are the means since the fit began, ``steps`` how many steps it has done, ``bad_step``
    the step of the fit, from 0, after which the loss was no number, or None. ``first_end`` is when
    the first one ended, by `time.perf_counter`. Where ``told_to_stop`` of the steps done says so,
    the fit ends early, and ``stopped`` is true.
    """

    def __init__(
        self,
        on_step: Callable[[int, float, float], None],
        told_to_stop: Callable[[int], bool] = lambda _: False,
    ) -> None:
        super().__init__()
        self.on_step = on_step
        self.told_to_stop = told_to_stop
        self.stopped = False
        self.logs: dict[str, float] = {}
        self.steps = 0
        self.bad_step: int | None = None
        self.first_end = 0.0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After step ``batch``."""
        self.logs = {key: float(value) for key, value in (logs or {}).items()}
        self.steps = batch + 1
        if batch == 0:
            self.first_end = time.perf_counter()
        if not math.isfinite(self.logs["loss"]):
            self.bad_step = batch
            self.model.stop_training = True
            return
        self.on_step(self.steps, self.logs["loss"], self.logs["accuracy"])
        if self.told_to_stop(self.steps):
            self.stopped = True
            self.model.stop_training = True


@dataclass(frozen=True)
class Verified:
    """One evaluation during training: what was measured, and where the model stands by it."""

    measurements: tuple[Measurement, ...]
    standing: Standing


def verify(
    forward: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    spec: InputSpec,
    sets: Sequence[VerificationSet],
    *,
    recipe: Verification,
    best: Mapping[str, float],
) -> Verified:
    """What ``forward`` of an embedding model says of each bin; ``best`` is from before.

    An embedding that is not finite leaves its bin without figures, and the line says so.
    """
    embedder = Embedder(forward, spec, fixed_batch=_BATCH)
    measured = tuple(evaluate_bins(embedder, sets, options=EmbedOptions(batch_size=_BATCH)))
    found = [OnBin(each.bin.name, each.figures, len(each.unusable)) for each in measured]
    stands = standing(found, best, monitor=recipe.figure, aggregate=recipe.aggregate)
    return Verified(measured, stands)


def bin_row(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The figures of each bin that stand in the log."""
    row: dict[str, Any] = {}
    for each in measurements:
        if each.figures is not None:
            values = column_values(to_json(each.figures))
            row |= {f"{each.bin.name}_{column}": values[column] for column in LOGGED}
    return row


def after_epoch(recipe: Plateau, state: PlateauState, value: float | None) -> PlateauState:
    """The state after an epoch whose monitored figure is ``value`` (None: there was none)."""
    if value is None:
        return state
    signed = value if recipe.monitor.endswith("accuracy") else -value
    if state.best is None or signed > state.best:
        return PlateauState(state.multiplier, signed, 0)
    if state.waited + 1 < recipe.patience:
        return PlateauState(state.multiplier, state.best, state.waited + 1)
    return PlateauState(state.multiplier * recipe.factor, state.best, 0)
