"""The lists of a template set: read within a bound, and each wrong line named."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import LARGEST_LIST, LONGEST_NAME
from evaluator.errors import BinError, cause_of, printable
from evaluator.files import read_bounded

_BLOCK = 1 << 24
# Of an int64, less one: what has more is no number of a template.
_MOST_DIGITS = 18
_BOM = b"\xef\xbb\xbf"
# How much of a file's end may be blank lines.
_BLANK_END = 64
# Lines of a list that is read as text: MegaFace's million, five times.
_MOST_LINES = 5_000_000
# A path that stays below its folder, on Windows too.
_BELOW = re.compile(
    rf"(?!/|[A-Za-z]:|\.\./|.*/\.\./)(?!(?:.*/)?\.\.?$)[^\\\0]{{1,{LONGEST_NAME}}}", re.DOTALL
)


def read_list(root: Path, name: str, digest: hashlib._Hash) -> bytes:
    """The bytes of a list without a mark in front, its name and its bytes put into ``digest``.

    Raises OSError for a file that is missing or has more than `LARGEST_LIST` bytes.
    """
    data = read_bounded(root / name, LARGEST_LIST)
    put(digest, name.encode("utf-8", "surrogateescape"))
    put(digest, data)
    return data.removeprefix(_BOM)


def put(digest: hashlib._Hash, data: bytes) -> None:
    """Bytes into a digest, after how many they are: no two sequences of them are alike."""
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)


def bad_line(path: Path, line: int, expected: str, found: str) -> BinError:
    """A line of a list that is not as expected, shown in part; lines count from 1."""
    return BinError(f"{path}, line {line}: expected {expected}, found {printable(found[:60])!r}")


def integer_blocks(
    path: Path, data: bytes, columns: int, expected: str, *, separator: bytes = b" "
) -> Iterator[NDArray[np.int64]]:
    """The rows of a list of numbers, block by block, int64 of shape (rows, ``columns``).

    A line is that many numbers of digits alone, apart by ``separator``, blanks or tabs; it ends in
    LF or CRLF, and blank lines may end the file. Raises BinError for every other line.
    """
    end = len(data) - _BLANK_END
    end = max(end, 0) + len(data[max(end, 0) :].rstrip())
    start, line = 0, 1
    while start < end:
        stop = end
        if end - start > _BLOCK:
            stop = data.rfind(b"\n", start, start + _BLOCK) + 1
            if not stop:
                raise bad_line(path, line, expected, "a line of more than 16 MB")
        block = data[start:stop]
        counts = _numbers_a_line(np.frombuffer(block, np.uint8), separator)
        wrong = np.flatnonzero(counts != columns)
        if len(wrong):
            number = int(wrong[0])
            shown = block.split(b"\n", number + 1)[number][:60].decode("utf-8", "replace")
            raise bad_line(path, line + number, expected, shown.rstrip("\r"))
        text = block if separator == b" " else block.replace(separator, b" ")
        yield np.fromstring(text, np.int64, sep=" ").reshape(-1, columns)
        start, line = stop, line + len(counts)


def _numbers_a_line(block: NDArray[np.uint8], separator: bytes) -> NDArray[np.intp]:
    """How many numbers stand in each line; -1 where something else does, or one too long."""
    digit = (block - ord("0")) < 10  # of uint8, which wraps
    feed = block == ord("\n")
    other = ~(digit | feed)
    for sign in b" \t\r" + separator:
        other &= block != sign
    change = np.flatnonzero(digit[1:] != digit[:-1]) + 1
    edges = np.concatenate(([0] if digit[0] else [], change, [len(block)] if digit[-1] else []))
    first, last = edges[0::2].astype(np.intp), edges[1::2].astype(np.intp)
    ends = np.flatnonzero(feed)
    if not feed[-1]:
        ends = np.append(ends, len(block))
    counts = np.diff(np.searchsorted(first, ends), prepend=0)
    for bad in (np.flatnonzero(other), first[last - first > _MOST_DIGITS]):
        counts[np.searchsorted(ends, bad)] = -1
    return counts


def text_lines(path: Path, data: bytes) -> list[str]:
    """The lines of a list in UTF-8, LF or CRLF, five million at most; blank lines may end it.

    Raises BinError.
    """
    if data.count(b"\n") > _MOST_LINES:
        raise BinError(f"{path}: has more than {_MOST_LINES:,} lines; expected fewer images")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BinError(f"{path}, line {line}: expected UTF-8, found other bytes") from None
    return text.rstrip().replace("\r\n", "\n").split("\n") if text.strip() else []


def csv_rows(path: Path, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV that are not blank, each with the number of its line. Raises BinError."""
    reader = csv.reader(io.StringIO("\n".join(text_lines(path, data)), newline=""))
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise BinError(f"{path}, line {reader.line_num}: no CSV: {cause_of(error)}") from None


def integer(text: str) -> int | None:
    """A number written in digits alone, which an int64 holds; None for all else."""
    text = text.strip()
    return int(text) if text.isdigit() and text.isascii() and len(text) <= _MOST_DIGITS else None


def check_name(path: Path, line: int, name: str) -> None:
    """Raises BinError unless an image's name leads to a place below the set's own folder."""
    if not _BELOW.fullmatch(name):
        raise bad_line(path, line, "the name of an image below the folder of images", name)
