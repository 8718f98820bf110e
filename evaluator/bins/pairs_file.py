"""The pairs file beside a bin: which images and which people its pairs are of.

`lfw.bin` has `lfw.pairs.csv`: a header, then one row a pair in the bin's order: `left,right,
label` and, where the people are known, `left_person,right_person`. A bin has no room for either.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.tables import list_text, table_rows
from evaluator.bins.verification_set import VerificationSet
from evaluator.errors import BinError
from evaluator.files import whole_file

HEADER = ("left", "right", "label")
PEOPLE = ("left_person", "right_person")

#: Signs of the longest name in a list: a path has 4,096 bytes at most.
LONGEST_NAME = 4096

#: From here on, a number of a person stands for a name, and is the same in all lists.
NAMED = 2**62

LABELS = {
    **dict.fromkeys(("1", "true", "genuine", "same"), True),
    **dict.fromkeys(("0", "false", "impostor", "different"), False),
}

_LONGEST_LABEL = 24  # of a number: NumPy writes 1.000000000000000000e+00

#: What columns are called: here, in BFW's table and in lists that people share.
NAMES: dict[str, frozenset[str]] = {
    "left": frozenset({"left", "p1", "path1", "path_1", "image1", "img1", "file1"}),
    "right": frozenset({"right", "p2", "path2", "path_2", "image2", "img2", "file2"}),
    "label": frozenset({"label", "genuine", "same", "issame", "is_same", "match"}),
    "left_person": frozenset({"left_person", "id1", "person1", "name1"}),
    "right_person": frozenset({"right_person", "id2", "person2", "name2"}),
    "fold": frozenset({"fold"}),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images by name, whether they show one person, and who they show where that is known."""

    left: str
    right: str
    genuine: bool
    people: tuple[str, str] | None = None


def sidecar_path(bin_path: Path) -> Path:
    """Where the pairs file of a bin stands."""
    return bin_path.with_suffix(".pairs.csv")


