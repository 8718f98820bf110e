"""The HDF5 file of scores beside a result: written, and read as something a stranger may have made.

HDF5 files can name data of other files, and a kilobyte of them can declare gigabytes. So links,
types, shapes and storage are looked at before anything is read.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from evaluator.bins.containers import BAD_HDF5
from evaluator.errors import ResultError, cause_of

# What zlib's format allows: 258 bytes from 2 bits, near enough 1032 times. The one filter that is
# written; through a chain of two, a kilobyte could unfold to a gigabyte.
_GZIP = h5py.h5z.FILTER_DEFLATE
_MOST_UNPACKED = 1032
_ROUNDING = 1 << 16

# Below, memory is not asked after.
_NO_QUESTION = 1 << 26

# What is squared and added up must not overflow; scores from elsewhere have any scale.
LARGEST_SCORE = 1e100

# Kinds of NumPy type, by name of the dataset, as in `np.dtype.kind`.
_KINDS = {"scores": "f", "genuine": "biu", "images": "iu", "people": "iu"}


def scores_bytes(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The file's bytes for these datasets; the same bytes for the same values."""
    buffer = io.BytesIO()
    # libver and track_times: equal scores give equal bytes.
    with h5py.File(buffer, "w", libver="v110") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip", track_times=False)
    return buffer.getvalue()


def check_values(
    path: Path, scores: NDArray[np.generic], labels: NDArray[np.generic], *, genuine: int
) -> None:
    """Raises ResultError unless so many pairs are genuine, as the result says, and every score can
    be computed with.
    """
    found = int(np.count_nonzero(labels))
    if found != genuine:
        raise ResultError(
            f"{path}: the scores do not belong to the result beside them: {found:,} genuine pairs, "
            f"where it has {genuine:,}; use --fresh"
        )
    if bool((np.abs(scores) > LARGEST_SCORE).any()):
        raise ResultError(f"{path}: scores beyond {LARGEST_SCORE:g}; scale them, and store again")


def scores_arrays(path: Path, data: bytes, pairs: int) -> dict[str, NDArray[np.generic]]:
    """``scores``, ``genuine``, ``images`` and, where they are known, ``people`` of so many pairs.

    ``data`` are the bytes of the file at ``path``, which messages name. Raises ResultError for
    datasets that are missing, damaged, of another shape, or not wholly in the file.
    """
    lengths = {"scores": pairs, "genuine": pairs, "images": 2 * pairs, "people": 2 * pairs}
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            names = [name for name in lengths if name != "people" or name in file]
            return {name: _values(path, file, name, lengths[name]) for name in names}
    except ResultError:
        raise
    except BAD_HDF5 as error:
        raise ResultError(f"{path}: damaged scores ({cause_of(error)}); use --fresh") from None


def _values(path: Path, file: h5py.File, name: str, length: int) -> NDArray[np.generic]:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ResultError(f"{path}: damaged scores (no {name!r} of its own); use --fresh")
    stored = file[name]
    if not isinstance(stored, h5py.Dataset) or stored.is_virtual or stored.external:
        raise ResultError(f"{path}: damaged scores ({name!r} is no array of its own); use --fresh")
    if stored.shape != (length,):
        raise ResultError(
            f"{path}: the scores do not belong to the result beside them: {length} values of"
            f" {name!r} expected; use --fresh"
        )
    if stored.dtype.kind not in _KINDS[name] or stored.dtype.itemsize > 8:
        raise ResultError(f"{path}: damaged scores ({name!r} has another type); use --fresh")
    _check_storage(path, name, stored)
    _check_memory(path, name, stored.nbytes)
    values: NDArray[np.generic] = stored[:]
    return values


def _check_storage(path: Path, name: str, stored: h5py.Dataset) -> None:
    """Refuses values that the stored bytes cannot hold: reading would allocate them all."""
    settings = stored.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    held = stored.id.get_storage_size()
    most = held * _MOST_UNPACKED + _ROUNDING if filters else held
    chunk = int(np.prod(stored.chunks or (0,))) * stored.dtype.itemsize
    if (
        filters not in ([], [_GZIP])
        or not stored.nbytes <= most
        or chunk > max(most, stored.nbytes)
    ):
        raise ResultError(
            f"{path}: damaged scores ({name!r} declares {stored.nbytes} bytes and has {held});"
            " use --fresh"
        )


def _check_memory(path: Path, name: str, size: int) -> None:
    """Raises ResultError for values that memory does not hold, twice over for a copy of them."""
    if size < _NO_QUESTION:
        return
    from evaluator.limits import available_bytes

    available = available_bytes()
    if available is not None and 2 * size > available:
        raise ResultError(
            f"{path}: {name!r} needs {2 * size:,} bytes of memory, and {available:,} are available"
        )
