"""A CSV about the images of pairs, or the people on them: groups, qualities, whatever it says.

The first row names the columns. The first column is what a row is of: the slot of an image, 0 to
2 x pairs - 1, its name as in the pairs file beside the bin, or a person's name there. Or a row is a
pair, as in BFW's table: `att1`, `att2` and the like say the left and the right one's `att`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.array_types import IntArray
from evaluator.bins.tables import list_text, table_rows
from evaluator.errors import InputError, printable

Cells = list[str]

# What the first column may be called, and what its rows then are of.
_KINDS = {
    "slot": "slot",
    **dict.fromkeys(("image", "images", "file", "filename", "path"), "image"),
    **dict.fromkeys(("person", "people", "identity", "id", "subject"), "person"),
}


@dataclass(frozen=True, eq=False)
class SlotNames:
    """What the slots of some pairs are called: ``images`` and ``people`` (2 x pairs,), None where
    no pairs file says. ``numbers`` tells equal images; slots are numbered where ``numbered``, which
    several bins together are not.
    """

    slots: int
    images: Sequence[str] | None
    people: Sequence[str] | None
    numbers: IntArray | None
    numbered: bool = True


@dataclass(frozen=True, eq=False)
class SlotTable:
    """What a table says of each slot: ``columns`` have a text a slot, "" where it says nothing.

    ``strangers`` are how many of its rows are of nothing in these bins, ``silent`` how many slots
    it says nothing of.
    """

    columns: Mapping[str, Sequence[str]]
    strangers: int
    silent: int


@dataclass(frozen=True)
class _Table:
    path: Path
    header: Cells
    rows: list[tuple[int, Cells]]


def read_slot_table(path: Path, names: SlotNames) -> SlotTable:
    """What a CSV says of the slots. Raises InputError, which names the line; OSError."""
    table = _read(path)
    sided = _sided(table.header)
    if sided and {"p1", "p2"} <= set(table.header):
        return _of_pairs(table, sided, names)
    if len(table.header) < 2:
        raise InputError(f"{path}: expected a column of images or people and one or more beside it")
    keys = [row[0] for _, row in table.rows]
    kind, slot_keys = _keyed(table, keys, names)
    if table.header[0] in slot_keys:
        raise InputError(
            f"{path}, line 1: expected names of columns, found a row of {table.header[0][:60]!r}"
        )
    row_of = _row_of_key(table, keys)
    place = np.array([row_of.get(key, -1) for key in slot_keys], np.int64)
    if kind != "person" and names.numbers is not None:
        place = _spread_to_equal(path, place, names.numbers, table)
    known = place[place >= 0]
    if not len(known):
        raise InputError(
            f"{path}: none of its {len(keys):,} rows is of {_what(kind)} of these bins, as "
            f"{keys[0][:60]!r} on line {table.rows[0][0]}; there is {slot_keys[0]!r}"
        )
    columns = {
        name: [table.rows[at][1][i] if at >= 0 else "" for at in place]
        for i, name in enumerate(table.header)
        if i
    }
    there = set(slot_keys)
    strangers = sum(key not in there for key in row_of)
    return SlotTable(columns, strangers, int((place < 0).sum()))


def _what(kind: str) -> str:
    return {"slot": "a slot", "image": "an image", "person": "a person"}[kind]


# ---- The file ------------------------------------------------------------------------------------


def _read(path: Path) -> _Table:
    rows = [
        (line, [_plain(cell) for cell in cells])
        for line, cells in table_rows(path, list_text(path, "a CSV"))
    ]
    if len(rows) < 2:
        raise InputError(f"{path}: expected a row of names and rows below it, found {len(rows)}")
    header = rows.pop(0)[1]
    if all(len(row) == len(header) + 1 for _, row in rows):  # R's write.table names no index
        header = ["", *header]
    if header[0] == "" and len(header) > 2:  # the index that pandas writes
        header, rows = header[1:], [(line, row[1:]) for line, row in rows]
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line}: expected {len(header)} values, as the first row names, "
                f"found {len(row)}"
            )
    [(twice, count)] = Counter(header).most_common(1)
    if count > 1 or "" in header:
        raise InputError(
            f"{path}, line 1: expected a name for each column, each once, got {twice!r}"
        )
    return _Table(path, header, rows)


def _plain(cell: str) -> str:
    """A cell as it is compared and shown: one printable line, its letters as most systems write."""
    return printable(" ".join(unicodedata.normalize("NFC", cell).split()))


def _row_of_key(table: _Table, keys: Sequence[str]) -> dict[str, int]:
    """The row of each key. Raises InputError where two rows of one say different things."""
    found: dict[str, int] = {}
    for place, key in enumerate(keys):
        before = found.setdefault(key, place)
        if table.rows[before][1] != table.rows[place][1]:
            raise InputError(
                f"{table.path}, line {table.rows[place][0]}: {key[:60]!r} again, with other values "
                f"than on line {table.rows[before][0]}"
            )
    return found


def _keyed(table: _Table, keys: Sequence[str], names: SlotNames) -> tuple[str, list[str]]:
    """What the rows are of, and what each slot is called by it."""
    of_slot = {"image": names.images, "person": names.people}
    called = {kind: list(map(_plain, own)) for kind, own in of_slot.items() if own is not None}
    if names.numbered:
        called["slot"] = list(map(str, range(names.slots)))
    if "image" in called and not set(keys) & set(called["image"]):
        called["image"] = _last_parts(keys, called["image"])
    hits = {each: len(set(keys) & set(own)) for each, own in called.items()}
    asked = _KINDS.get(table.header[0].lower())
    if asked in called and (hits[asked] or not any(hits.values())):
        return asked, called[asked]
    kind = max(called, key=lambda each: hits[each], default="slot")
    if not hits.get(kind):
        known = " or ".join(_what(each) for each in called) or "of these bins"
        lacks = "" if names.images else "; no pairs file, NAME.pairs.csv, stands beside the bin"
        raise InputError(
            f"{table.path}, line {table.rows[0][0]}: {keys[0][:60]!r} is not {known}{lacks}"
        )
    return kind, called[kind]


def _last_parts(keys: Sequence[str], images: list[str]) -> list[str]:
    """The names of images without their folders, where the table has them so, and each is one's."""
    short = {name: re.split(r"[/\\]", name)[-1] for name in set(images)}
    once = Counter(short.values())
    if set(keys) & {each for each, count in once.items() if count == 1}:
        return [short[name] if once[short[name]] == 1 else name for name in images]
    return images


