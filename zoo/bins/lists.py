"""Lists of pairs: told apart by what is in them, read, and ordered in folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.bins.pairs_file import Pair, read_pair_table
from evaluator.bins.tables import delimiter_of, list_text
from evaluator.errors import InputError
from zoo.bins.published import (
    Lines,
    PairList,
    is_labelled_name,
    is_lfw,
    is_mat,
    is_path,
    read_agedb,
    read_halves,
    read_lfw,
    read_paths,
)


@dataclass(frozen=True)
class ListFormat:
    """A kind of list by what its first two lines are, and how it is read."""

    name: str
    begins: Callable[[list[str]], bool]
    read: Callable[[Path, Lines], PairList]


def _table(path: Path, _: Lines) -> PairList:
    table = read_pair_table(path)
    if table.folds is None:
        return PairList(table.pairs)
    return _by_fold(table.pairs, table.folds)


def _is_table(first: list[str]) -> bool:
    cells = first[0].lstrip("# ").split(delimiter_of(first[0]))
    return len(cells) in (3, 5, 6) or any(mark in first[0] for mark in ",;")


#: The first that a list begins as; one that begins as none is held to LFW's, which names its line.
FORMATS = (
    ListFormat("LFW, XQLFW, RFW", is_lfw, read_lfw),
    ListFormat("CALFW, CPLFW", lambda first: all(map(is_labelled_name, first)), read_halves),
    ListFormat("SLLFW", lambda first: all(map(is_path, first)), read_paths),
    ListFormat("a table, BFW's too", _is_table, _table),
)


def read_pair_list(path: Path) -> PairList:
    """The pairs of a list, of the format that it begins as; ``.csv`` is a table.

    Raises InputError naming the line; OSError.
    """
    if is_mat(path):
        return read_agedb(path)
    if path.suffix.lower() == ".csv":
        return _table(path, [])
    text = list_text(path, "a pairs file")
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path}: is empty; expected pairs, LFW's NAME i j and NAME i NAME j, say")
    first = [line.strip() for _, line in lines[:2]]
    read = next((each.read for each in FORMATS if each.begins(first)), read_lfw)
    return read(path, lines)


def _by_fold(pairs: Sequence[Pair], folds: Sequence[str]) -> PairList:
    """The pairs of a table in the order of its folds, by number where these are numbers."""
    numbered = all(fold.isdecimal() and len(fold) < 10 for fold in folds)
    order = sorted(range(len(pairs)), key=lambda i: (int(folds[i]) if numbered else 0, folds[i]))
    return PairList([pairs[i] for i in order], own_folds=tuple(folds[i] for i in order))


def in_folds(listed: PairList, folds: int, path: Path) -> tuple[list[Pair], str | None]:
    """The pairs in an order that evaluators cut into ``folds`` balanced parts, and what was done.

    Raises InputError where the list has folds of its own, of another number.
    """
    if listed.folds is not None:
        if folds not in (10, listed.folds):
            raise InputError(f"--folds {folds}: {path} itself says {listed.folds}")
        return listed.pairs, listed.said and f"{path}: {listed.said}"
    ordered = dealt(listed.pairs, folds)
    if listed.own_folds:
        return ordered, f"{path}: {_of_own_folds(listed, ordered, folds)}"
    if listed.said:
        return ordered, f"{path}: {listed.said}"
    if ordered == listed.pairs:
        return ordered, None
    return ordered, f"{path}: its pairs were dealt into {folds} balanced folds"


def _of_own_folds(listed: PairList, ordered: Sequence[Pair], folds: int) -> str:
    """What becomes of a table's own folds where evaluators cut ``folds`` parts."""
    fold_of = dict(zip(map(id, listed.pairs), listed.own_folds, strict=True))
    size, longer = divmod(len(ordered), folds)
    away, start = 0, 0
    for part in range(folds):
        end = start + size + (part < longer)
        inside = Counter(fold_of[id(pair)] for pair in ordered[start:end])
        away += end - start - max(inside.values())
        start = end
    own = len(set(listed.own_folds))
    edges = "no part has pairs of two of them"
    if away:
        edges = f"{away:,} pairs are in a part that is mostly of another fold"
    return (
        f"its own {own} folds, one after another, became {folds} parts of equal size and share of "
        f"genuine pairs; {edges}"
    )


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
