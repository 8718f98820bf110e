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

Array = np.ndarray[Any, Any]


class CheckpointError(InputError):
    """A checkpoint cannot be read, or is not this run's."""


def all_finite(arrays: Sequence[Array]) -> bool:
    """Whether no array holds a NaN or an infinity."""
    return all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f")


def save_checkpoint(path: Path, arrays: Sequence[Array], state: Mapping[str, Any]) -> None:
    """Writes all arrays, in order, and ``state`` (JSON); the file is there whole or not at all.

    Raises OSError, which leaves what was there before.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            named: dict[str, Any] = {f"{number:05d}": array for number, array in enumerate(arrays)}
            named[_STATE] = np.frombuffer(json.dumps(state).encode(), np.uint8)
            np.savez(file, **named)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp lets only the owner read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(path: Path) -> None:
    """Takes away what a killed process has left of checkpoints at ``path``; nobody else may write
    there now.
    """
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


def read_state(path: Path) -> dict[str, Any]:
    """Where the run of a checkpoint stood. Raises CheckpointError, or OSError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            state: dict[str, Any] = json.loads(bytes(file[_STATE]))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error})") from None
    return state


def read_checkpoint(path: Path) -> list[Array]:
    """The arrays of a checkpoint, in order. Raises CheckpointError, or OSError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = sorted(name for name in file.files if name != _STATE)
            return [file[name] for name in names]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error})") from None


def check_fit(
    path: Path, arrays: Sequence[Array], shapes: Sequence[tuple[int, ...]], names: Sequence[str]
) -> None:
    """Raises CheckpointError unless a checkpoint's arrays have these shapes, in order."""
    if len(arrays) != len(shapes):
        raise CheckpointError(
            f"{path}: holds {len(arrays)} variables, the recipe's model has {len(shapes)}; "
            "resume with the backend and the version of face-zoo that wrote it"
        )
    for array, shape, name in zip(arrays, shapes, names, strict=True):
        if array.shape != shape:
            raise CheckpointError(
                f"{path}: holds {array.shape} where the recipe's model has {shape} ({name})"
            )
