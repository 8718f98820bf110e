"""Reading scores and embeddings that another system wrote: text and .npz files."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import HEADER, PEOPLE, Pair
from evaluator.bins.verification_set import VerificationSet
from evaluator.errors import InputError, cause_of, plain_name
from evaluator.files import TooLargeError, read_bounded
from evaluator.limits import available_bytes
from evaluator.npz import NpzError, array_names, opened_npz, read_array
from evaluator.results.external import (
    ExternalPairs,
    embedded_elsewhere,
    image_numbers,
    scored_elsewhere,
)
from evaluator.results.scores_file import LARGEST_SCORE

_SCORE_NAMES = ("score", "scores")
_LABEL_NAMES = ("label", "labels", "genuine")
_LABELS = {
    **dict.fromkeys(("1", "true", "genuine"), True),
    **dict.fromkeys(("0", "false", "impostor"), False),
}

# How many times an array must fit into memory: as numbers of 64 bits, of 32, by rows, sorted.
_COPIES = 6
# A million pairs are 25 MB of text.
_LARGEST_TEXT = 2**30
# As text, as lines, as cells, as numbers of Python.
_TEXT_COPIES = 12
# Bytes of the longest word that a label may be, at four a sign.
_LONGEST_LABEL = 400


def read_scores(path: Path) -> ExternalPairs:
    """The pairs of a .npz (arrays score and label) or of a text file of score,label lines.

    Scores: higher is more alike, any scale. Labels: 1, true, genuine or 0, false, impostor. The
    text is separated by commas, semicolons or tabs; a header may name the columns, also ``left``
    and ``right``, the images, with ``left_person`` and ``right_person``. Raises InputError naming
    file, line, what was expected and found; OSError.
    """
    listed: list[Pair] = []
    if path.suffix == ".npz":
        scores = _float_array(path, *_named_array(path, _SCORE_NAMES))
        genuine = _label_array(path, *_named_array(path, _LABEL_NAMES))
    else:
        scores, genuine, listed = _read_text(path)
    if scores.ndim != 1 or scores.shape != genuine.shape:
        raise InputError(
            f"{path}: expected one score and one label a pair; found scores of shape "
            f"{scores.shape} and labels of shape {genuine.shape}"
        )
    _check_not_empty(path, len(scores))
    _check_scale(path, scores)
    images = image_numbers(listed) if listed else None
    return scored_elsewhere(scores, genuine, images, pair_list=listed)


def read_embeddings(path: Path, verification_set: VerificationSet | None) -> ExternalPairs:
    """The pairs of a .npz with ``embeddings`` (2 x pairs, d), row 2i and 2i + 1 being pair i.

    Labels are the array ``genuine`` (pairs,), or the bin's. Scores are cosines. Rows of equal bytes
    count as one image where there is no bin to tell. Raises InputError, or OSError.
    """
    name, array = _named_array(path, ("embeddings", "embedding"))
    embeddings = _float_array(path, name, array)
    if embeddings.ndim != 2 or len(embeddings) % 2 or not embeddings.shape[1]:
        raise InputError(
            f"{path}: {name} must have shape (2 x pairs, dimensions), rows 2i and 2i + 1 being "
            f"pair i; found {embeddings.shape}"
        )
    _check_not_empty(path, len(embeddings))
    if verification_set is not None and not set(_LABEL_NAMES) & set(names_in(path)):
        genuine = np.array(verification_set.genuine)
    else:
        genuine = _label_array(path, *_named_array(path, _LABEL_NAMES))
    if len(genuine) * 2 != len(embeddings):
        raise InputError(
            f"{path}: {len(embeddings):,} embeddings make {len(embeddings) // 2:,} pairs, but "
            f"there are {len(genuine):,} labels"
        )
    return embedded_elsewhere(embeddings, genuine)


# ---- Arrays --------------------------------------------------------------------------------------


def names_in(path: Path) -> list[str]:
    """The names of the arrays in a .npz. Raises InputError for a file that is none, OSError."""
    try:
        with opened_npz(path) as archive:
            return list(array_names(archive))
    except NpzError:
        raise InputError(f"{path}: expected a .npz file, as numpy.savez writes it") from None


def _named_array(path: Path, names: Sequence[str]) -> tuple[str, NDArray[np.generic]]:
    """The first of these arrays that the file has. Nothing pickled is loaded, and nothing allocated
    that the file does not hold or that memory could not.
    """
    there = names_in(path)
    name = next((each for each in names if each in there), None)
    if name is None:
        found = plain_name(", ".join(there))[:200] if there else "nothing"
        raise InputError(f"{path}: expected an array named {' or '.join(names)}; found {found}")
    try:
        with opened_npz(path) as archive:
            return name, read_array(archive, name, copies=_COPIES)
    except (NpzError, KeyError) as error:
        raise InputError(f"{path}: array {name!r} cannot be read: {cause_of(error)}") from None


def _float_array(path: Path, name: str, array: NDArray[np.generic]) -> NDArray[np.float64]:
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {name} must be numbers; found {array.dtype}")
    return array.astype(np.float64)


def _label_array(path: Path, name: str, array: NDArray[np.generic]) -> NDArray[np.bool_]:
    if array.ndim != 1:
        raise InputError(f"{path}: {name} must be one label a pair; found shape {array.shape}")
    if array.dtype.kind == "U" and array.dtype.itemsize <= _LONGEST_LABEL:
        labels = [_LABELS.get(str(value).strip().lower()) for value in array]
    elif array.dtype.kind in "biuf":
        numbers = array.astype(np.float64)
        if bool(((numbers == 0) | (numbers == 1)).all()):
            return numbers.astype(np.bool_)
        labels = [{0.0: False, 1.0: True}.get(float(value)) for value in numbers]
    else:
        raise InputError(f"{path}: {name} must be 0 and 1, or words; found {array.dtype}")
    if None in labels:
        first = labels.index(None)
        raise InputError(
            f"{path}: {name}[{first}]: expected 1, true, genuine or 0, false, impostor; "
            f"found {str(array[first])[:40]!r}"
        )
    return np.array(labels, dtype=np.bool_)


def _check_not_empty(path: Path, count: int) -> None:
    if not count:
        raise InputError(f"{path}: holds no pairs")


def _check_scale(path: Path, scores: NDArray[np.float64]) -> None:
    """Raises InputError for finite scores whose squares and sums would overflow."""
    beyond = np.flatnonzero(np.isfinite(scores) & (np.abs(scores) > LARGEST_SCORE))
    if len(beyond):
        first = int(beyond[0])
        raise InputError(
            f"{path}: score {scores[first]:g} of pair {first} is beyond {LARGEST_SCORE:g}; "
            "divide all scores by one number"
        )


# ---- Text ----------------------------------------------------------------------------------------


def _read_text(path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[Pair]]:
    """Scores, labels and, where the header names their columns, the pairs by name."""
    try:
        text = _bounded_text(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected lines of score,label; found no text") from None
    except TooLargeError as error:
        raise InputError(
            f"{path}: {error.strerror}, which is what is read of text; give a .npz with arrays "
            "score and label"
        ) from None
    rows = _rows(path, text)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{path}: holds no pairs")
    columns = {"score": 0, "label": 1}
    if _number(first[1][0]) is None:
        columns = _header(path, first)
    else:
        rows = itertools.chain([first], rows)
    scores: list[float] = []
    genuine: list[bool] = []
    listed: list[Pair] = []
    for line, cells in rows:
        score, label = _score_and_label(path, line, cells, columns)
        scores.append(score)
        genuine.append(label)
        if "right" in columns:
            listed.append(_named_pair(path, line, cells, columns, label))
    return np.array(scores, dtype=np.float64), np.array(genuine, dtype=np.bool_), listed


def _bounded_text(path: Path) -> bytes:
    """The file's bytes, as far as memory holds what is made of them. Raises OSError."""
    available = available_bytes()
    limit = _LARGEST_TEXT if available is None else min(_LARGEST_TEXT, available // _TEXT_COPIES)
    return read_bounded(path, limit)


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each line that is not blank."""
    start = text.lstrip().partition("\n")[0]
    delimiter = next((mark for mark in ("\t", ";") if mark in start), ",")
    # Nothing is quoted in lists of numbers; a stray quote must not swallow the lines after it.
    rows = csv.reader(text.splitlines(), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    try:
        for line, row in enumerate(rows, 1):
            if any(cell.strip() for cell in row):
                yield line, row
    except csv.Error as error:  # a field of more than 128 KiB, a zero byte in older Pythons
        raise InputError(f"{path}:{rows.line_num}: no line of text: {cause_of(error)}") from None


def _header(path: Path, row: tuple[int, list[str]]) -> dict[str, int]:
    """Where the columns of score, label and, where there are both, of images and people are."""
    line, cells = row
    names = [cell.strip().lower() for cell in cells]
    at_score = next((i for i, name in enumerate(names) if name in _SCORE_NAMES), None)
    at_label = next((i for i, name in enumerate(names) if name in _LABEL_NAMES), None)
    if at_score is None or at_label is None:
        raise InputError(
            f"{path}:{line}: expected score,label or a header that names these columns; "
            f"found {_shown(cells)}"
        )
    columns = {"score": at_score, "label": at_label}
    for both in (HEADER[:2], PEOPLE):
        if all(name in names for name in both):
            columns |= {name: names.index(name) for name in both}
    return columns


def _score_and_label(
    path: Path, line: int, cells: Sequence[str], columns: Mapping[str, int]
) -> tuple[float, bool]:
    if len(cells) <= max(columns.values()):
        raise InputError(f"{path}:{line}: expected {','.join(columns)}; found {_shown(cells)}")
    at_score, at_label = columns["score"], columns["label"]
    score = _number(cells[at_score])
    if score is None:
        raise InputError(
            f"{path}:{line}: expected a number as score; found {_shown([cells[at_score]])}"
        )
    label = _LABELS.get(cells[at_label].strip().lower())
    if label is None:
        raise InputError(
            f"{path}:{line}: expected label 1, true, genuine or 0, false, impostor; "
            f"found {_shown([cells[at_label]])}"
        )
    return score, label


def _named_pair(
    path: Path, line: int, cells: Sequence[str], columns: Mapping[str, int], genuine: bool
) -> Pair:
    left, right = (cells[columns[name]].strip() for name in HEADER[:2])
    if PEOPLE[0] not in columns:
        return Pair(left, right, genuine)
    a, b = (cells[columns[name]].strip() for name in PEOPLE)
    if (a == b) != genuine:
        raise InputError(
            f"{path}:{line}: the label says {'one person' if genuine else 'two people'}, but they "
            f"are {_shown([a])} and {_shown([b])}; mend the label or the names"
        )
    return Pair(left, right, genuine, (a, b))


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _shown(cells: Sequence[str]) -> str:
    text = ",".join(cells)
    return repr(text if len(text) <= 60 else text[:57] + "...")
