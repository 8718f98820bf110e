"""MXNet image records without mxnet: ``train.rec``, ``train.idx`` and ``property``.

A payload is an image behind a header (``IfQQ``: flag, label, id, id2); flag > 0 says that so many
float32 labels follow and stand for the one in the header. insightface's layout puts a record
without image first, whose two labels are the keys [first, last) of as many further records without
image at the end, one a person, whose labels are the keys [first, last) of that person's images.
The images are keys 1 to first - 1. ``property`` is one line: people, height, width.
"""

from __future__ import annotations

import mmap
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.files import whole_file
from training.data.sources.recordio import (
    MAGIC,
    RecordError,
    framed,
    map_file,
    payload_at,
    record_offsets,
    release_pages,
)

IMAGE_HEADER = struct.Struct("<IfQQ")
FLOAT_EXACT = 1 << 24  # labels and keys are float32: from here on not every integer exists
_LABEL_BOUND = 2.0**63
_PEEK = 36  # bytes from a record's start to the end of its first array label
_BARE_RECORD = 8 + IMAGE_HEADER.size + 8  # a record with two labels and no image


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its key, its labels (at least one), its two ids, and the encoded image.

    ``image`` is a view of the mapped file where the record lies in one piece, else bytes; it is
    empty in records that only describe others.
    """

    key: int
    labels: tuple[float, ...]
    id: int
    id2: int
    image: memoryview | bytes


@dataclass(frozen=True)
class Declared:
    """What ``property`` says: the number of people and the images' size in pixels."""

    people: int
    height: int
    width: int


@dataclass(frozen=True)
class RecordFile:
    """A record file, mapped: nothing of it is in memory but the index.

    ``keys`` rises; ``offsets[i]`` is the byte where record ``keys[i]`` starts. ``images`` are the
    places in ``keys`` of the records that hold an image, ``people`` those of insightface's
    records that describe a person (none in another layout).
    """

    path: Path
    mapped: mmap.mmap
    data: memoryview
    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    images: NDArray[np.int64]
    people: NDArray[np.int64]
    declared: Declared | None
    index: Path | None

    def __len__(self) -> int:
        return len(self.images)


def open_records(path: Path) -> RecordFile:
    """The record file at ``path``, ready for random access.

    Where there is no ``.idx`` beside it the file is walked and the records are numbered from 0 in
    the order they lie there (as mxnet's own rec2idx does).

    Raises RecordError for a file that is no record file, an index that does not fit to it, and a
    ``property`` that cannot be read; OSError for a file that cannot be opened.
    """
    mapped = map_file(path)
    index = path.with_suffix(".idx")
    held = index if index.exists() else None
    if held:
        keys, offsets = _read_index(index)
        _check_index(index, keys, offsets, mapped, path)
    else:
        offsets = record_offsets(mapped, path)
        keys = np.arange(len(offsets), dtype=np.int64)
    data = memoryview(mapped)
    images, people = _layout(data, keys, offsets, path)
    declared = _read_property(path.with_name("property"))
    return RecordFile(path, mapped, data, keys, offsets, images, people, declared, held)


def read_record(records: RecordFile, place: int) -> Record:
    """The record at this place of ``records.keys``; the image of an unsplit record is no copy.

    Raises RecordError, with the key and the byte, if there is no whole record.
    """
    key, offset = int(records.keys[place]), int(records.offsets[place])
    return _record_at(records.data, key, offset, records.path)


def read_image(records: RecordFile, number: int) -> Record:
    """The record of image ``number``, counted from 0 in the order of the keys."""
    return read_record(records, int(records.images[number]))


