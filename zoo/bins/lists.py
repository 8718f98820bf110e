"""Pairs as lists give them: LFW's pairs files, and the order of a list in folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.bins.pairs_file import LONGEST_NAME, Pair, list_text, read_pairs_csv
from evaluator.errors import InputError
from evaluator.images.image_format import IMAGE_SUFFIXES
from zoo.bins.build import image_names

_MOST_DIGITS = 9


@dataclass(frozen=True)
class PairList:
    """Pairs in order, and in how many folds the list itself puts them (None: it says nothing)."""

    pairs: list[Pair]
    folds: int | None


def read_pair_list(path: Path) -> PairList:
    """The pairs of a file: ``.csv`` as left,right,label, any other as LFW's pairs files.

    LFW names image i of a person NAME/NAME_000i, without a suffix, for ``find_images``. Raises
    InputError naming the line; OSError.
    """
    if path.suffix.lower() == ".csv":
        return PairList(read_pairs_csv(path), None)
    return _lfw_pairs(path)


def _lfw_pairs(path: Path) -> PairList:
    """``pairs.txt`` begins with folds and genuine pairs in each ("10 300"), the development lists
    with the genuine pairs of their one fold ("500"); after the genuine pairs of a fold (3 columns)
    come as many impostor pairs (4 columns). A file may also begin with its first pair.
    """
    lines = list_text(path, "a pairs file").splitlines()
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise InputError(f"{path}: is empty; expected LFW's pairs, NAME i j and NAME i NAME j")
    head = _head(numbered[0][1])
    rows = numbered[1:] if head else numbered
    pairs = [_lfw_pair(f"{path}, line {i}", line) for i, line in rows]
    if head is None:
        return PairList(pairs, None)
    folds, each = head
    if len(pairs) != 2 * folds * each:
        raise InputError(
            f"{path}, line {numbered[0][0]}: says {folds} x 2 x {each} pairs, found {len(pairs)};"
            " mend the numbers or get the file again"
        )
    for (line, _), pair, place in zip(rows, pairs, range(len(pairs)), strict=True):
        if pair.genuine != (place % (2 * each) < each):
            kind = "NAME i NAME j, an impostor" if pair.genuine else "NAME i j, a genuine"
            raise InputError(
                f"{path}, line {line}: expected {kind} pair, as line {numbered[0][0]} says"
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


def _lfw_pair(where: str, line: str) -> Pair:
    if len(line) > LONGEST_NAME:
        raise InputError(f"{where}: expected NAME i j or NAME i NAME j, found {len(line):,} signs")
    # The official files part by tabs, so that a name may have spaces; copies part by spaces.
    cells = [cell.strip() for cell in (line.strip().split("\t") if "\t" in line else line.split())]
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


def find_images(pairs: Sequence[Pair], folder: Path, source: Path) -> list[Pair]:
    """The pairs with names that are files below ``folder``: a name without suffix gets its own.

    Raises InputError for the first image that is missing, with the file wanted.
    """
    if not folder.is_dir():
        raise InputError(f"--images {folder}: no such folder")
    known = {name: _file_name(name, folder, source) for name in image_names(pairs)}
    return [Pair(known[p.left], known[p.right], p.genuine, p.people) for p in pairs]


def _file_name(name: str, folder: Path, source: Path) -> str:
    given = Path(name)
    if given.suffix.lower() in IMAGE_SUFFIXES:
        if (folder / given).is_file():
            return name
        wanted = str(folder / given)
    else:
        for suffix in IMAGE_SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return f"{name}{suffix}"
        wanted = f"{folder / name}.jpg (or {', '.join(IMAGE_SUFFIXES[1:])})"
    raise InputError(f"{source}: wants {wanted}, which is missing; is --images the right folder?")


def dealt(pairs: Sequence[Pair], folds: int) -> list[Pair]:
    """The pairs in an order that evaluators cut into balanced folds.

    They cut the file into ``folds`` contiguous parts, the first ones a pair longer where it does
    not divide (scikit-learn's KFold); each part gets its share of genuine pairs, then of impostor
    pairs, both in the order given. Dealing a dealt list changes nothing.
    """
    if len(pairs) < folds:
        raise InputError(f"--folds {folds}: more folds than the {len(pairs)} pairs")
    genuine = [pair for pair in pairs if pair.genuine]
    impostor = [pair for pair in pairs if not pair.genuine]
    size, longer = divmod(len(pairs), folds)
    ordered: list[Pair] = []
    done = 0
    for fold in range(folds):
        end = len(ordered) + size + (fold < longer)
        share = len(genuine) * end // len(pairs)
        ordered += genuine[done:share] + impostor[len(ordered) - done : end - share]
        done = share
    return ordered
