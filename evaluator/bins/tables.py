"""Tables of text as R, pandas, NumPy and Excel write them: their encoding, marks and quotes."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from evaluator.errors import BinError, cause_of
from evaluator.files import read_bounded

#: Bytes of the longest list of pairs that is read: IJB-C's 15 million pairs by number have 300 MB.
LARGEST_LIST = 2**29

# What stands between cells, the likelier first where a line has as many of two.
_MARKS = ("\t", ";", ",", " ")
_SAID = re.compile("sep=([\t;,])")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def list_text(path: Path, what: str) -> str:
    """The text of a list of pairs, of at most `LARGEST_LIST` bytes: UTF-8, with or without a mark
    in front, or UTF-16 with one, Excel's "Unicode text". Raises `BinError`, OSError.
    """
    data = read_bounded(path, LARGEST_LIST)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise BinError(f"{path}: expected {what} in UTF-8, found other bytes") from None


def delimiter_of(line: str) -> str:
    """What parts the cells of a line: a tab, ``;``, ``,`` or, where it has none of these, a space.

    Of several, the one that it has most of outside of quotes.
    """
    bare = _QUOTED.sub("", line.strip())
    if any(mark in bare for mark in _MARKS[:3]):
        return max(_MARKS[:3], key=bare.count)
    return " " if " " in bare else ","


def table_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table that are not blank, stripped cells, each with its (last) line's number.

    A first line ``sep=;``, which tells Excel what parts cells, is followed. Raises `BinError`
    naming the line.
    """
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    said = _SAID.fullmatch(first.rstrip())
    mark = said[1] if said else delimiter_of(first[:4096])
    # Python's csv reads a "," that ends a quoted cell and nothing else, so all is said by the mark.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=mark == " ")
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if any(row) and not (said and cells[0].startswith("sep=")):
                yield reader.line_num, row
    except csv.Error as error:  # a field of more than 128 KiB, a lone carriage return
        raise BinError(f"{path}, line {reader.line_num}: no CSV: {cause_of(error)}") from None
