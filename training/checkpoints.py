"""Checkpoints: every variable of a run and where the run stands, in one file."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import InputError

_STATE = "state"


class CheckpointError(InputError):
    """A checkpoint cannot be read, or is not this run's."""


def all_finite(variables: Sequence[Any]) -> bool:
    """Whether no variable holds a NaN or an infinity."""
    return all(
        np.isfinite(array).all() for array in map(_array, variables) if array.dtype.kind == "f"
    )


def save_checkpoint(path: Path, variables: Sequence[Any], state: Mapping[str, Any]) -> None:
    """Writes all variables, in order, and ``state`` (JSON); the file is there whole or not at all.

    Raises OSError, which leaves what was there before.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            arrays: dict[str, Any] = {
                f"{number:05d}": _array(variable) for number, variable in enumerate(variables)
            }
            arrays[_STATE] = np.frombuffer(json.dumps(state).encode(), np.uint8)
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp lets only the owner read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_state(path: Path) -> dict[str, Any]:
    """Where the run of a checkpoint stood. Raises CheckpointError, or OSError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            state: dict[str, Any] = json.loads(bytes(file[_STATE]))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error})") from None
    return state


def load_checkpoint(path: Path, variables: Sequence[Any]) -> None:
    """Puts a checkpoint's values into the variables, which are in the order they were saved in.

    Raises CheckpointError if they are not as many or not of the same shapes, or OSError.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = sorted(name for name in file.files if name != _STATE)
            arrays = [file[name] for name in names]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error})") from None
    if len(arrays) != len(variables):
        raise CheckpointError(
            f"{path}: holds {len(arrays)} variables, the recipe's model has {len(variables)}"
        )
    for array, variable in zip(arrays, variables, strict=True):
        if array.shape != tuple(variable.shape):
            raise CheckpointError(
                f"{path}: holds {array.shape} where the recipe's model has "
                f"{tuple(variable.shape)} ({variable.path})"
            )
    for array, variable in zip(arrays, variables, strict=True):
        variable.assign(array)


def _array(variable: Any) -> np.ndarray[Any, Any]:
    # Here and not above: `zoo list --runs` reads states alone, and Keras takes seconds to import.
    import keras

    array: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(variable)
    return array
