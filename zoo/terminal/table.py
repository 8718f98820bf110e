"""Tables and facts in general: as Rich has them on a terminal, and in plain columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evaluator.metrics.text import columns
from zoo.terminal.words import rich_terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def headed_table() -> Table:
    """An empty table of figures, as all commands that rank or compare have it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


def spaceless(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows as lines of columns whose cells hold no space, for grep and awk."""
    return columns([[_spaceless(cell) for cell in row] for row in rows])


def _spaceless(cell: str) -> str:
    return cell.replace(" .. ", "..").replace(" %", "%").replace(" ", "_")


def print_facts(
    facts: Iterable[tuple[str, str]], *, notes: Sequence[str] = (), problems: Sequence[str] = ()
) -> None:
    """Prints names and values on stdout, and a line for each note and problem."""
    said = [*(f"note: {line}" for line in notes), *(f"problem: {line}" for line in problems)]
    console = rich_terminal()
    if console is None:
        print("\n".join([*columns([[*fact] for fact in facts]), *said]))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))  # not markup: notes hold brackets
    console.print(table, highlight=False)
    for line in said:
        console.print(Text(line, style="red" if line.startswith("problem") else ""), soft_wrap=True)


def print_fitting(table: Table, console: Console) -> None:
    """Prints a table, or a line a figure where the terminal is too narrow for its columns.

    A column that may not be broken is ``no_wrap``; a cell's lines belong to its heading's lines.
    """
    from rich.measure import Measurement
    from rich.text import Text

    wide = console.options.update(width=1000)
    if Measurement.get(console, wide, table).minimum <= console.width:
        console.print(table)
        return
    texts = [[Text.from_markup(str(cell)) for cell in each.cells] for each in table.columns]
    headings = [Text.from_markup(str(each.header)).plain for each in table.columns]
    for row in zip(*texts, strict=True):
        console.print()
        for heading, cell in zip(headings, row, strict=True):
            values, names = cell.plain.split("\n"), heading.split("\n")
            for name, value in zip(
                names if len(values) > 1 else [" ".join(names)], values, strict=False
            ):
                if value:
                    console.print(Text(f"{name:<16}{value}"))
    console.print()
