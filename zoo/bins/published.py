"""The lists that data sets are published with: LFW's, CALFW's, SLLFW's and AgeDB's forms.

LFW, XQLFW and RFW have a line a pair, by names and numbers of images. CALFW and CPLFW have two
lines a pair, each with a label, all genuine pairs first; SLLFW two lines of paths, without labels.
AgeDB-30's is a MATLAB file: ``splits`` is a cell of ten structs: pairs, a cell of two rows of
structs whose first field is an image's name, and their labels, 1 and -1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from evaluator.bins.mat_file import Cells, read_mat
from evaluator.bins.pairs_file import LONGEST_NAME, Pair
from evaluator.errors import InputError, cause_of
from evaluator.files import open_regular, read_bounded

_MOST_DIGITS = 9
_FOLDS = 10  # of CALFW's and CPLFW's protocol

_Value = TypeVar("_Value")

#: The lines of a list that are not blank, each with its number.
Lines = Sequence[tuple[int, str]]


@dataclass(frozen=True)
class PairList:
    """Pairs in order, and in how many folds of equal size the list itself puts them.

    ``folds`` is None where it says nothing; ``own_folds`` names the fold of each pair where these
    are of any size. ``said`` is by what rule folds were made, where that is worth a line.
    """

    pairs: list[Pair]
    folds: int | None = None
    own_folds: tuple[str, ...] = ()
    said: str | None = None


# ---- LFW, XQLFW, RFW -----------------------------------------------------------------------------


def is_lfw(first: Sequence[str]) -> bool:
    """Whether a list begins with LFW's numbers or with a pair of its form."""
    cells = _cells(first[0])
    return _head(first[0]) is not None or (
        len(cells) in (3, 4) and _is_number(cells[1]) and _is_number(cells[-1])
    )


def read_lfw(path: Path, lines: Lines) -> PairList:
    """``pairs.txt`` begins with folds and genuine pairs in each ("10 300"), the development lists
    with the genuine pairs of their one fold ("500"); after the genuine pairs of a fold (3 columns)
    come as many impostor pairs (4 columns). A list may also begin with its first pair, as RFW's.

    Image i of a person is named NAME/NAME_000i, without a suffix. Raises InputError.
    """
    head = _head(lines[0][1])
    rows = lines[1:] if head else lines
    pairs = [_lfw_pair(f"{path}, line {i}", line) for i, line in rows]
    if head is None:
        return PairList(pairs)
    folds, each = head
    if len(pairs) != 2 * folds * each:
        raise InputError(
            f"{path}, line {lines[0][0]}: says {folds} x 2 x {each} pairs, found {len(pairs)};"
            " mend the numbers or get the file again"
        )
    for (line, _), pair, place in zip(rows, pairs, range(len(pairs)), strict=True):
        if pair.genuine != (place % (2 * each) < each):
            kind = "NAME i NAME j, an impostor" if pair.genuine else "NAME i j, a genuine"
            raise InputError(
                f"{path}, line {line}: expected {kind} pair, as line {lines[0][0]} says"
                f" {each} genuine and then {each} impostor pairs a fold"
            )
    return PairList(pairs, folds if folds > 1 else None)


def _head(line: str) -> tuple[int, int] | None:
    cells = line.split()
    if len(cells) > 2 or not all(map(_is_number, cells)):
        return None
    numbers = [int(cell) for cell in cells]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, numbers[0])


def _is_number(cell: str) -> bool:
    # Python reads no whole numbers of over 4,300 digits, and no list has one of over 9.
    return cell.isdecimal() and len(cell) <= _MOST_DIGITS


def _cells(line: str) -> list[str]:
    # The official files part by tabs, so that a name may have spaces; copies part by spaces.
    return [cell.strip() for cell in (line.strip().split("\t") if "\t" in line else line.split())]


def _lfw_pair(where: str, line: str) -> Pair:
    if len(line) > LONGEST_NAME:
        raise InputError(f"{where}: expected NAME i j or NAME i NAME j, found {len(line):,} signs")
    cells = _cells(line)
    match cells:
        case [name, i, j]:
            other = name
        case [name, i, other, j]:
            if name == other:
                raise InputError(f"{where}: an impostor pair of {name!r} with itself")
        case _:
            raise InputError(
                f"{where}: expected NAME i j or NAME i NAME j, found {len(cells)} values"
            )
    if not (_is_number(i) and _is_number(j)):
        bad = j if _is_number(i) else i
        raise InputError(f"{where}: expected an image's number, found {bad[:40]!r}")
    if name == other and int(i) == int(j):
        raise InputError(f"{where}: both sides are image {i} of {name!r}")
    left, right = f"{name}/{name}_{int(i):04d}", f"{other}/{other}_{int(j):04d}"
    return Pair(left, right, name == other, (name, other))


# ---- CALFW, CPLFW --------------------------------------------------------------------------------


def is_labelled_name(line: str) -> bool:
    """Whether a line is a file's name and a whole number."""
    name, _, label = line.rpartition(" " if " " in line else "\t")
    return "." in name and _is_number(label)


