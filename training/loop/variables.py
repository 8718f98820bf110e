"""A model's variables: taken whole, put back, and swapped for the averages of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.network.assembly import kept_variables, whole_shapes
from training.network.heads import assign
from training.processes.devices import whole_array
from training.processes.team import ALONE, Team, share_array
from training.run.checkpoints import check_fit, read_checkpoint


def load_all(model: keras.Model, path: Path, team: Team = ALONE) -> None:
    """Puts a checkpoint, which the lead reads, into the model of each process.

    Raises CheckpointError or OSError in the lead.
    """
    variables = kept_variables(model)
    held = whole_shapes(model)
    shapes = [held.get(each.path, tuple(each.shape)) for each in variables]
    arrays: list[Any] = [None] * len(variables)
    if team.lead:
        arrays = list(read_checkpoint(path))
        check_fit(path, arrays, shapes, [each.path for each in variables])
    for array, variable in zip(arrays, variables, strict=True):
        assign(variable, share_array(team, array))


def whole_arrays(model: keras.Model, variables: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    """Some of a model's variables without zeros after them; asked for by all processes."""
    held = whole_shapes(model)
    found = []
    for each in variables:
        array = whole_array(each)
        shape = held.get(each.path, array.shape)
        found.append(array if array.shape == shape else array[tuple(map(slice, shape))])
    return found


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """The model with the averages of its weights within the block, where its optimizer keeps some;
    all processes come here. Afterwards it has its own weights again, to the bit.
    """
    # Keras's SwapEMAWeights adds and subtracts on TensorFlow, which rounds.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    variables = model.trainable_variables if optimizer.use_ema else []
    own = [whole_array(each) for each in variables]
    for each, average in zip(
        variables, getattr(optimizer, "_model_variables_moving_average", ()), strict=True
    ):
        each.assign(whole_array(average))
    try:
        yield
    finally:
        for each, values in zip(variables, own, strict=True):
            each.assign(values)
