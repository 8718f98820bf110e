"""TFRecord shards as a FaceSet, read at random and without TensorFlow.

A record is its length (uint64), a masked CRC-32C of that, the bytes, and a CRC of those; the bytes
are a ``tf.train.Example``. The checksums were tested when the shards were written.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evaluator.errors import InputError
from training.data.sources.faces import MANIFEST, FaceSet, open_faces, read_manifest
from training.data.sources.recordio import map_file, release_pages

_LENGTH = struct.Struct("<Q")
_OVERHEAD = 16  # length, its CRC, the CRC of the bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ENCODED, _LABEL = b"image/encoded", b"image/class/label"


def open_training_faces(path: Path) -> FaceSet:
    """Labelled images at ``path``: TFRecord shards, or what ``open_faces`` reads."""
    shards = shard_files(path)
    return faces_of_shards(shards) if shards else open_faces(path)


def shard_files(path: Path) -> list[Path]:
    """The shards in a folder, in order, or the one at ``path``; none elsewhere."""
    if path.is_dir():
        return sorted(path.glob("*.tfrecord"))
    return [path] if path.suffix == ".tfrecord" else []


def faces_of_shards(shards: list[Path]) -> FaceSet:
    """The images of shards in their order, with the ids and names of the manifest beside them.

    Raises InputError for a file that is cut off or holds other records, for a label beyond the
    manifest's people, and for a missing manifest.
    """
    folder = shards[0].parent
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder / MANIFEST}: missing; it says how many people the shards have")
    names = tuple(read_manifest(folder / MANIFEST)["names"])
    maps = [map_file(path, "TFRecords") for path in shards]
    places: list[tuple[int, int, int]] = []
    labels: list[int] = []
    for number, (path, mapped) in enumerate(zip(shards, maps, strict=True)):
        for begin, stop in _records(mapped, path):
            start, end, label = _image(mapped, begin, stop, path)
            if not 0 <= label < len(names):
                raise InputError(
                    f"{path}: the record at byte {begin} has the label {label}, but "
                    f"{MANIFEST} names {len(names)} people"
                )
            places.append((number, start, end))
            labels.append(label)
        release_pages(mapped)
    ids = np.array(labels, np.int64)
    empty = np.setdiff1d(np.arange(len(names)), ids)
    if empty.size:
        raise InputError(f"{folder}: no image of {names[empty[0]]!r}; is a shard missing?")
    table = np.array(places, np.int64)
    digest = hashlib.sha256(repr(names).encode() + ids.tobytes() + table.tobytes())

    def release() -> None:
        for mapped in maps:
            release_pages(mapped)

    return FaceSet(
        source=folder if len(shards) > 1 else shards[0],
        names=names,
        labels=ids,
        fingerprint=digest.hexdigest(),
        read=lambda image: maps[places[image][0]][slice(*places[image][1:])],
        origin=lambda image: f"{shards[places[image][0]]}: byte {places[image][1]}",
        release=release,
    )


def _records(mapped: mmap.mmap, path: Path) -> Iterator[tuple[int, int]]:
    """Where each record's bytes begin and stop."""
    at = 0
    while at < len(mapped):
        length = _LENGTH.unpack_from(mapped, at)[0] if at + 12 <= len(mapped) else len(mapped)
        if at + _OVERHEAD + length > len(mapped):
            raise InputError(f"{path}: the record at byte {at} is cut off, or this is no TFRecord")
        yield at + 12, at + 12 + length
        at += _OVERHEAD + length


def _image(mapped: mmap.mmap, begin: int, stop: int, path: Path) -> tuple[int, int, int]:
    """Where an Example's encoded image begins and ends, and its label."""
    image, label = None, None
    try:
        # Example: features 1 -> Features: feature 1 -> map entries: key 1, value 2 (Feature).
        for _, begin_features, end_features in _fields(mapped, begin, stop):
            for _, entry, entry_end in _fields(mapped, begin_features, end_features):
                parts = {field: (a, b) for field, a, b in _fields(mapped, entry, entry_end)}
                key = mapped[slice(*parts[1])]
                if key not in (_ENCODED, _LABEL):
                    continue
                # Feature: bytes_list 1 or int64_list 3, each with values in field 1.
                [(_, values, values_end)] = _fields(mapped, *parts[2])
                [(_, value, value_end)] = _fields(mapped, values, values_end)
                if key == _ENCODED:
                    image = value, value_end
                else:
                    label = _varint(mapped, value)[0]
    except (ValueError, KeyError, IndexError):
        image = None
    if image is None or label is None:
        raise InputError(
            f"{path}: the record at byte {begin} has no image/encoded and image/class/label, "
            "as zoo data pack writes them"
        )
    return *image, label


def _fields(data: mmap.mmap, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, first byte and end of each field of a protocol buffer message."""
    while at < stop:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind == _VARINT:
            length = _varint(data, at)[1] - at
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > stop:
            raise ValueError("a field beyond its message")
        yield tag >> 3, at, at + length
        at += length


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """The number at a byte and the byte after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
