"""The lists of a template set: read within a bound, and each wrong line named."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import LONGEST_NAME
from evaluator.bins.tables import LARGEST_LIST
from evaluator.errors import BinError, printable
from evaluator.files import read_bounded

#: Pairs of the longest 1:1 list: three times IJB-C's, and 1.2 GB.
MOST_PAIRS = 50_000_000

# Of an int64, less one: what has more is no number of a template.
_MOST_DIGITS = 18
_BOM = b"\xef\xbb\xbf"
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


def integer_rows(
    path: Path, data: bytes, columns: int, expected: str, *, separator: str | None = None
) -> NDArray[np.int64]:
    """The rows of a list of numbers, (rows, ``columns``); row i is of line i + 1.

    A line is that many numbers, of digits alone, apart by ``separator``, or blanks and tabs; it
    ends in LF or CRLF, and blank lines may end the file. Raises BinError for every other line, and
    for more than `MOST_PAIRS`.
    """
    data = data.rstrip()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    longest = np.diff(ends, prepend=-1, append=len(data)).max()
    lines = len(ends) + 1 if data else 0
    del ends
    if lines > MOST_PAIRS:
        raise BinError(f"{path}: has {lines:,} lines; at most {MOST_PAIRS:,} are read")
    rows = np.empty((0, columns), np.int64)
    # No sign, point or quote, of which NumPy makes numbers too; no line that takes all memory.
    plain = longest < LONGEST_NAME and not data.translate(
        None, b"0123456789 \t\r\n" + (separator or "").encode()
    )
    if data and plain:
        # ValueError: a line of another length, or a number that is too large.
        with contextlib.suppress(ValueError):
            rows = np.loadtxt(
                io.BytesIO(data), np.int64, comments=None, delimiter=separator, ndmin=2
            )
    if rows.shape != (lines, columns):
        raise _first_bad(path, data, columns, expected, separator)
    return rows


def _first_bad(
    path: Path, data: bytes, columns: int, expected: str, separator: str | None
) -> BinError:
    """What is wrong in the first line that is no row of numbers."""
    between = r"[ \t]*,[ \t]*" if separator == "," else r"[ \t]+"
    numbers = between.join([rf"\d{{1,{_MOST_DIGITS}}}"] * columns)
    form = re.compile(rf"[ \t]*{numbers}[ \t]*\r?\n?".encode())
    for line, text in enumerate(io.BytesIO(data), 1):
        if not form.fullmatch(text):
            return bad_line(path, line, expected, text[:60].decode("utf-8", "replace").rstrip())
    return BinError(f"{path}: expected lines of {expected}")


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


def integer(text: str) -> int | None:
    """A number written in digits alone, which an int64 holds; None for all else."""
    text = text.strip()
    return int(text) if text.isdigit() and text.isascii() and len(text) <= _MOST_DIGITS else None


def check_name(path: Path, line: int, name: str) -> None:
    """Raises BinError unless an image's name leads to a place below the set's own folder."""
    if not _BELOW.fullmatch(name):
        raise bad_line(path, line, "the name of an image below the folder of images", name)
