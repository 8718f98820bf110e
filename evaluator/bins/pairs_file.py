"""The pairs file beside a bin: which images and which people its pairs are of.

`lfw.bin` has `lfw.pairs.csv`: a header, then one row a pair in the bin's order: `left,right,
label` and, where the people are known, `left_person,right_person`. A bin has no room for either.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import VerificationSet
from evaluator.errors import BinError, cause_of
from evaluator.files import read_bounded, whole_file

HEADER = ("left", "right", "label")
PEOPLE = ("left_person", "right_person")

#: Bytes of the longest list of pairs that is read: IJB-C's 15 million pairs by number have 300 MB.
LARGEST_LIST = 2**29

#: Signs of the longest name in a list: a path has 4,096 bytes at most.
LONGEST_NAME = 4096

#: From here on, a number of a person stands for a name, and is the same in all lists.
NAMED = 2**62

LABELS = {
    **dict.fromkeys(("1", "true", "genuine", "same"), True),
    **dict.fromkeys(("0", "false", "impostor", "different"), False),
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


def read_pairs_csv(path: Path) -> list[Pair]:
    """The pairs of a CSV of `left,right,label`, or five columns with both people.

    A first row whose third value is no label is a header. Labels are 1 and 0, true and false,
    genuine and impostor, or same and different, in any case.

    Raises `BinError` naming the line, and for a file of over `LARGEST_LIST` bytes; OSError.
    """
    text = list_text(path, "a CSV")
    pairs = []
    for line, cells in _rows(path, text):
        row = [cell.strip() for cell in cells]
        where = f"{path}, line {line}"
        if not any(row):
            continue
        if len(row) not in (3, 5) or not all(row):
            raise BinError(
                f"{where}: expected left,right,label or those and both people, found"
                f" {len(row)} values, {sum(map(bool, row))} of them not empty"
            )
        if max(map(len, row)) > LONGEST_NAME:
            raise BinError(f"{where}: expected names of at most {LONGEST_NAME:,} signs, found more")
        label = LABELS.get(row[2].lower())
        if label is None:
            if line == 1:
                continue
            raise BinError(f"{where}: expected 1 or 0 as the label, found {row[2][:40]!r}")
        people = (row[3], row[4]) if len(row) == 5 else None
        if people and (people[0] == people[1]) != label:
            raise BinError(
                f"{where}: the label is {row[2]}, but the people are {people[0][:40]!r}"
                f" and {people[1][:40]!r}; mend the label or the names"
            )
        pairs.append(Pair(row[0], row[1], label, people))
    if not pairs:
        raise BinError(f"{path}: holds no pairs; expected lines of left,right,label")
    return pairs


def list_text(path: Path, what: str) -> str:
    """The text of a list of pairs, of at most `LARGEST_LIST` bytes and in UTF-8, with or without a
    mark in front. Raises `BinError`, OSError.
    """
    try:
        return read_bounded(path, LARGEST_LIST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BinError(f"{path}: expected {what} in UTF-8, found other bytes") from None


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV, each with the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:  # a field of more than 128 KiB, a lone carriage return
        raise BinError(f"{path}, line {reader.line_num}: no CSV: {cause_of(error)}") from None


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
