"""Many models compared with one another: who beats whom, in one table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluator.statistics.duels import Duel
from evaluator.statistics.sides import Side, alone_notes, gathered
from evaluator.statistics.verdicts import signed
from zoo.results.duels_text import basis, tested
from zoo.terminal.table import headed_table, spaceless
from zoo.terminal.words import rich_terminal

#: Models that a matrix shows: so many columns stand beside names in 80.
SHOWN = 8
# Names of one list.
_NAMED = 5
# So many notes that say the same of different models are one.
_ALIKE = 3


@dataclass(frozen=True, eq=False)
class Standing:
    """A model among others: those that it beats, that beat it, and that it cannot be told from,
    the best first.
    """

    side: Side
    beats: tuple[Side, ...]
    beaten_by: tuple[Side, ...]
    tied: tuple[Side, ...]

    @property
    def words(self) -> str:
        """As "better than 3, worse than none; not separable from b, c"."""
        said = (
            f"better than {len(self.beats) or 'none'}, worse than {len(self.beaten_by) or 'none'}"
        )
        return f"{said}; not separable from {listed(self.tied)}" if self.tied else said


@dataclass(frozen=True, eq=False)
class Matrix:
    """Models from the best to the worst by how many they beat less how many beat them, then by
    their mean difference from the others; ``baseline`` is the first that was named. ``notes`` are
    those of the duels, alike ones made one. ``gaps`` are by how much a model is better than
    another, by the ids of both, and whether that is real at 5 %.
    """

    duels: tuple[Duel, ...]
    standings: tuple[Standing, ...]
    baseline: Side
    notes: tuple[str, ...]
    gaps: Mapping[tuple[int, int], tuple[float, bool]]
    most: int = SHOWN

    @property
    def shown(self) -> tuple[Standing, ...]:
        """The best ``most``, the baseline among them."""
        best = self.standings[: self.most]
        if any(each.side is self.baseline for each in best):
            return best
        own = next(each for each in self.standings if each.side is self.baseline)
        return (*best[:-1], own)

    def between(self, one: Side, other: Side) -> tuple[float, bool]:
        """The difference of the first from the second, and whether it is real at 5 %."""
        gap, real = self.gaps[id(one), id(other)]
        return gap if self.duels[0].figure.higher_is_better else -gap, real


def matrix_of(duels: Sequence[Duel]) -> Matrix:
    """The standings of models of which every two were compared."""
    sides = list({id(side): side for duel in duels for side in (duel.a, duel.b)}.values())
    gaps = {
        (id(side), id(other)): (_gap(duel, side), duel.separable)
        for duel in duels
        for side, other in ((duel.a, duel.b), (duel.b, duel.a))
    }

    def others(side: Side) -> list[tuple[Side, float, bool]]:
        return [(each, *gaps[id(side), id(each)]) for each in sides if each is not side]

    def order(side: Side) -> tuple[int, float]:
        own = others(side)
        wins = sum((gap > 0) - (gap < 0) for _, gap, real in own if real)
        return -wins, -sum(gap for _, gap, _ in own) / len(own)

    sides = sorted(sides, key=order)
    found = [
        Standing(
            side,
            beats=tuple(each for each, gap, real in others(side) if real and gap > 0),
            beaten_by=tuple(each for each, gap, real in others(side) if real and gap < 0),
            tied=tuple(each for each, _, real in others(side) if not real),
        )
        for side in sides
    ]
    return Matrix(tuple(duels), tuple(found), duels[0].a, tuple(_notes(duels, sides)), gaps)


def _gap(duel: Duel, side: Side) -> float:
    """By how much a model is better than the other of a duel, whichever way the figure goes."""
    sign = 1 if (duel.a is side) == duel.figure.higher_is_better else -1
    return sign * duel.overall.difference


def listed(sides: Sequence[Side]) -> str:
    """The first names, and how many more there are."""
    names = [each.label for each in sides[:_NAMED]]
    more = len(sides) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def _notes(duels: Sequence[Duel], sides: Sequence[Side]) -> list[str]:
    """What models lack, a line a bin, then the other notes, those that are alike in one."""
    bins = {sha256: each.bin.name for side in sides for sha256, each in side.results.items()}
    lacking, found = [], []
    for name in dict.fromkeys(bins.values()):
        without = [
            side for side in sides if not any(r.bin.name == name for r in side.results.values())
        ]
        if without:
            models = f"{len(without):,} model{'s' * (len(without) > 1)}"
            lacking.append(f"{models}: no result on {name}: {listed(without)}")
    alike: dict[str, list[str]] = {}
    for duel in duels:
        for note in duel.notes:
            if note not in alone_notes(duel.a, duel.b):
                own = alike.setdefault(_without_names(note, duel), [])
                own += [note] * (note not in own)
    for template, own in alike.items():
        if len(own) < _ALIKE:
            found += own
        else:
            found.append(f"{len(own):,} times: {template}")
    return [*lacking, *gathered(found)]


def _without_names(note: str, duel: Duel) -> str:
    """A note with A and B for the models' names."""
    for label, letter in sorted(
        ((duel.a.label, "A"), (duel.b.label, "B")), key=lambda x: -len(x[0])
    ):
        note = note.replace(label, letter)
    return note


