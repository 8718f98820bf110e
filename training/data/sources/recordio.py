"""MXNet's RecordIO framing: payloads in a file, each found again by its byte offset.

A record is one or more parts. A part is the magic number, a word whose upper 3 bits say which part
it is and whose lower 29 bits are its length, the bytes, and zeros up to a multiple of four. A
payload that holds the magic itself at a multiple of four is cut there, the magic left out, so that
a reader can find the next record in a damaged file. Source: dmlc-core, ``recordio.h``.
"""

from __future__ import annotations

import mmap
import re
import struct
from array import array
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
HEADER_SIZE = 8
WHOLE, START, MIDDLE, END = range(4)
LENGTH_BITS = 29
LENGTH_MASK = (1 << LENGTH_BITS) - 1
RELEASE_BYTES = 32 << 20  # mapped pages that are read in one direction are given back this often

_HEADER = struct.Struct("<II")


class RecordError(InputError):
    """A record file cannot be read or written; the message names file, record and byte."""


def framed(payload: bytes) -> bytes:
    """The payload as it lies in a record file: parts, each with its header and padding.

    Raises RecordError for 2**29 bytes or more, which the length field cannot hold.
    """
    if len(payload) > LENGTH_MASK:
        raise RecordError(
            f"a record holds less than {LENGTH_MASK + 1} bytes; this one has {len(payload)}"
        )
    pieces: list[bytes] = []
    start = 0
    for cut in _aligned_magics(payload):
        pieces += [MAGIC_BYTES, _length_word(MIDDLE if pieces else START, cut - start)]
        pieces.append(payload[start:cut])
        start = cut + len(MAGIC_BYTES)
    last = len(payload) - start
    pieces += [MAGIC_BYTES, _length_word(END if pieces else WHOLE, last), payload[start:]]
    pieces.append(bytes(-last % 4))
    return b"".join(pieces)


def map_file(path: Path, kind: str = "an MXNet record file") -> mmap.mmap:
    """The file mapped into memory, read only. Raises RecordError if it is empty, else OSError."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise RecordError(f"{path}: expected {kind}, found an empty file")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def payload_at(
    data: memoryview, offset: int, *, path: Path, name: str
) -> tuple[memoryview | bytes, int]:
    """The payload of the record at ``offset`` and the offset behind it.

    A record in one part comes as a view of ``data``, without a copy; one that was cut is put
    together again, the magic between its parts. ``name`` ("record 7") is what an error calls it.

    Raises RecordError for bytes that are no record and for a record beyond the end of the file.
    """
    if 0 <= offset <= len(data) - HEADER_SIZE:
        magic, word = _HEADER.unpack_from(data, offset)
        begin = offset + HEADER_SIZE
        stop = begin + (word & LENGTH_MASK)
        if magic == MAGIC and word <= LENGTH_MASK and stop <= len(data):
            return data[begin:stop], stop + (-stop % 4)
    parts: list[memoryview] = []
    while True:
        flag, begin, length = _part_at(data, offset, path, name, first=not parts)
        parts.append(data[begin : begin + length])
        offset = begin + length + (-length % 4)
        if flag in (WHOLE, END):
            return MAGIC_BYTES.join(parts), offset


def record_offsets(mapped: mmap.mmap, path: Path) -> NDArray[np.int64]:
    """The byte offset of every record, by walking the file from one header to the next.

    Memory grows with the number of records (8 bytes each), not with the size of the file.

    Raises RecordError with the record and byte where the file stops being a record file.
    """
    offsets, complete = complete_records(mapped, path)
    if complete != len(mapped):
        with memoryview(mapped) as data:
            payload_at(data, complete, path=path, name=f"record {len(offsets)}")
        _fail(path, f"record {len(offsets)}", complete, "padding up to a multiple of 4 is missing")
    return offsets


def complete_records(mapped: mmap.mmap, path: Path) -> tuple[NDArray[np.int64], int]:
    """The offsets of the complete records from the start on, and the byte behind the last one.

    That byte is the file's size unless the file is damaged or was cut, for instance by a kill.
    Raises RecordError if the file does not begin with a record's magic at all.
    """
    if mapped[: len(MAGIC_BYTES)] != MAGIC_BYTES[: len(mapped)]:
        _fail(path, "record 0", 0, _found_instead(mapped[:4]))
    offsets = array("q")
    size, here, record, released = len(mapped), 0, 0, 0
    inside = False
    unpack = _HEADER.unpack_from
    while here <= size - HEADER_SIZE:
        magic, word = unpack(mapped, here)
        flag = word >> LENGTH_BITS
        behind = here + HEADER_SIZE + ((word & LENGTH_MASK) + 3) // 4 * 4
        if magic != MAGIC or behind > size or flag > END or inside != (flag in (MIDDLE, END)):
            break
        inside = flag in (START, MIDDLE)
        here = behind
        if not inside:
            offsets.append(record)
            record = here
        if here - released >= RELEASE_BYTES:
            release_pages(mapped, here)
            released = here
    return np.frombuffer(offsets, dtype=np.int64), record


def release_pages(mapped: mmap.mmap, stop: int | None = None) -> None:
    """Gives the mapped pages before ``stop`` (or all) back; what is read again is mapped again.

    Without this a pass through a file counts all of it as memory of this process. Views stay valid.
    Does nothing where the system has no such call.
    """
    if hasattr(mmap, "MADV_DONTNEED"):
        length = len(mapped) if stop is None else stop // mmap.PAGESIZE * mmap.PAGESIZE
        if length:
            mapped.madvise(mmap.MADV_DONTNEED, 0, length)


def _aligned_magics(payload: bytes) -> list[int]:
    """Where the payload holds the magic at a multiple of four."""
    places = (each.start() for each in re.finditer(re.escape(MAGIC_BYTES), payload))
    return [place for place in places if place % 4 == 0]


def _length_word(flag: int, length: int) -> bytes:
    return struct.pack("<I", flag << LENGTH_BITS | length)


def _part_at(
    data: memoryview, offset: int, path: Path, name: str, *, first: bool
) -> tuple[int, int, int]:
    """Which part lies at ``offset``, where its bytes begin and how many they are."""
    if not 0 <= offset < len(data):
        _fail(path, name, offset, f"the file ends at byte {len(data)}; is it cut off?")
    if bytes(data[offset : offset + 4]) != MAGIC_BYTES[: len(data) - offset]:
        _fail(path, name, offset, _found_instead(bytes(data[offset : offset + 4])))
    if offset + HEADER_SIZE > len(data):
        _fail(path, name, offset, f"its header goes beyond the end, byte {len(data)}; cut off?")
    word = _HEADER.unpack_from(data, offset)[1]
    flag, length, begin = word >> LENGTH_BITS, word & LENGTH_MASK, offset + HEADER_SIZE
    if flag not in ((WHOLE, START) if first else (MIDDLE, END)):
        wanted = "the start of a record" if first else "the rest of a record that was cut"
        _fail(path, name, offset, f"expected {wanted}, found a part with flag {flag}")
    if begin + length > len(data):
        have = len(data) - begin
        _fail(path, name, offset, f"needs {length} bytes, the file has {have} more; is it cut off?")
    return flag, begin, length


def _found_instead(found: bytes) -> str:
    return (
        f"expected the magic {MAGIC_BYTES.hex(' ')}, found {found.hex(' ')}; "
        "the file is damaged or is no MXNet record file"
    )


def _fail(path: Path, name: str, offset: int, why: str) -> NoReturn:
    raise RecordError(f"{path}: {name} at byte {offset}: {why}")
