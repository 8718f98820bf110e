"""Five landmarks an image, in a CSV: given by the user, or noted as a detector finds them.

Columns: file; x and y in pixels (the centre of the first pixel is 0, 0) of the left eye, right eye,
nose, left and right corner of the mouth, left and right as the image shows them; and, where a
detector wrote it, the SHA-256 of the image. A row without numbers is an image in which no face
was found.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.files import whole_file

PARTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
HEADER = ("file", *(f"{part}_{axis}" for part in PARTS for axis in "xy"), "sha256")

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """The landmarks (5, 2) of an image, None where no face was found, and its hash if noted."""

    points: Points | None
    sha256: str = ""


def read_landmarks(path: Path) -> dict[str, Row]:
    """The rows of a CSV by file name. Raises InputError naming the line; OSError.

    Also where left and right are swapped in most rows, which would turn the faces upside down.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a CSV in UTF-8, found other bytes") from None
    rows: dict[str, Row] = {}
    reader = csv.reader(io.StringIO(text, newline=""))
    for cells in reader:
        if not cells or cells[:2] == list(HEADER[:2]):
            continue
        rows[Path(cells[0]).as_posix()] = _row(f"{path}, line {reader.line_num}", cells)
    faces = [row.points for row in rows.values() if row.points is not None]
    swapped = sum(_is_swapped(points) for points in faces)
    if swapped * 2 > len(faces):
        raise InputError(
            f"{path}: left and right are swapped in {swapped} of {len(faces)} rows; the columns"
            f" {', '.join(PARTS)} go by what the image shows at the left, not by the person's own"
        )
    return rows


def _row(where: str, cells: Sequence[str]) -> Row:
    if len(cells) not in (len(HEADER) - 1, len(HEADER)):
        raise InputError(
            f"{where}: expected a file and ten numbers ({', '.join(HEADER[:3])}, ...), found"
            f" {len(cells)} values"
        )
    sha256 = cells[-1] if len(cells) == len(HEADER) else ""
    numbers = [cell.strip() for cell in cells[1:11]]
    if not any(numbers):
        return Row(None, sha256)
    values = []
    for number in numbers:
        try:
            values.append(float(number))
        except ValueError:
            raise InputError(f"{where}: expected a number, found {number[:40]!r}") from None
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{where}: expected finite numbers")
    return Row(np.array(values).reshape(5, 2), sha256)


def _is_swapped(points: Points) -> bool:
    """Whether eyes and mouth lie as in a mirrored face, however the head is turned in the image."""
    across = points[1] - points[0]
    down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    return bool(across[0] * down[1] - across[1] * down[0] < 0)


def write_landmarks(path: Path, rows: Mapping[str, Row]) -> None:
    """Writes rows in the order of their names, whole or not at all."""
    lines = [_line(HEADER), *(_line(_cells(name, rows[name])) for name in sorted(rows))]
    with whole_file(path) as file:
        file.write("".join(lines).encode())


@contextmanager
def noted(path: Path) -> Iterator[Callable[[str, Row], None]]:
    """A function that adds a row to the CSV at once, so that a stopped run loses nothing.

    The row that a kill has cut is taken off first.
    """
    with path.open("ab+") as file:
        file.seek(0)
        whole = file.read()
        file.truncate(whole.rfind(b"\n") + 1)
        if not whole:
            file.write(_line(HEADER).encode())

        def note(name: str, row: Row) -> None:
            file.write(_line(_cells(name, row)).encode())
            file.flush()

        yield note


def read_noted(path: Path) -> dict[str, Row]:
    """The rows that ``noted`` has written, without one that a kill has cut; {} for no file."""
    if not path.exists():
        return {}
    with noted(path):
        pass
    return read_landmarks(path)


def _cells(name: str, row: Row) -> list[str]:
    numbers = [""] * 10 if row.points is None else [repr(v) for v in row.points.ravel().tolist()]
    return [name, *numbers, row.sha256]


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
