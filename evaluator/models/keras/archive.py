"""The zip archive that a .keras file is: what it unpacks to, and the weights in it."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import h5py
import numpy as np

from evaluator.errors import ModelError, cause_of
from evaluator.models.keras.hdf5 import check_hdf5, numeric_elements

#: A config is text about layers; the largest published networks need 2 MB.
MAX_CONFIG_BYTES = 64 * 2**20

#: What a damaged archive raises, beside what its members do.
ARCHIVE_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    OSError,
    LookupError,
    ValueError,
    RuntimeError,  # encrypted; NotImplementedError for an unknown compression
)

# The one of a name that both Kerases read, its suffix apart: .h5 before .npz.
_WEIGHTS = "model.weights"

# Before each member of a zip archive (APPNOTE.TXT 4.3.7); the last two are the lengths of its name
# and its extra field, and the member's bytes follow these. In the flags, bit 0: encrypted.
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 1
_BLOCK = 2**16


def check_archive(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    """Raises ModelError for members that would be unpacked elsewhere, or to far more than the
    file's ``size``, and for weights that are no numbers of the archive's own.
    """
    unpacked = 0
    for member in archive.infolist():
        name = cause_of(member.filename)
        if PurePosixPath(member.filename).is_absolute() or ".." in member.filename.split("/"):
            raise ModelError(
                f"{path}: not loaded: its member {name!r} would be unpacked outside its folder"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelError(
                f"{path}: not loaded: its member {name!r} is compressed by a method that Keras "
                "does not write"
            )
        unpacked += member.file_size
    # Keras stores members as they are; weights would hardly shrink.
    if unpacked > 20 * size + MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: not loaded: it unpacks to {unpacked:,} bytes, from {size:,}")
    for member in archive.infolist():
        if member.compress_type == zipfile.ZIP_DEFLATED:
            _check_deflated(path, member)
        if member.filename.endswith(".h5"):
            with member_file(path, archive, member) as stored, h5py.File(stored, "r") as file:
                check_hdf5(path, file, member.file_size)


def archive_elements(path: Path, archive: zipfile.ZipFile) -> int:
    """How many numbers the weights of an archive are; 0 if it holds none."""
    names = set(archive.namelist())
    if f"{_WEIGHTS}.h5" in names:
        member = archive.getinfo(f"{_WEIGHTS}.h5")
        with member_file(path, archive, member) as stored, h5py.File(stored, "r") as file:
            return numeric_elements(file)
    if f"{_WEIGHTS}.npz" in names:
        with member_file(path, archive, archive.getinfo(f"{_WEIGHTS}.npz")) as stored:
            return sum(_npz_sizes(path, stored))
    return 0


def member_bytes(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of up to ``MAX_CONFIG_BYTES``. Raises ModelError, or one of ``ARCHIVE_DAMAGE``."""
    member = archive.getinfo(name)
    if member.file_size > MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: {name} declares {member.file_size:,} bytes; no model needs that")
    if member.compress_type == zipfile.ZIP_DEFLATED:
        _check_deflated(path, member)
    elif member.compress_type != zipfile.ZIP_STORED:
        raise ModelError(f"{path}: {name} is compressed by a method that Keras does not write")
    return archive.read(name)


def _check_deflated(path: Path, member: zipfile.ZipInfo) -> None:
    """Raises ModelError for a member that unpacks to more than it declares.

    zipfile cuts it off afterwards, when two gigabytes may be in memory.
    """
    unpacked, stream = 0, zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as file:
        left = _seek(file, member)
        while left > 0 and not stream.eof:
            data = file.read(min(left, _BLOCK))
            if not data:
                return  # truncated, as reading it will say
            left -= len(data)
            while data and not stream.eof:
                unpacked += len(stream.decompress(data, _BLOCK))
                data = stream.unconsumed_tail
                if unpacked > member.file_size:
                    raise ModelError(
                        f"{path}: not loaded: its member {cause_of(member.filename)!r} unpacks to "
                        f"more than the {member.file_size:,} bytes it declares"
                    )


def _npz_sizes(path: Path, stored: IO[bytes]) -> Iterator[int]:
    """The number of elements of each array of an npz, from its header. Raises ModelError."""
    with zipfile.ZipFile(stored) as arrays:
        for member in arrays.infolist():
            with arrays.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
            elements = math.prod(shape)
            if dtype.hasobject or elements * dtype.itemsize > member.file_size:
                raise ModelError(
                    f"{path}: not loaded: its array {cause_of(member.filename)!r} declares "
                    f"{elements:,} values of {dtype} in {member.file_size:,} bytes"
                )
            yield elements


def _seek(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Goes to the member's own bytes in the archive; how many there are."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    name, extra = _LOCAL_HEADER.unpack(header)[-2:]
    file.seek(member.header_offset + len(header) + name + extra)
    return member.compress_size


def member_file(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member to read at random places.

    HDF5 jumps about, and zipfile goes back by reading from the member's begin anew: four seconds
    for 90 MB. What lies in the archive as it is, as Keras stores it, is read in its place.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
        return archive.open(member)
    with archive.open(member):  # raises for a local header that is not the directory's
        pass
    file = path.open("rb")
    size = min(_seek(file, member), member.file_size)
    return cast("IO[bytes]", io.BufferedReader(_Part(file, file.tell(), size)))


class _Part(io.RawIOBase):
    """A part of a file that is open for reading, as a file of its own; closes it."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._place = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._place)
        data = self._file.read(max(0, min(len(buffer), self._size - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