# ---- As text -------------------------------------------------------------------------------------


# Of so few models a name that leaves no room for figures is cut.
_FEWEST, _LEAST_NAME = 3, 12


def print_matrix(matrix: Matrix) -> None:
    """Prints the matrix, a line for each of the best, the baseline's, and the notes, on stdout."""
    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_matrix(matrix))
        return
    from rich.text import Text

    # A model less rather than a name or a figure that is cut.
    while _width(rows_of(matrix)) > console.width and len(matrix.shown) > _FEWEST:
        matrix = replace(matrix, most=len(matrix.shown) - 1)
    rows = rows_of(matrix)
    longest = max(len(row[1]) for row in rows)
    room = max(_LEAST_NAME, longest - max(0, _width(rows) - console.width))
    table = headed_table()
    table.padding = (0, 1, 0, 0)
    for place, heading in enumerate(rows[0]):
        justify = "left" if place == 1 else "right"
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows[1:]:
        name = row[1] if len(row[1]) <= room else f"{row[1][: room - 1]}…"
        cells = [Text(cell, style="bold" if "*" in cell else "") for cell in row[2:]]
        table.add_row(row[0], Text(name), *cells)
    console.print(table)
    for line in lines_of(matrix):
        console.print(line, highlight=False, markup=False)
    for note in matrix.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)
    console.print(caption(matrix), style="dim", highlight=False, markup=False)


def _width(rows: list[list[str]]) -> int:
    """Columns that the table takes: two between its own, and one at either end."""
    return sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True))


def plain_matrix(matrix: Matrix) -> str:
    """Fixed columns, the words after "#", for grep and awk."""
    said = [*lines_of(matrix), *(f"note: {note}" for note in matrix.notes), caption(matrix)]
    return "\n".join([*spaceless(rows_of(matrix)), *(f"# {line}" for line in said)]) + "\n"


def rows_of(matrix: Matrix) -> list[list[str]]:
    """A header and a row a model: its place, its name, and its difference from each shown."""
    places = {id(each.side): i for i, each in enumerate(matrix.standings, 1)}
    numbers = [str(places[id(each.side)]) for each in matrix.shown]
    figure = matrix.duels[0].figure
    rows = [["no", "model", *numbers]]
    for number, one in zip(numbers, matrix.shown, strict=True):
        cells = []
        for other in matrix.shown:
            if other is one:
                cells.append(".")
                continue
            difference, real = matrix.between(one.side, other.side)
            cells.append(signed(difference, figure) + ("*" if real else ""))
        rows.append([number, f"{one.side.label}{' (A)' * _is_baseline(matrix, one)}", *cells])
    return rows


def _is_baseline(matrix: Matrix, one: Standing) -> bool:
    return one.side is matrix.baseline


def lines_of(matrix: Matrix) -> list[str]:
    """A sentence for each of the models shown, on those that are not, and on the baseline."""
    lines = [f"{each.side.label}: {each.words}" for each in matrix.shown]
    shown = {id(each.side) for each in matrix.shown}
    rest = [each.side for each in matrix.standings if id(each.side) not in shown]
    lines += [f"{len(rest):,} more models, not shown: {listed(rest)}"] if rest else []
    own = next(each for each in matrix.standings if _is_baseline(matrix, each))
    for words, sides in (("better", own.beaten_by), ("worse", own.beats)):
        lines.append(f"{words} than {own.side.label} (A): {listed(sides) or 'none'}")
    by_margin: dict[str, list[str]] = {}
    for duel in matrix.duels:
        if duel.a is matrix.baseline and duel.by_margin:
            by_margin.setdefault(duel.by_margin, []).append(duel.b.label)
    lines += [f"by the margin, {word}: {', '.join(own)}" for word, own in by_margin.items()]
    return lines


def caption(matrix: Matrix) -> str:
    """What the cells are."""
    higher = matrix.duels[0].figure.higher_is_better
    return (
        f"{len(matrix.standings):,} models, {len(matrix.duels):,} comparisons: row less column, "
        f"mean of shared bins{'' if higher else ' (lower is better)'}; * real at 5 %, corrected "
        f"as a leaderboard's ranks are. --pairs all: every comparison. {tested(matrix.duels[0])}. "
        + basis(matrix.duels)
    )