def _spread_to_equal(path: Path, place: IntArray, numbers: IntArray, table: _Table) -> IntArray:
    """The rows of slots, given to equal images too. Raises InputError where rows differ."""
    row_of: dict[int, int] = {}
    for number, at in zip(numbers[place >= 0], place[place >= 0], strict=True):
        before = row_of.setdefault(int(number), int(at))
        if table.rows[before][1][1:] != table.rows[at][1][1:]:
            raise InputError(
                f"{path}, line {table.rows[at][0]}: the very image of line "
                f"{table.rows[before][0]}, with other values"
            )
    return np.array(
        [at if at >= 0 else row_of.get(int(n), -1) for at, n in zip(place, numbers, strict=True)],
        np.int64,
    )


# ---- A row a pair --------------------------------------------------------------------------------


def _sided(header: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Columns of both sides, as `att1` and `att2`, by what they are called without number."""
    place = {name: i for i, name in enumerate(header)}
    return {
        name[:-1]: (i, place[name[:-1] + "2"])
        for name, i in place.items()
        if name.endswith("1") and name[:-1] + "2" in place and name not in ("p1", "id1")
    }


def _of_pairs(table: _Table, sided: Mapping[str, tuple[int, int]], names: SlotNames) -> SlotTable:
    """A table with a row a pair: in the order of the pairs, or else by the names of images."""
    ends = table.header.index("p1"), table.header.index("p2")
    rows = [row for _, row in table.rows]
    shown = [row[end] for row in rows for end in ends]
    in_order = names.numbered and 2 * len(rows) == names.slots
    own = None if names.images is None else list(map(_plain, names.images))
    if not in_order and (own is None or not set(own) & set(shown)):
        raise InputError(
            f"{table.path}: {len(rows):,} pairs, where the bin has {names.slots // 2:,}, and no "
            "names of images that the pairs file beside it has"
        )
    columns = {}
    for name, sides in sided.items():
        said = [row[side] for row in rows for side in sides]
        if in_order and (own is None or own == shown):
            columns[name] = said
        else:
            of_image = dict(zip(shown, said, strict=True))
            columns[name] = [of_image.get(image, "") for image in own or ()]
    there = set(own or shown)
    silent = 0 if in_order and own is None else sum(each not in set(shown) for each in own or ())
    return SlotTable(columns, len(set(shown) - there), silent)
