"""AgeDB-30's list, a MATLAB file.

``splits`` is a cell of ten structs: pairs, a cell of two rows of structs whose first field is an
image's name, and their labels, 1 and -1.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from evaluator.bins.mat_file import Cells, read_mat
from evaluator.bins.pairs_file import LONGEST_NAME, Pair
from evaluator.errors import InputError, cause_of
from evaluator.files import open_regular, read_bounded
from zoo.bins.published import PairList, with_people

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
