"""Checkpoints: every variable of a run and where the run stands, in one file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import InputError, cause_of, plain_name
from evaluator.files import whole_file
from evaluator.npz import NpzError, array_names, opened_npz, read_array
from training.run.position import PlateauState, Position

_STATE = "state"

# An honest state has a kilobyte.
_LARGEST_STATE = 1_000_000
_LARGEST = 2**53

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
    named: dict[str, Any] = {f"{number:05d}": array for number, array in enumerate(arrays)}
    named[_STATE] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    with whole_file(path, follow=False) as file:
        np.savez(file, **named)


def read_state(path: Path) -> dict[str, Any]:
    """Where the run of a checkpoint stood. Raises CheckpointError, or OSError."""
    with _opened(path) as archive:
        stored = read_array(archive, _STATE)
    try:
        if stored.nbytes > _LARGEST_STATE:
            raise CheckpointError(
                f"{path}: not a whole checkpoint (a state of {stored.nbytes:,} B)"
            )
        state = json.loads(stored.tobytes())
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: not a whole checkpoint (its state is no JSON)") from None
    wrong = _wrong_state(state)
    if wrong:
        raise CheckpointError(f"{path}: not a checkpoint of a run ({wrong}); start another run")
    return dict(state)


def read_checkpoint(path: Path) -> list[Array]:
    """The arrays of a checkpoint, in order. Raises CheckpointError, or OSError."""
    with _opened(path) as archive:
        names = sorted(name for name in array_names(archive) if name != _STATE)
        return [read_array(archive, name) for name in names]


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The checkpoint's zip; what is wrong with it, or found within the block, names the file."""
    try:
        with opened_npz(path) as archive:
            yield archive
    except KeyError as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({cause_of(error)})") from None
    except NpzError as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error})") from None


def _wrong_state(state: object) -> str | None:
    """What of a state cannot be gone on from; None for one as ``save_checkpoint`` is given."""
    if not isinstance(state, dict):
        return "its state is no mapping"
    for name in (*_NEEDED, *state):
        if name not in _STATE_OF_RUN:
            return f"its state has {plain_name(name)[:40]!r}"
        if name not in state:
            return f"its state has no {name!r}"
        if not _STATE_OF_RUN[name](state[name]):
            return f"its state's {name!r} is of another type"
    return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and -_LARGEST <= value <= _LARGEST)


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _is_by_bin(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number_or_none, value.values()))


def _is_plateau(value: object) -> bool:
    """Whether it is empty or what a PlateauState is made of."""
    if not isinstance(value, dict) or not set(value) <= set(_PLATEAU):
        return False
    return all(_PLATEAU[name](each) for name, each in value.items())


# What fits a part of a state, by the type that it is declared with.
_FITS: Mapping[str, Callable[[object], bool]] = {
    "int": _is_count,
    "float": _is_number,
    "bool": lambda value: isinstance(value, bool),
    "int | None": lambda value: value is None or _is_count(value),
    "float | None": _is_number_or_none,
    "dict[str, float]": _is_by_bin,
    "dict[str, Any]": _is_plateau,
}
_PLATEAU = {each.name: _FITS[str(each.type)] for each in fields(PlateauState)}
_STATE_OF_RUN = {each.name: _FITS[str(each.type)] for each in fields(Position)}
# Older checkpoints lack some of it.
_NEEDED = ("stage", "epoch", "step", "steps_done", "best", "best_step", "finished")


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
