"""Containers of a bin without pickle: the same images and labels as arrays, in .npz.

It holds five arrays: `face_zoo_bin`, the version of this layout, which also is the marker that
tells a container from any other file of its kind; `data`, the distinct images' bytes one after
another (uint8); `offsets`, where each begins and the last ends (int64, distinct + 1); `slots`, the
number of the distinct image in each of the 2n slots (int64); `genuine`, the n labels (uint8, 0 or
1). HDF5 with the same arrays, the marker an attribute of the file, is read and no longer written.
`numpy.load(path)` reads an .npz without us, and no reader here lets a file decide how much memory
is allocated.
"""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BinError, cause_of
from evaluator.npz import BAD_ZIP, NpzError, declared, values

if TYPE_CHECKING:
    import h5py

MARKER = "face_zoo_bin"
VERSION = 1
HDF5_START = b"\x89HDF\r\n\x1a\n"
ZIP_START = b"PK\x03\x04"

_ARRAYS = {"data": "|u1", "offsets": "<i8", "slots": "<i8", "genuine": "|u1"}

# Zip's earliest time: the same arrays give the same bytes whenever they are written.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

# What h5py raises on a damaged file, the same damage now one and now another.
BAD_HDF5 = (
    AttributeError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def container_kind(path: Path) -> str | None:
    """`npz` or `hdf5` for a container of a bin, by its content; None for any other file.

    OSError for a file that cannot be read.
    """
    if path.is_dir():
        return None
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(ZIP_START):
        try:
            with zipfile.ZipFile(path) as archive:
                return "npz" if f"{MARKER}.npy" in archive.namelist() else None
        except BAD_ZIP:
            return None
    if start == HDF5_START:
        import h5py

        try:
            with h5py.File(path, "r") as hdf5:
                return "hdf5" if MARKER in hdf5.attrs else None
        except BAD_HDF5:  # cut short, or damaged at its root
            return None
    return None


def read_container(path: Path, data: bytes, kind: str) -> tuple[list[bytes], list[int]]:
    """The images of all 2n slots, equal ones sharing one object, and the labels, as in `data`.

    `data` are the bytes of the file at `path`, which messages name. Raises BinError for arrays
    that are missing, of another type, or do not fit each other.
    """
    arrays = _READERS[kind](path, data)
    blob, offsets, slots = arrays["data"], arrays["offsets"], arrays["slots"]
    inside = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(blob)
    if not inside or bool((offsets[1:] < offsets[:-1]).any()):  # type: ignore[operator]
        raise _damaged(path, "its offsets do not divide its data")
    if len(slots) and not (slots.min() >= 0 and slots.max() < len(offsets) - 1):
        raise _damaged(path, f"a slot names an image that is none of its {len(offsets) - 1}")
    content, ends = blob.tobytes(), offsets.tolist()
    distinct = [content[a:b] for a, b in itertools.pairwise(ends)]
    return [distinct[slot] for slot in slots.tolist()], arrays["genuine"].tolist()


def npz_bytes(distinct: list[bytes], slots: NDArray[np.intp], genuine: NDArray[np.bool_]) -> bytes:
    """The bytes of an .npz container; the same ones for the same images and labels."""
    arrays: dict[str, NDArray[np.generic]] = {
        MARKER: np.array(VERSION, "<i8"),
        "data": np.frombuffer(b"".join(distinct), np.uint8),
        "offsets": np.cumsum([0, *map(len, distinct)]).astype("<i8"),
        "slots": slots.astype("<i8"),
        "genuine": genuine.astype(np.uint8),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, values, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _NO_TIME), member.getvalue())
    return buffer.getvalue()


# ---- npz -----------------------------------------------------------------------------------------


def _npz_arrays(path: Path, data: bytes) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            version = _npz_array(path, archive, MARKER, "<i8", 0)
            _check_version(path, int(version.reshape(())))
            return {name: _npz_array(path, archive, name, _ARRAYS[name], 1) for name in _ARRAYS}
    except BinError:
        raise
    except BAD_ZIP as error:
        raise _damaged(path, cause_of(error)) from error


def _npz_array(
    path: Path, archive: zipfile.ZipFile, name: str, dtype: str, dimensions: int
) -> NDArray[np.generic]:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise _damaged(path, f"it has no array {name!r}") from None
    # Stored members are no larger than the file; a packed one may unfold to any size.
    if info.compress_type != zipfile.ZIP_STORED:
        raise BinError(
            f"{path}: its array {name!r} is compressed; expected it stored, as numpy.savez does"
        )
    try:
        found = declared(archive, info)
        _check_array(path, name, (found.dtype.str, dtype), (len(found.shape), dimensions))
        return values(archive, info, found)
    except NpzError as error:
        raise _damaged(path, f"its array {name!r} {error}") from error


# ---- HDF5 ----------------------------------------------------------------------------------------


def _hdf5_arrays(path: Path, data: bytes) -> dict[str, NDArray[np.generic]]:
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _check_version(path, int(file.attrs[MARKER]))
            return {name: _hdf5_array(path, file, name, _ARRAYS[name]) for name in _ARRAYS}
    except BinError:
        raise
    except BAD_HDF5 as error:
        raise _damaged(path, cause_of(error)) from error


def _hdf5_array(path: Path, file: h5py.File, name: str, dtype: str) -> NDArray[np.generic]:
    import h5py

    # A soft or external link would read another place, even another file.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _damaged(path, f"it has no array {name!r} of its own")
    stored = file[name]
    if not isinstance(stored, h5py.Dataset) or stored.is_virtual or stored.external:
        raise _damaged(path, f"its {name!r} is no array of its own")
    _check_array(path, name, (stored.dtype.str, dtype), (stored.ndim, 1))
    # Contiguous storage is no larger than the file; a packed or empty one may be of any size.
    if stored.chunks is not None or stored.id.get_storage_size() != stored.nbytes:
        raise BinError(f"{path}: its array {name!r} is chunked or empty; expected it stored whole")
    values: NDArray[np.generic] = stored[:]
    return values


def _check_version(path: Path, version: int) -> None:
    if version != VERSION:
        raise BinError(f"{path}: is a container of version {version}; this face-zoo reads 1")


def _check_array(
    path: Path, name: str, dtypes: tuple[str, str], dimensions: tuple[int, int]
) -> None:
    if dtypes[0] != dtypes[1] or dimensions[0] != dimensions[1]:
        raise _damaged(
            path,
            f"its array {name!r} is {dimensions[0]}-d of {dtypes[0]}, where {dimensions[1]}-d of"
            f" {dtypes[1]} belongs",
        )


def _damaged(path: Path, cause: str) -> BinError:
    return BinError(f"{path}: is a damaged container: {cause}; get the file again")


_READERS: dict[str, Callable[[Path, bytes], dict[str, NDArray[np.generic]]]] = {
    "npz": _npz_arrays,
    "hdf5": _hdf5_arrays,
}
