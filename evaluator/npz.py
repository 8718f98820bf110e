"""Arrays out of a .npz that anyone may have made: nothing is allocated that the file cannot fill.

A .npz is a zip of .npy files. Each declares its shape in a header, and the zip declares the size of
each: a few hundred bytes can declare terabytes, and a small packed member can unpack to gigabytes.
So header, sizes and memory are held against each other first. Nothing pickled is loaded.
"""

from __future__ import annotations

import io
import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import cause_of, plain_name
from evaluator.files import open_regular

#: What zipfile raises on a damaged archive. Documented is the first; the others are a directory at
#: a negative place, an unknown compression or version, encryption, an early end, broken extras.
BAD_ZIP = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
# What NumPy raises on a header, which it gives to Python's own parser.
_BAD_HEADER = (
    *BAD_ZIP,
    SyntaxError,
    TypeError,
    KeyError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
    Warning,
)

# A header of numbers has 128 bytes; one that names many fields some kilobytes.
_LARGEST_HEADER = 1 << 16
_BLOCK = 1 << 20
# Below, memory is not asked after.
_NO_QUESTION = 1 << 26


class NpzError(ValueError):
    """A member is no array that can be read; the message says why, and names no file."""


@dataclass(frozen=True)
class Declared:
    """What a .npy says of itself, which is what its zip says of it: values begin at ``start``."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def opened_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip at a path. Raises NpzError for a file that is none, OSError for no regular file."""
    with os.fdopen(open_regular(path), "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except BAD_ZIP as error:
            raise NpzError(cause_of(error)) from None
        with archive:
            yield archive


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """The names of the arrays, as `numpy.load` gives them."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def read_array(archive: zipfile.ZipFile, name: str, *, copies: int = 1) -> NDArray[np.generic]:
    """The array of that name, if memory holds it ``copies`` times as numbers of 64 bits or more.

    Raises NpzError, KeyError.
    """
    info = member(archive, name)
    found = declared(archive, info)
    check_memory(copies * max(found.size, 8 * math.prod(found.shape)))
    return values(archive, info, found)


def mapped_array(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    """The array of that name in the file at ``path``, left in it where it is not packed: rows are
    read when they are used. Else read whole, if memory holds it.

    Raises NpzError, KeyError, OSError.
    """
    info = member(archive, name)
    found = declared(archive, info)
    if info.compress_type != zipfile.ZIP_STORED or not found.size:
        check_memory(found.size)
        return values(archive, info, found)
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(info.header_offset)
        # PKZIP's local header: 30 bytes, then a name and extra fields of the lengths at 26 and 28.
        name_length, extra = struct.unpack("<26x2H", file.read(30).ljust(30, b"\0"))
        start = info.header_offset + 30 + name_length + extra + found.start
        if start + found.size > os.fstat(file.fileno()).st_size:
            raise NpzError("is said to have more bytes than the file")
    order: Literal["F", "C"] = "F" if found.fortran else "C"
    return np.memmap(path, found.dtype, "r", start, found.shape, order)


def member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The zip's record of an array. Raises KeyError."""
    try:
        return archive.getinfo(f"{name}.npy")
    except KeyError:
        return archive.getinfo(name)


def declared(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Declared:
    """What a member declares. Raises NpzError unless its bytes can be just that."""
    try:
        with archive.open(info) as stream:
            head = io.BytesIO(stream.read(_LARGEST_HEADER))
        shape, fortran, dtype = _header(head)
    except _BAD_HEADER as error:
        raise NpzError(cause_of(error)) from None
    if dtype.hasobject:
        raise NpzError("holds pickled Python objects, which could run code when they are loaded")
    if not dtype.itemsize or any(side < 0 for side in shape):
        raise NpzError(f"declares {_shown(shape)} of {plain_name(str(dtype))[:40]}, which is none")
    found = Declared(shape, dtype, fortran, head.tell())
    held = info.file_size - found.start
    if found.size != held:
        raise NpzError(f"declares {_shown(shape)} of {dtype.itemsize} bytes and holds {held} bytes")
    _check_packing(archive, info)
    return found


def values(archive: zipfile.ZipFile, info: zipfile.ZipInfo, found: Declared) -> NDArray[np.generic]:
    """The values of a member that was found to be as declared. Raises NpzError."""
    flat = np.empty(math.prod(found.shape), found.dtype)
    filled, place = flat.view(np.uint8), 0
    try:
        with archive.open(info) as stream:
            stream.read(found.start)
            while block := stream.read(_BLOCK):
                if place + len(block) > found.size:
                    raise NpzError("holds more than it declares")
                filled[place : place + len(block)] = np.frombuffer(block, np.uint8)
                place += len(block)
    except BAD_ZIP as error:
        raise error if isinstance(error, NpzError) else NpzError(cause_of(error)) from None
    if place != found.size:
        raise NpzError(f"ends after {place:,} of {found.size:,} bytes")
    return flat.reshape(found.shape, order="F" if found.fortran else "C")


def check_memory(needed: int) -> None:
    """Raises NpzError where an array needs more bytes than this process may have."""
    if needed < _NO_QUESTION:
        return
    from evaluator.limits import available_bytes

    available = available_bytes()
    if available is not None and needed > available:
        raise NpzError(
            f"needs {needed:,} bytes of memory to be read and scored, and {available:,} are "
            "available"
        )


def most_inflated(packed: int) -> int:
    """Bytes that so many can unpack to: deflate's format gives 258 for 2 bits, 1032 times."""
    return packed * 1032 + (1 << 16)


def _header(head: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    major, _ = np.lib.format.read_magic(head)
    first = major == 1
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy only warns of a header that Python 2 wrote
        shape, fortran, dtype = read(head)
    return shape, fortran, dtype


def _check_packing(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Raises NpzError for a member whose packed bytes cannot be what the zip says of them."""
    # The directory stands behind all members, and says their sizes too.
    if info.header_offset + info.compress_size > archive.start_dir:
        raise NpzError("is said to have more bytes than the file")
    if info.compress_type == zipfile.ZIP_STORED:
        most = info.compress_size
    elif info.compress_type == zipfile.ZIP_DEFLATED:
        most = most_inflated(info.compress_size)
    else:
        raise NpzError("is packed otherwise than numpy.savez_compressed packs")
    if info.file_size > most:
        raise NpzError(f"declares {info.file_size:,} bytes and has {info.compress_size:,}")


def _shown(shape: tuple[int, ...]) -> str:
    return str(shape) if len(str(shape)) <= 60 else f"{len(shape)} dimensions"
