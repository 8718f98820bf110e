"""What Keras files are made of, held to what they hold: HDF5, and the zip archive of a .keras.

A hostile HDF5 file could declare data of other files, more than it holds, and types whose values
lie elsewhere in it, any number of times; an archive, to unpack elsewhere, or to far more.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import h5py
import numpy as np

from evaluator.errors import ModelError, cause_of

# Trained weights hardly compress. This many times the file's size, and this much besides, is
# more than a real model declares; a bomb declares thousands of times.
_EXPANSION = 20
_ALLOWANCE = 64 * 2**20

#: What h5py raises for a file that is damaged, by place and version.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError)

# A model's config is the largest attribute there is; it is held to less where it is read.
_MAX_ATTRIBUTE_BYTES = 64 * 2**20
# References to texts of any length: what an object's header holds, and Keras never exceeds.
_MAX_HEADER_BYTES = 2**16


def check_hdf5(path: Path, file: h5py.File, stored_bytes: int) -> None:
    """Raises ModelError for links to other files, and for declared data that cannot be there.

    ``stored_bytes`` is the size of the HDF5 file, which may be a member of an archive. Raises one
    of ``DAMAGE`` too.
    """
    declared = 0
    most = stored_bytes * _EXPANSION + _ALLOWANCE
    _check_attributes(path, file)
    for name, item in _objects(path, file):
        _check_attributes(path, item)
        if not isinstance(item, h5py.Dataset):
            continue
        if item.is_virtual or item.external:
            raise ModelError(
                f"{path}: not loaded: its dataset {cause_of(name)} takes its data from another "
                "file; a model holds its own weights"
            )
        if not _is_numeric(item.dtype):
            raise ModelError(
                f"{path}: not loaded: its dataset {cause_of(name)} holds {cause_of(item.dtype)}; "
                "weights are numbers"
            )
        declared += item.size * item.dtype.itemsize if item.size else 0
        # A chunk is read whole, however little of it is the dataset's.
        chunk = math.prod(item.chunks) * item.dtype.itemsize if item.chunks else 0
        if max(declared, chunk) > most:
            raise ModelError(
                f"{path}: not loaded: up to {cause_of(name)} it declares "
                f"{max(declared, chunk):,} bytes of weights, in a file of {stored_bytes:,}"
            )


def _check_attributes(path: Path, item: Any) -> None:
    """Raises ModelError for an attribute that is neither text nor numbers, or too large to be.

    Nothing of its value is read. Raises one of ``DAMAGE`` too.
    """
    for number in range(h5py.h5a.get_num_attrs(item.id)):
        attribute = h5py.h5a.open(item.id, index=number)
        where = f"{path}: not loaded: its attribute {cause_of(os.fsdecode(attribute.name))}"
        kind, space = attribute.get_type(), attribute.get_space()
        words = isinstance(kind, h5py.h5t.TypeStringID)
        if not words and kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM):
            raise ModelError(f"{where} is neither text nor a number; the file is damaged")
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            continue
        count = space.get_simple_extent_npoints()
        if count * kind.get_size() > _MAX_ATTRIBUTE_BYTES:
            raise ModelError(f"{where} declares {count * kind.get_size():,} bytes")
        if words and kind.is_variable_str() and count * kind.get_size() > _MAX_HEADER_BYTES:
            raise ModelError(
                f"{where} declares {count:,} texts; an object of HDF5 has room for less"
            )


def text_attribute(path: Path, file: h5py.File, name: str) -> str | bytes | None:
    """A text of a file, of any length up to ``_MAX_ATTRIBUTE_BYTES``; None if it has none.

    Raises ModelError for an attribute that is no text, or one of ``DAMAGE``.
    """
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    kind, space = attribute.get_type(), attribute.get_space()
    found = space.get_simple_extent_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) or found == h5py.h5s.NULL:
        what = "empty" if found == h5py.h5s.NULL else f"of type {cause_of(attribute.dtype)}"
        raise ModelError(f"{path}: its attribute {name} is {what}; expected text; it is damaged")
    if space.get_simple_extent_npoints() != 1 or kind.get_size() > _MAX_ATTRIBUTE_BYTES:
        raise ModelError(f"{path}: its attribute {name} is not one text; the file is damaged")
    value: Any = file.attrs[name]
    if not isinstance(value, str | bytes):
        value = bytes(value) if found == h5py.h5s.SCALAR else value.flat[0]
    return value if isinstance(value, str | bytes) else bytes(value)


def numeric_elements(file: h5py.File) -> int:
    """How many numbers the datasets of a Keras file's weights hold; of an .h5 with a network, those
    below ``model_weights``, which leaves out the optimizer's.

    What a dataset declares and does not store is not counted: HDF5 would give its fill value.
    """
    group = file.get("model_weights", file)
    root = group if isinstance(group, h5py.Group) else file
    found = 0
    for _, item in _objects(Path(file.filename), root, soft=True):
        if isinstance(item, h5py.Dataset):
            stored = item.id.get_storage_size() * _EXPANSION // item.dtype.itemsize
            found += min(item.size or 0, stored)
    return found


def _is_numeric(dtype: Any) -> bool:
    # bfloat16 and float8 are stored as opaque values of two bytes and one.
    opaque = dtype.kind == "V" and dtype.names is None and dtype.subdtype is None
    return dtype.kind in "biufc" or (opaque and dtype.itemsize <= 2)


def _objects(path: Path, root: h5py.Group, *, soft: bool = False) -> Iterator[tuple[str, Any]]:
    """Every group and dataset in a group once, without following a link out of the file, nor where
    not ``soft``, one within: what that points to is met under its own name.
    """
    seen = set()
    stack: list[tuple[str, h5py.Group]] = [("", root)]
    while stack:
        prefix, group = stack.pop()
        for name in group:
            full = f"{prefix}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ModelError(
                    f"{path}: not loaded: {cause_of(full)} is a link to another file, "
                    f"{link.filename!r}; a model holds its own weights"
                )
            if isinstance(link, h5py.SoftLink) and not soft:
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            yield full, item
            if isinstance(item, h5py.Group):
                stack.append((full, item))


#: A config is text about layers; the largest published networks need 2 MB.
MAX_CONFIG_BYTES = 64 * 2**20

#: What a damaged archive raises, beside what HDF5 does: RuntimeError where it is encrypted,
#: NotImplementedError for an unknown compression.
ARCHIVE_DAMAGE = (*DAMAGE, zipfile.BadZipFile, zlib.error, EOFError, struct.error)

# The one of a name that both Kerases read: .h5 before .npz.
_WEIGHTS = ("model.weights.h5", "model.weights.npz")

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
        _check_method(path, member)
        unpacked += member.file_size
    # Keras stores members as they are; weights would hardly shrink.
    if unpacked > 20 * size + MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: not loaded: it unpacks to {unpacked:,} bytes, from {size:,}")
    for member in archive.infolist():
        _check_deflated(path, member)
        if member.filename.endswith(".h5"):
            with member_file(path, archive, member) as stored, h5py.File(stored, "r") as file:
                check_hdf5(path, file, member.file_size)


def archive_elements(path: Path, archive: zipfile.ZipFile) -> int:
    """How many numbers the weights of an archive are; 0 if it holds none."""
    for name in sorted({*_WEIGHTS} & {*archive.namelist()}):
        with member_file(path, archive, archive.getinfo(name)) as stored:
            if name.endswith(".npz"):
                return sum(_npz_sizes(path, stored))
            with h5py.File(stored, "r") as file:
                return numeric_elements(file)
    return 0


def member_bytes(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of up to ``MAX_CONFIG_BYTES``. Raises ModelError, or one of ``ARCHIVE_DAMAGE``."""
    member = archive.getinfo(name)
    if member.file_size > MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: {name} declares {member.file_size:,} bytes; no model needs that")
    _check_method(path, member)
    _check_deflated(path, member)
    return archive.read(name)


def _check_method(path: Path, member: zipfile.ZipInfo) -> None:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(
            f"{path}: not loaded: its member {cause_of(member.filename)!r} is compressed by a "
            "method that Keras does not write"
        )


def _check_deflated(path: Path, member: zipfile.ZipInfo) -> None:
    """Raises ModelError for a packed member that unpacks to more than it declares.

    zipfile cuts it off afterwards, when two gigabytes may be in memory.
    """
    if member.compress_type != zipfile.ZIP_DEFLATED:
        return
    unpacked, stream = 0, zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as file:
        _seek(file, member)
        left = member.compress_size
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


def _seek(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Goes to the member's own bytes in the archive."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    name, extra = _LOCAL_HEADER.unpack(header)[-2:]
    file.seek(member.header_offset + len(header) + name + extra)


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
    _seek(file, member)
    size = min(member.compress_size, member.file_size)
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