def write_sidecar(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as CSV, whole or not at all; with people if every pair knows them."""
    named = all(pair.people for pair in pairs)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER + (PEOPLE if named else ()))
    for pair in pairs:
        people = pair.people if named and pair.people else ()
        writer.writerow((pair.left, pair.right, int(pair.genuine), *people))
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


@dataclass(frozen=True)
class PairTable:
    """The pairs of a table, and the fold of each where a column says it."""

    pairs: list[Pair]
    folds: list[str] | None


def read_pairs_csv(path: Path) -> list[Pair]:
    """The pairs of a table, as ``read_pair_table`` reads them."""
    return read_pair_table(path).pairs


def read_pair_table(path: Path) -> PairTable:
    """The pairs of a CSV of `left,right,label`, or five columns with both people.

    A header that names the columns (``NAMES``) lets them stand in any order, with others between
    them. Without one, a first row without a label is a header all the same, and numbers in front
    of three or five columns are an index. Labels are 1 and 0, 1.0 and 0.0, 1 and -1, true and
    false, genuine and impostor, or same and different, in any case. Cells stand apart by ``,``,
    ``;``, a tab or spaces.

    Raises `BinError` naming the line, and for a file of over `LARGEST_LIST` bytes; OSError.
    """
    rows = table_rows(path, list_text(path, "a CSV"))
    first = list(itertools.islice(rows, 2))
    columns = _columns([row for _, row in first])
    pairs, folds = [], []
    for line, row in itertools.chain(first[columns.is_headed :], rows):
        pairs.append(_pair(f"{path}, line {line}", row, columns))
        if columns.fold is not None:
            if not row[columns.fold]:
                raise BinError(f"{path}, line {line}: expected a fold, found none")
            folds.append(row[columns.fold])
    if not pairs:
        raise BinError(f"{path}: holds no pairs; expected lines of left,right,label")
    return PairTable(pairs, folds if columns.fold is not None else None)


@dataclass(frozen=True)
class _Columns:
    """Where left, right, label and both people stand, in rows of one of these numbers of cells.

    Without a header (``is_named``) the people are there where the row is long enough.
    """

    places: tuple[int, ...]
    widths: tuple[int, ...]
    is_headed: bool
    is_named: bool = False
    fold: int | None = None


def _columns(first: Sequence[list[str]]) -> _Columns:
    """The columns of a table by its first two rows."""
    if not first:
        return _Columns((0, 1, 2), (3,), is_headed=False)
    head, row = first[0], first[-1]
    names = [cell.lstrip("#").strip().lower() for cell in head]
    at = {
        what: next(i for i, name in enumerate(names) if name in known)
        for what, known in NAMES.items()
        if not known.isdisjoint(names)
    }
    # R's write.table gives the rows' numbers no name.
    shift = int(len(row) == len(head) + 1)
    if at.keys() >= {*HEADER}:
        wanted = (*HEADER, *(PEOPLE if at.keys() >= {*PEOPLE} else ()))
        fold = at["fold"] + shift if "fold" in at else None
        places = tuple(at[what] + shift for what in wanted)
        return _Columns(places, (len(head) + shift,), is_headed=True, is_named=True, fold=fold)
    index = int(len(row) in (4, 6) and row[0].isdecimal())
    label = 2 + index - shift
    is_headed = label < len(head) <= 6 and _label(head[label]) is None
    return _Columns(tuple(range(index, 5 + index)), (3 + index, 5 + index), is_headed)


def _label(cell: str) -> bool | None:
    """What a label says; None for what is none."""
    known = LABELS.get(cell.lower())
    if known is None and cell[:1] in tuple("01-") and len(cell) <= _LONGEST_LABEL:
        try:
            return {1.0: True, 0.0: False, -1.0: False}.get(float(cell.replace(",", ".")))
        except ValueError:
            return None
    return known


def _pair(where: str, row: list[str], columns: _Columns) -> Pair:
    cells = [row[place] for place in columns.places if place < len(row)]
    if len(row) not in columns.widths or not all(cells):
        wanted = "left,right,label or those and both people"
        if columns.is_named:
            wanted = f"{columns.widths[0]} values, as the header has names"
        raise BinError(
            f"{where}: expected {wanted}, found"
            f" {len(row)} values, {sum(map(bool, row))} of them not empty"
        )
    if max(map(len, cells)) > LONGEST_NAME:
        raise BinError(f"{where}: expected names of at most {LONGEST_NAME:,} signs, found more")
    label = _label(cells[2])
    if label is None:
        raise BinError(f"{where}: expected 1 or 0 as the label, found {cells[2][:40]!r}")
    people = (cells[3], cells[4]) if len(cells) == 5 else None
    if people and (people[0] == people[1]) != label:
        raise BinError(
            f"{where}: the label is {cells[2]}, but the people are {people[0][:40]!r}"
            f" and {people[1][:40]!r}; mend the label or the names"
        )
    return Pair(cells[0], cells[1], label, people)


def read_people(
    verification_set: VerificationSet,
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The numbers of ``slot_people`` on the left and on the right of every pair, (pairs,) each."""
    people = slot_people(verification_set)
    return None if people is None else (people[0::2], people[1::2])


def slot_people(verification_set: VerificationSet) -> NDArray[np.int64] | None:
    """The number of the person in each slot, (2 x pairs,), by the pairs file beside a bin.

    Numbers are those of ``numbered_people``. None where no pairs file stands beside the bin,
    or it names no people. Raises `BinError` for a pairs file of another bin.
    """
    path = sidecar_path(verification_set.path)
    if not os.path.lexists(path):
        return None
    pairs = read_pairs_csv(path)
    check_sidecar(path, pairs, verification_set.genuine)
    return numbered_people(pairs)


def linked_people(
    slots: NDArray[np.intp], genuine: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], int]:
    """The person of each distinct image, as far as a chain of genuine pairs tells, and how many;
    ``slots`` (2 x pairs,) are the images of `distinct_images`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left, right = slots.reshape(-1, 2)[genuine].T
    images = int(slots.max()) + 1
    links = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(images, images))
    count, person = connected_components(links, directed=False)
    return person.astype(np.int64), int(count)


def numbered_people(pairs: Sequence[Pair]) -> NDArray[np.int64] | None:
    """The number of the person in each slot of the pairs; None unless all pairs name people.

    A name has one number, of ``NAMED`` or more, in all lists. One without a letter is a number
    itself, which other lists give to others: these count from 0 in the order of their names.
    """
    named = [pair.people for pair in pairs if pair.people]
    if len(named) != len(pairs):
        return None
    # Not by NumPy, whose texts all take the room of the longest.
    number_of = {
        name: _number_in_all_lists(name) if any(sign.isalpha() for sign in name) else i
        for i, name in enumerate(sorted({name for pair in named for name in pair}))
    }
    return np.array([number_of[name] for pair in named for name in pair], np.int64)


def _number_in_all_lists(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % NAMED + NAMED


def check_sidecar(path: Path, pairs: Sequence[Pair], genuine: NDArray[np.bool_]) -> None:
    """Raises `BinError` unless the pairs have the bin's number and labels."""
    check_labels(path, np.array([pair.genuine for pair in pairs], np.bool_), genuine)


def check_labels(path: Path, labels: NDArray[np.bool_], genuine: NDArray[np.bool_]) -> None:
    """Raises `BinError` unless the labels of a pairs file are the bin's."""
    if not np.array_equal(labels, genuine):
        raise BinError(
            f"{path}: its {len(labels)} pairs are not the {len(genuine)} of the bin beside it, by"
            " number or labels; remove it or make the bin again"
        )