def image_labels(records: RecordFile) -> NDArray[np.int64]:
    """The (first) label of every image, shape (images,), as stored: see ``contiguous_ids``.

    Reads a few bytes of each record. Raises RecordError for a label that is no integer and for
    bytes that are no record.
    """
    labels = np.empty(len(records), dtype=np.float64)
    for start in range(0, len(records), 4096):
        places = records.images[start : start + 4096]
        labels[start : start + 4096] = _labels_at(records, places)
        release_pages(records.mapped)
    # NaN is unequal to itself; beyond the bound, infinity included, int64 cannot hold a float.
    strange = np.flatnonzero((labels != np.round(labels)) | (abs(labels) >= _LABEL_BOUND))
    if strange.size:
        place = records.images[strange[0]]
        raise RecordError(
            f"{records.path}: record {records.keys[place]} at byte {records.offsets[place]}: "
            f"expected an integer label, found {labels[strange[0]]}"
        )
    return labels.astype(np.int64)


def person_ranges(records: RecordFile) -> NDArray[np.int64]:
    """The keys [first, last) of each person's images by insightface's own records, shape (p, 2)."""
    ranges = np.empty((len(records.people), 2), dtype=np.int64)
    for row, place in enumerate(records.people):
        record = read_record(records, int(place))
        if len(record.labels) < 2:
            raise RecordError(
                f"{records.path}: record {record.key} at byte {records.offsets[place]}: expected "
                "the two labels of a person's range, found one"
            )
        first, last = record.labels[:2]
        if not 0 <= first <= last < _LABEL_BOUND:  # no NaN either
            raise RecordError(
                f"{records.path}: record {record.key} at byte {records.offsets[place]}: expected "
                f"a person's range of keys, first and last, found {first} and {last}"
            )
        ranges[row] = first, last
    return ranges


def image_record(key: int, label: int, image: bytes) -> bytes:
    """The bytes of an image's record, framed, with one label. ``label`` is below 2**24."""
    return framed(IMAGE_HEADER.pack(0, label, key, 0) + image)


def range_record(key: int, first: int, last: int) -> bytes:
    """The bytes of a record without image whose labels are the keys [first, last), framed.

    Raises RecordError for a key that float32 cannot hold.
    """
    if int(np.float32(first)) != first or int(np.float32(last)) != last:
        raise RecordError(
            f"the record layout keeps keys as float32, which cannot hold {first} and {last}; "
            "pack so many images as TFRecord shards"
        )
    return framed(IMAGE_HEADER.pack(2, 0, key, 0) + struct.pack("<2f", first, last))


