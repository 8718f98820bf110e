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
from training.recipes.recipe import Plateau, Verification


class DivergedError(InputError):
    """The loss or a weight is not finite any more; the message says at which step."""


class StepWatch(keras.callbacks.Callback):  # type: ignore[misc]
    """Looks at the loss after each step of a fit: reports it, and stops where it is not finite.

    ``logs`` are the means since the fit began, ``steps`` how many steps it has done, ``bad_step``
    the step of the fit, from 0, after which the loss was no number, or None. ``first_end`` is when
    the first one ended, by `time.perf_counter`.
    """

    def __init__(self, on_step: Callable[[int, float, float], None]) -> None:
        super().__init__()
        self.on_step = on_step
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


@dataclass(frozen=True)
class Verified:
    """One evaluation during training: what was measured, the seed's lines, and the aggregate of
    the declared figure (None where a bin has none). ``best`` is bin -> highest accuracy so far.
    """

    measurements: tuple[Measurement, ...]
    lines: tuple[str, ...]
    aggregate: float | None
    best: Mapping[str, float]


def verify(
    model: keras.Model,
    spec: InputSpec,
    sets: Sequence[VerificationSet],
    *,
    recipe: Verification,
    best: Mapping[str, float],
    batch_size: int = 64,
) -> Verified:
    """The embedding model on each bin, distinct images only; ``best`` is from before.

    An embedding that is not finite leaves its bin without figures, and the line says so.
    """
    embedder = Embedder(_forward(model), spec, fixed_batch=batch_size)
    measured = tuple(evaluate_bins(embedder, sets, options=EmbedOptions(batch_size=batch_size)))
    lines, best = [], dict(best)
    for each in measured:
        name = each.bin.name
        figures = each.figures
        if figures is None or figures.accuracy is None or figures.threshold is None:
            why = "only genuine or only impostor pairs"
            if len(each.unusable):
                why = f"{len(each.unusable)} embeddings are not finite or have no length"
            lines.append(f">>>> {name} evaluation: no accuracy: {why}")
            continue
        improved = figures.accuracy > best.get(name, 0.0)
        best[name] = max(figures.accuracy, best.get(name, 0.0))
        lines.append(seed_line(name, figures.accuracy, figures.threshold, best[name], improved))
    return Verified(measured, tuple(lines), _aggregate(measured, recipe), best)


def seed_line(name: str, accuracy: float, threshold: float, best: float, improved: bool) -> str:
    """The founding system's log line of an evaluation, to the character."""
    return (
        f">>>> {name} evaluation max accuracy: {accuracy:f}, thresh: {threshold:f}, "
        f"overall max accuracy: {best:f}, improved = {improved}"
    )


def bin_row(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The figures of each bin that stand in the log."""
    row: dict[str, Any] = {}
    for each in measurements:
        if each.figures is None:
            continue
        figures = to_json(each.figures)
        kfold, tar = figures["kfold"] or {}, figures["tar_at_far"]["0.001"] or {}
        values = (
            figures["accuracy"],
            figures["threshold"],
            kfold.get("accuracy"),
            kfold.get("std"),
            figures["auc"],
            figures["eer"],
            tar.get("tar"),
        )
        names = ("accuracy", "threshold", "kfold", "kfold_std", "auc", "eer", "tar_at_far_1e-3")
        row |= {f"{each.bin.name}_{key}": value for key, value in zip(names, values, strict=True)}
    return row


def _aggregate(measured: Sequence[Measurement], recipe: Verification) -> float | None:
    values = []
    for each in measured:
        figures = None if each.figures is None else to_json(each.figures)
        value = figures[recipe.figure] if figures else None
        value = value["accuracy"] if isinstance(value, Mapping) else value
        if value is None:
            return None
        values.append(float(value))
    if not values:
        return None
    return min(values) if recipe.aggregate == "min" else sum(values) / len(values)


def _forward(model: keras.Model) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(model.predict_on_batch(batch), dtype=np.float32)

    return forward


@dataclass(frozen=True)
class PlateauState:
    """By what the rate is multiplied, the best figure so far, and the epochs since it."""

    multiplier: float = 1.0
    best: float | None = None
    waited: int = 0


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
