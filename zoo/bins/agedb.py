"""AgeDB-30's list, a MATLAB file, read without letting it decide how much memory is taken.

``splits`` is a cell of ten structs: pairs, a cell of two rows of structs whose first field is an
image's name, and their labels, 1 and -1. Read here and not by SciPy, whose reader of MATLAB files
ends the process on some damaged ones. Of the format (MATLAB's "MAT-File Format", version 5) is
known what such a list needs: cells, structs, text and numbers.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.bins.pairs_file import LONGEST_NAME, Pair
from evaluator.errors import InputError, cause_of
from evaluator.files import open_regular, read_bounded
from zoo.bins.published import PairList, with_people

_START = b"MATLAB 5.0 MAT-file"
# The published list has some hundred kilobytes, packed.
_LARGEST = 2**26
_DEEPEST = 8
_MATRIX, _PACKED = 14, 15
_CELL, _STRUCT, _CHAR, _NUMBERS = 1, 2, 4, range(6, 16)
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"}
_TYPES |= {13: "u8"}
_WIDE = {4, 17}  # 16-bit text


class _DamagedError(ValueError):
    """What the bytes of the file do not bear out, or a list has no use for."""


@dataclass(frozen=True)
class _Array:
    """A cell's or struct's elements, column after column as MATLAB has them, or some numbers."""

    sides: tuple[int, ...]
    values: list[object]


def is_mat(path: Path) -> bool:
    """Whether a file begins as MATLAB's of version 5 to 7. Raises OSError."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(len(_START)) == _START


def read_agedb(path: Path) -> PairList:
    """The pairs in the order of the splits, which are the folds. Raises InputError, OSError."""
    try:
        splits = _variables(read_bounded(path, _LARGEST)).get("splits")
        if not isinstance(splits, _Array):
            raise _DamagedError("no cell of the name 'splits'")
        folds = [_pairs_of(split) for split in splits.values]
    except (_DamagedError, struct.error, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected AgeDB's list, splits of pairs and labels in a MATLAB file; found"
            f" another or a damaged one: {cause_of(error)}"
        ) from None
    sizes = {len(fold) for fold in folds}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(
            f"{path}: expected splits of as many pairs each, found {sorted(sizes)[:5]}"
        )
    return PairList(
        with_people([pair for fold in folds for pair in fold], lambda name: name.split("_")[0]),
        len(folds),
        said="read as AgeDB-30's list, whose splits are the folds",
    )


def _pairs_of(split: object) -> list[Pair]:
    """The pairs of a split, a struct whose first fields are pairs and labels."""
    match split:
        case _Array(values=[_Array(sides=(2, count), values=names), _Array(values=labels), *_]):
            pass
        case _:
            raise _DamagedError("a split that is no struct of two rows of names, and labels")
    if len(labels) != count or not {1, -1, 0}.issuperset(labels):
        raise _DamagedError(f"{len(labels)} labels of {count} pairs, or others than 1 and -1")
    ends = [_name_of(each) for each in names]
    return [
        Pair(left, right, label == 1)
        for left, right, label in zip(ends[0::2], ends[1::2], labels, strict=True)
    ]


def _name_of(cell: object) -> str:
    match cell:
        case _Array(values=[str(name), *_]) if 0 < len(name.strip()) <= LONGEST_NAME:
            return name.strip()
    raise _DamagedError("an image without a name")


# ---- MATLAB's format -----------------------------------------------------------------------------


def _variables(data: bytes) -> dict[str, object]:
    """What a file holds by name. Raises _DamagedError, struct.error, zlib.error."""
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise _DamagedError("no mark of the order of its bytes")
    found: dict[str, object] = {}
    place, left = 128, _LARGEST
    while place + 8 <= len(data):
        kind, body, place = _element(data, place, order, even=False)
        if kind == _PACKED:
            unpacking = zlib.decompressobj()
            unpacked = unpacking.decompress(body, left)
            if unpacking.unconsumed_tail:
                raise _DamagedError(f"more than {_LARGEST:,} bytes when unpacked")
            left -= len(unpacked)
            kind, body, _ = _element(unpacked, 0, order)
        if kind != _MATRIX:
            raise _DamagedError("an element that is no array")
        name, value = _array(body, order, 0)
        found[name] = value
    return found


def _element(data: bytes, place: int, order: str, *, even: bool = True) -> tuple[int, bytes, int]:
    """Kind and bytes of an element, and where the next begins; four bytes may stand in the tag.

    Packed elements are not filled up to 8 bytes, as all others are.
    """
    kind, length = struct.unpack_from(order + "II", data, place)
    if kind >> 16:
        kind, length, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        inside = length <= 4
    else:
        start = place + 8
        end = start + length + (-length % 8 if even or kind != _PACKED else 0)
        inside = start + length <= len(data)
    if not inside:
        raise _DamagedError("an element that is cut short")
    return kind, data[start : start + length], end


def _array(matrix: bytes, order: str, depth: int) -> tuple[str, object]:
    """Name and value of an array: text, or what an ``_Array`` holds."""
    if not matrix:
        return "", None
    if depth > _DEEPEST:
        raise _DamagedError(f"arrays in arrays, more than {_DEEPEST} deep")
    _, flags, place = _element(matrix, 0, order)
    _, sizes, place = _element(matrix, place, order)
    _, name, place = _element(matrix, place, order)
    kind = struct.unpack_from(order + "I", flags)[0] & 0xFF
    sides = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    count = math.prod(sides)
    if kind == _STRUCT:
        _, width, place = _element(matrix, place, order)
        _, names, place = _element(matrix, place, order)
        longest = struct.unpack_from(order + "i", width)[0]
        count *= len(names) // longest if longest > 0 else 0
    values: list[object]
    if kind in (_CELL, _STRUCT):
        if min(sides, default=-1) < 0 or 8 * count > len(matrix) - place:
            raise _DamagedError(f"a cell or struct of {count} values that its bytes cannot fill")
        values = []
        for _ in range(count):
            inner, body, place = _element(matrix, place, order)
            if inner != _MATRIX:
                raise _DamagedError("a cell or struct of what is no array")
            values.append(_array(body, order, depth + 1)[1])
        return name.decode("latin-1"), _Array(sides, values)
    inner, body, _ = _element(matrix, place, order)
    if kind == _CHAR:
        wide = f"utf-16-{'le' if order == '<' else 'be'}"
        return name.decode("latin-1"), body.decode(wide if inner in _WIDE else "utf-8")
    if kind not in _NUMBERS or inner not in _TYPES or len(body) % int(_TYPES[inner][1]):
        raise _DamagedError(f"an array of class {kind}, which such a list has none of")
    values = np.frombuffer(body, order + _TYPES[inner]).tolist()
    return name.decode("latin-1"), _Array(sides, values)