def read_halves(path: Path, lines: Lines) -> PairList:
    """CALFW's and CPLFW's list: two lines a pair, each ``name.jpg label``, 0 for impostors.

    Fold k is the k-th tenth of the genuine pairs and then of the impostor pairs, which is no part
    of the list as it stands: its first half has one label alone. Raises InputError naming the line.
    """
    pairs, numbers = [], []
    for (line, left, a), (_, right, b) in _twos(path, lines, _labelled):
        if a != b:
            raise InputError(f"{path}, line {line}: label {a}, and {b} on the pair's second line")
        pairs.append(Pair(left, right, a != 0))
        numbers.append(a)
    pairs = with_people(pairs, _before_number)
    genuine = [number for number in numbers if number]
    said = "read as CALFW's and CPLFW's list: fold k is the k-th part of the genuine pairs and the "
    said += "k-th of the impostor pairs"
    expected = [1 + i * _FOLDS // len(genuine) for i in range(len(genuine))]
    if set(genuine) - {1} and genuine != expected:
        said += "; its labels of genuine pairs name other folds and were not followed"
    return PairList(pairs, said=said)


def _labelled(where: str, line: str) -> tuple[str, int]:
    if not is_labelled_name(line):
        raise InputError(f"{where}: expected a name and a whole number, found {line[:60]!r}")
    name, _, label = line.rpartition(" " if " " in line else "\t")
    return name.strip(), int(label)


def _before_number(name: str) -> str:
    """Aaron_Eckhart of Aaron_Eckhart_0001.jpg."""
    return re.sub(r"_\d+(\.\w+)?$", "", name)


# ---- SLLFW ---------------------------------------------------------------------------------------


def is_path(line: str) -> bool:
    """Whether a line is a path with a folder in it and nothing else."""
    bare = len(line.split()) == 1 and not {",", ";"}.intersection(line)
    return bare and "/" in line.replace("\\", "/").strip("/")


def read_paths(path: Path, lines: Lines) -> PairList:
    """SLLFW's list: two lines a pair, each ``Name/Name_0001.jpg``; genuine where the folders are
    one. Raises InputError naming the line.
    """
    pairs = []
    for (_, left, a), (_, right, b) in _twos(path, lines, _with_folder):
        pairs.append(Pair(left, right, a == b, (a, b)))
    return PairList(pairs)


def _with_folder(where: str, line: str) -> tuple[str, str]:
    if not is_path(line):
        raise InputError(f"{where}: expected a path like Name/Name_0001.jpg, found {line[:60]!r}")
    return line, str(PurePosixPath(line.replace("\\", "/")).parent)


# ---- What they share -----------------------------------------------------------------------------


def _twos(
    path: Path, lines: Lines, read: Callable[[str, str], tuple[str, _Value]]
) -> Iterator[tuple[tuple[int, str, _Value], tuple[int, str, _Value]]]:
    """What every two lines say: number, name and value of each. Raises InputError."""
    if len(lines) % 2:
        raise InputError(
            f"{path}, line {lines[-1][0]}: expected two lines a pair, found {len(lines)} in all"
        )
    said = []
    for i, line in lines:
        if len(line) > LONGEST_NAME:
            raise InputError(
                f"{path}, line {i}: expected an image's name, found {len(line):,} signs"
            )
        said.append((i, *read(f"{path}, line {i}", line.strip())))
    for one, other in zip(said[0::2], said[1::2], strict=True):
        if one[1] == other[1]:
            raise InputError(f"{path}, line {other[0]}: both sides of the pair are {one[1]}")
        yield one, other


def with_people(pairs: Sequence[Pair], person_of: Callable[[str], str]) -> list[Pair]:
    """The pairs with the people that names tell; without, where a label says otherwise."""
    named = [
        Pair(p.left, p.right, p.genuine, (person_of(p.left), person_of(p.right))) for p in pairs
    ]
    fits = all(p.people and (p.people[0] == p.people[1]) == p.genuine for p in named)
    return named if fits else list(pairs)


# ---- AgeDB-30 ------------------------------------------------------------------------------------


_START = b"MATLAB 5.0 MAT-file"
# The published list has some hundred kilobytes, packed.
_LARGEST = 2**26


class _OtherError(ValueError):
    """What is no list of AgeDB's; the message says how."""


def is_mat(path: Path) -> bool:
    """Whether a file begins as MATLAB's of version 5 to 7. Raises OSError."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(len(_START)) == _START


def read_agedb(path: Path) -> PairList:
    """The pairs in the order of the splits, which are the folds. Raises InputError, OSError."""
    try:
        splits = read_mat(path, read_bounded(path, _LARGEST)).get("splits")
        if not isinstance(splits, Cells):
            raise _OtherError("no cell of the name 'splits'")
        folds = [_pairs_of(split) for split in splits.values]
    except _OtherError as error:
        raise InputError(
            f"{path}: expected AgeDB's list, splits of pairs and labels in a MATLAB file; found"
            f" {cause_of(error)}"
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
        case Cells(values=[Cells(sides=(2, count), values=names), np.ndarray() as found, *_]):
            labels = found.tolist()
        case _:
            raise _OtherError("a split that is no struct of two rows of names, and labels")
    if len(labels) != count or not {1, -1, 0}.issuperset(labels):
        raise _OtherError(f"{len(labels)} labels of {count} pairs, or others than 1 and -1")
    ends = [_name_of(each) for each in names]
    return [
        Pair(left, right, label == 1)
        for left, right, label in zip(ends[0::2], ends[1::2], labels, strict=True)
    ]


def _name_of(cell: object) -> str:
    match cell:
        case Cells(values=[str(name), *_]) if 0 < len(name.strip()) <= LONGEST_NAME:
            return name.strip()
    raise _OtherError("an image without a name")
