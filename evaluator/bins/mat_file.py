"""MATLAB files of version 5 to 7: their cells, structs, texts and numbers, and nothing else.

Read here and not by SciPy, which makes room for as much as a file says that it holds and ends the
process on some damaged ones: here nothing is larger than the bytes that are there. The format:
"MAT-File Format", The MathWorks, 2024.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BinError, plain_name

#: Bytes that a file may unpack to; the lists of TinyFace have less than one million.
LARGEST_UNPACKED = 2**26

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NOTHING = 0, memoryview(b"")
_DEEPEST = 8
# Kind of an element -> the type of its numbers.
_NUMBERS = dict(zip((1, 2, 3, 4, 5, 6, 7, 9, 12, 13), "b B h H i I f d q Q".split(), strict=True))
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}


@dataclass(frozen=True)
class Cells:
    """A cell array or a struct: the values of its cells, or those of its fields in order, column
    after column as MATLAB has them; None for one that is of another class.
    """

    sides: tuple[int, ...]
    values: list[Value | None]


#: A text, numbers in whatever shape as a flat array, or cells.
Value = str | NDArray[np.float64] | Cells


class _DamagedError(ValueError):
    """The bytes are not what the format says; the message says how."""


def read_mat(path: Path, data: bytes) -> dict[str, Value]:
    """The variables of a file by name. Those of other classes are left out.

    Raises BinError for another file and for a damaged one.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or data.startswith(b"MATLAB 7.3"):
        raise BinError(
            f"{path}: is no MATLAB file of version 5 to 7; save it with save(name, ..., '-v7')"
        )
    found: dict[str, Value] = {}
    left = LARGEST_UNPACKED
    try:
        for kind, content in _elements(memoryview(data)[_HEADER:], order):
            if kind == _COMPRESSED:
                content = memoryview(_unpacked(content, left))
                left -= len(content)
                kind, content = next(_elements(content, order), _NOTHING)
            if kind == _MATRIX:
                name, value = _array(content, order)
                if value is not None:
                    found[name] = value
    except (_DamagedError, zlib.error, UnicodeDecodeError) as error:
        raise BinError(f"{path}: is a damaged MATLAB file: {error}; get the file again") from None
    return found


def _unpacked(content: memoryview, most: int) -> bytes:
    data = zlib.decompressobj().decompress(content, most + 1)
    if len(data) > most:
        raise _DamagedError(f"unpacks to more than {LARGEST_UNPACKED:,} bytes")
    return data


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of each element, one after the other."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        start, end = at + 8, at + 8 + size
        at = end if kind == _COMPRESSED else end + -size % 8
        if kind >> 16:  # a small one: its size stands beside its kind, and it in the place of that
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = start - 4, start - 4 + size
            at = start + 4
            if size > 4:
                raise _DamagedError(f"a small element has {size} bytes")
        if end > len(data):
            raise _DamagedError("it is cut")
        yield kind, data[start:end]


def _array(content: memoryview, order: str, depth: int = 0) -> tuple[str, Value | None]:
    """Name and value of an array; None for a value that is of another class, or empty."""
    if not len(content):
        return "", None
    if depth > _DEEPEST:
        raise _DamagedError(f"has arrays in arrays, more than {_DEEPEST} deep")
    parts = _elements(content, order)
    (_, flags), (_, shape), (_, text) = (next(parts, _NOTHING) for _ in range(3))
    if len(flags) != 8:
        raise _DamagedError("an array has no flags")
    if len(shape) % 4:
        raise _DamagedError("an array has no shape")
    kind = struct.unpack_from(order + "I", flags)[0] & 0xFF
    name = plain_name(bytes(text).decode("latin-1"))
    if kind == _CHAR:
        return name, _text(parts, order)
    if kind not in (_CELL, _STRUCT):
        return name, _numbers(parts, order) if kind > _CHAR + 1 else None
    if kind == _STRUCT:  # how long its fields' names are, and these
        next(parts, None), next(parts, None)
    values = []
    for element, inner in parts:
        if element != _MATRIX:
            raise _DamagedError(f"a cell is an element of kind {element}")
        values.append(_array(inner, order, depth + 1)[1])
    return name, Cells(struct.unpack(f"{order}{len(shape) // 4}i", shape), values)


def _numbers(parts: Iterator[tuple[int, memoryview]], order: str) -> NDArray[np.float64]:
    kind, content = next(parts, _NOTHING)
    if kind not in _NUMBERS:
        raise _DamagedError(f"numbers are of kind {kind}")
    dtype = np.dtype(order + _NUMBERS[kind])
    if len(content) % dtype.itemsize:
        raise _DamagedError("an array of numbers is cut")
    return np.frombuffer(content, dtype).astype(np.float64)


def _text(parts: Iterator[tuple[int, memoryview]], order: str) -> str:
    kind, content = next(parts, _NOTHING)
    if not len(content):
        return ""
    if kind not in _TEXTS:
        raise _DamagedError(f"a text is of kind {kind}")
    end = {"<": "-le", ">": "-be"}[order] if _TEXTS[kind] == "utf-16" else ""
    return bytes(content).decode(_TEXTS[kind] + end)
