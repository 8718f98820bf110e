"""A matrix of many models as a Rich table and plain columns."""

from __future__ import annotations

import sys
from dataclasses import replace

from evaluator.statistics.verdicts import signed
from zoo.results.duels_text import basis, tested
from zoo.results.matrix import Matrix, Standing, listed
from zoo.terminal.table import headed_table, spaceless
from zoo.terminal.words import rich_terminal

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
