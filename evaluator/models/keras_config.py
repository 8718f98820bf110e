"""What a Keras file says about itself, read without building anything."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import h5py

from evaluator.errors import ModelError
from evaluator.models.hdf5 import check_hdf5

# A config is text about layers; the largest published networks need 2 MB.
_MAX_CONFIG_BYTES = 64 * 2**20

# Before each member of a zip archive (APPNOTE.TXT 4.3.7); the last two are the lengths of its name
# and its extra field, and the member's bytes follow these. In the flags, bit 0: encrypted.
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 1


def read_config(path: Path, file_format: str) -> dict[str, Any]:
    """The model's config as saved. Raises ModelError if the file holds no architecture."""
    text = _h5_config(path) if file_format == "keras-h5" else _zip_config(path)
    if len(text) > _MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: its model config has {len(text):,} bytes; no model needs that")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: its model config is not JSON ({error}); the file is damaged"
        ) from None
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelError(f"{path}: its model config names no model class; the file is damaged")
    return config


def _h5_config(path: Path) -> str | bytes:
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            if config is not None:
                return config if isinstance(config, str | bytes) else bytes(config)
            weights_only = "layer_names" in file.attrs or bool(
                {"model_weights", "layers", "_layer_checkpoint_dependencies"} & set(file)
            )
    except (OSError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{path}: a damaged or truncated HDF5 file ({_first_line(error)})"
        ) from None
    if weights_only:
        raise ModelError(
            f"{path}: weights only, without the network they belong to. "
            "Build the network, load these weights, and save the whole: model.save('model.h5')"
        )
    raise ModelError(f"{path}: an HDF5 file, but no Keras model (it has no model_config)")


def _zip_config(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            if size > _MAX_CONFIG_BYTES:
                raise ModelError(
                    f"{path}: config.json declares {size:,} bytes; no model needs that"
                )
            return archive.read("config.json")
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ModelError(f"{path}: a damaged .keras archive ({_first_line(error)})") from None


def check_weights(path: Path, file_format: str, config: dict[str, Any]) -> None:
    """Raises ModelError for weights that are elsewhere, or larger than the file could hold."""
    size = path.stat().st_size
    try:
        if file_format == "keras-h5":
            with h5py.File(path, "r") as file:
                check_hdf5(path, file, size)
        else:
            _check_archive(path, size)
    except (OSError, RuntimeError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"{path}: damaged or truncated weights ({_first_line(error)})") from None
    for name, count in _declared_widths(config):
        # A layer of n units has n weights at least, of two bytes at least.
        if 2 * count > size:
            raise ModelError(
                f"{path}: not loaded: layer {name!r} declares {count:,} units, more than a file "
                f"of {size:,} bytes can hold the weights of"
            )


def _check_archive(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = 0
        for member in archive.infolist():
            if PurePosixPath(member.filename).is_absolute() or ".." in member.filename.split("/"):
                raise ModelError(
                    f"{path}: not loaded: its member {member.filename!r} would be unpacked "
                    "outside its folder"
                )
            unpacked += member.file_size
        # Keras stores members as they are; weights would hardly shrink.
        if unpacked > 20 * size + _MAX_CONFIG_BYTES:
            raise ModelError(f"{path}: not loaded: it unpacks to {unpacked:,} bytes, from {size:,}")
        for member in archive.infolist():
            if member.filename.endswith(".h5"):
                with _member_file(path, archive, member) as stored, h5py.File(stored, "r") as file:
                    check_hdf5(path, file, member.file_size)


def _member_file(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member to read at random places.

    HDF5 jumps about, and zipfile goes back by reading from the member's begin anew: four seconds
    for 90 MB. What lies in the archive as it is, as Keras stores it, is read in its place.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
        return archive.open(member)
    with archive.open(member):  # raises for a local header that is not the directory's
        pass
    file = path.open("rb")
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    name, extra = _LOCAL_HEADER.unpack(header)[-2:]
    start = member.header_offset + len(header) + name + extra
    return cast(
        "IO[bytes]",
        io.BufferedReader(_Part(file, start, min(member.file_size, member.compress_size))),
    )


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


def _declared_widths(config: object) -> Iterator[tuple[str, int]]:
    """Layer name and number of units or filters, wherever a config states them."""
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, dict):
            stack.extend(part.values())
            for key in ("units", "filters", "classes", "output_dim", "input_dim"):
                count = part.get(key)
                if isinstance(count, int) and "name" in part:
                    yield str(part["name"]), count


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0][:200] if str(error) else type(error).__name__