def store_index(path: Path, keys: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
    """Writes an ``.idx``: a line ``key<TAB>offset`` a record. The file appears when it is whole."""
    with whole_file(path, follow=False) as file:
        places = zip(keys.tolist(), offsets.tolist(), strict=True)
        file.writelines(b"%d\t%d\n" % place for place in places)


def _read_index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of an empty file and of 1.5
            table = np.loadtxt(file, dtype=np.int64, ndmin=2, comments=None)
        if table.shape[1] != 2:
            raise ValueError("not two columns")
    except (ValueError, UserWarning, DeprecationWarning):
        raise RecordError(f"{path}: {_first_bad_line(path.read_bytes())}") from None
    order = np.argsort(table[:, 0], kind="stable")
    return table[order, 0].copy(), table[order, 1].copy()


def _first_bad_line(text: bytes) -> str:
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if len(fields) != 2 or not all(field.isdigit() for field in fields):
            shown = line[:40].decode("ascii", "backslashreplace")
            return f"line {number}: expected 'key<TAB>offset', two integers; found {shown!r}"
    return "expected a line 'key<TAB>offset' a record, found none, or a number that is too large"


def _check_index(
    index: Path,
    keys: NDArray[np.int64],
    offsets: NDArray[np.int64],
    mapped: mmap.mmap,
    path: Path,
) -> None:
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if twice.size:
        raise RecordError(f"{index}: key {keys[twice[0]]} stands there twice; remove the index")
    outside = np.flatnonzero((offsets < 0) | (offsets >= len(mapped)) | (offsets % 4 != 0))
    if outside.size:
        raise RecordError(
            f"{path}: record {keys[outside[0]]} at byte {offsets[outside[0]]}, says {index.name}, "
            f"but the file has {len(mapped)} bytes: it is cut off, or the index is another file's"
        )


def _layout(
    data: memoryview, keys: NDArray[np.int64], offsets: NDArray[np.int64], path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the images, and of insightface's records about people if it is its layout."""
    first = _record_at(data, int(keys[0]), int(offsets[0]), path)
    if keys[0] != 0 or len(first.labels) < 2 or len(first.image):
        return np.arange(len(keys), dtype=np.int64), np.empty(0, dtype=np.int64)
    begin, stop = first.labels[:2]
    begin_place, stop_place = np.searchsorted(keys, first.labels[:2]).tolist()
    if begin >= FLOAT_EXACT:
        begin_place, stop_place = _first_bare(offsets, len(data)), len(keys)
    elif not 1 <= begin <= stop or stop_place - begin_place != stop - begin:
        raise RecordError(
            f"{path}: record 0 at byte {offsets[0]}: says that records {begin:.0f} to "
            f"{stop - 1:.0f} describe people; the index has {len(keys)} records up to {keys[-1]}"
        )
    return (
        np.arange(1, begin_place, dtype=np.int64),
        np.arange(begin_place, stop_place, dtype=np.int64),
    )


def _first_bare(offsets: NDArray[np.int64], size: int) -> int:
    """The place of the first record behind record 0 that is too small for an image."""
    lengths = np.diff(offsets, append=size)
    bare = np.flatnonzero(lengths[1:] <= _BARE_RECORD)
    return int(bare[0]) + 1 if bare.size else len(offsets)


def _record_at(data: memoryview, key: int, offset: int, path: Path) -> Record:
    """The record with this key and offset."""
    payload, _ = payload_at(data, offset, path=path, name=f"record {key}")
    begin = IMAGE_HEADER.size
    if len(payload) >= begin:
        flag, label, first_id, second_id = IMAGE_HEADER.unpack_from(payload)
        if flag == 0:
            return Record(key, (label,), first_id, second_id, payload[begin:])
        stop = begin + 4 * flag
        if stop <= len(payload):
            labels = struct.unpack_from(f"<{flag}f", payload, begin)
            return Record(key, labels, first_id, second_id, payload[stop:])
        begin = stop
    raise RecordError(
        f"{path}: record {key} at byte {offset}: expected an image record's header of {begin} "
        f"bytes, found {len(payload)}; these are no image records"
    )


def _labels_at(records: RecordFile, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The first labels of the records at these places, in one gather where they are unsplit."""
    offsets = records.offsets[places]
    raw = np.frombuffer(records.mapped, dtype=np.uint8)
    if len(raw) < _PEEK:  # a single record, with one label and no more than 4 bytes of image
        return np.array([read_record(records, int(place)).labels[0] for place in places])
    inside = offsets <= len(raw) - _PEEK
    words = raw[np.where(inside, offsets, 0)[:, None] + np.arange(_PEEK)].view("<u4")
    flags, floats = words[:, 2], words.view("<f4")
    labels = np.where(flags == 0, floats[:, 3], floats[:, 8]).astype(np.float64)
    plain = inside & (words[:, 0] == MAGIC)
    plain &= words[:, 1].astype(np.int64) >= IMAGE_HEADER.size + 4 * flags.astype(np.int64)
    plain &= words[:, 1] < 1 << 29
    plain &= offsets + 8 + words[:, 1] <= len(raw)
    for row in np.flatnonzero(~plain):
        labels[row] = read_record(records, int(places[row])).labels[0]
    return labels


def _read_property(path: Path) -> Declared | None:
    if not path.exists():
        return None
    text = path.read_text(encoding="ascii", errors="backslashreplace").strip()
    fields = text.split(",")
    if len(fields) != 3 or not all(
        re.fullmatch(r"[ \t]*[0-9]{1,18}[ \t]*", field) for field in fields
    ):
        raise RecordError(f"{path}: expected 'people,height,width', found {text[:60]!r}")
    return Declared(*(int(field) for field in fields))
