"""Tables with a line above and notes below, in every form that a command prints."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from zoo.terminal.escaped import (
    LATEX,
    MARKDOWN,
    Form,
    latex_rows,
    latex_table,
    markdown,
    markdown_rows,
    no_formula,
)
from zoo.terminal.table import headed_table, print_fitting, spaceless
from zoo.terminal.words import rich_terminal

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Block:
    """A table: ``title`` above it, ``header``, ``rows`` and ``notes`` below. The first ``words``
    columns are words, the others figures. A cell may have two lines, as its heading has: in text
    they are two columns. ``strong`` says whether the title is of a model.
    """

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    words: int = 1
    strong: bool = False


def print_blocks(blocks: Sequence[Block]) -> None:
    """Prints on stdout: Rich tables on a terminal, plain columns in a pipe."""
    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_blocks(blocks))
        return
    from rich.markup import escape

    for block in blocks:
        console.print(
            block.title, style="bold" if block.strong else "", highlight=False, markup=False
        )
        if block.rows:
            table = headed_table()
            for i, name in enumerate(block.header):
                first, *rest = name.split("\n")
                heading = "\n".join(
                    [escape(first), *(f"[dim]{escape(each)}[/dim]" for each in rest)]
                )
                if i < block.words:
                    table.add_column(heading, overflow="fold", max_width=28)
                else:
                    table.add_column(heading, justify="right", no_wrap=True)
            for row in block.rows:
                table.add_row(*map(_dimmed, row))
            print_fitting(table, console)
        for note in block.notes:
            console.print(note, style="dim", highlight=False, markup=False)


def _dimmed(cell: str) -> str:
    from rich.markup import escape

    first, *rest = cell.split("\n")
    return "\n".join([escape(first), *(f"[dim]{escape(each)}[/dim]" for each in rest)])


def plain_blocks(blocks: Sequence[Block]) -> str:
    """Columns without spaces in their cells, for grep and awk; words stand behind #."""
    lines = []
    for block in blocks:
        lines.append(f"# {block.title}")
        if block.rows:
            lines += spaceless(_flat(block))
        lines += [f"# {note}" for note in block.notes]
    return "\n".join(lines) + "\n"


def _flat(block: Block) -> list[list[str]]:
    """The header and the rows, a column a line of their cells."""
    header = [part for name in block.header for part in _parts(name)]
    sizes = [len(_parts(name)) for name in block.header]
    rows = []
    for row in block.rows:
        cells = []
        for cell, size in zip(row, sizes, strict=True):
            parts = cell.split("\n")
            cells += [*parts, *["-"] * (size - len(parts))][:size]
        rows.append([cell or "-" for cell in cells])
    return [header, *rows]


def _parts(name: str) -> list[str]:
    """The headings of a heading of two lines, the second told by the first."""
    first, *rest = name.split("\n")
    return [first, *(f"{first} {each}" for each in rest)]


def _written(block: Block, form: Form) -> tuple[list[list[str]], str]:
    """The header and the rows in a form, and how their columns are aligned."""
    header, *rows = _flat(block)
    first = sum(len(_parts(name)) for name in block.header[: block.words])
    written = [[form.written(cell) for cell in row] for row in (header, *rows)]
    return written, "l" * first + "r" * (len(header) - first)


def markdown_blocks(blocks: Sequence[Block]) -> str:
    """A heading or line, a table and a list of notes for each."""
    found = []
    for block in blocks:
        lines = [f"{'### ' if block.strong else ''}{markdown(block.title)}"]
        lines += ["", *markdown_rows(*_written(block, MARKDOWN))] if block.rows else []
        lines += ["", *(f"- {markdown(note)}" for note in block.notes)] if block.notes else []
        found.append("\n".join(lines) + "\n")
    return "\n".join(found)


def latex_blocks(blocks: Sequence[Block]) -> str:
    r"""A tabular for \\usepackage{booktabs} each; titles and notes stand in comments."""
    lines: list[str] = []
    for block in blocks:
        lines += [*([""] if lines else []), f"% {block.title}"]
        lines += latex_rows(*_written(block, LATEX)) if block.rows else []
        lines += [f"% {note}" for note in block.notes]
    return latex_table(lines)


def csv_rows(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as CSV; None is an empty cell, floats have all their digits, names are no formulas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_csv_cell(cell) for cell in row] for row in rows])
    return text.getvalue()


def _csv_cell(cell: object) -> object:
    return "" if cell is None else no_formula(cell) if isinstance(cell, str) else cell


def rate_text(value: float | None) -> str:
    """A rate with three digits, ``-`` for None."""
    return "-" if value is None else f"{value:.3g}"


def interval_text(ends: tuple[float, float] | None) -> str:
    """Both ends of a rate's interval, ``-`` for None."""
    return "-" if ends is None else f"{ends[0]:.2g} .. {ends[1]:.2g}"


#: What prints blocks by --format, csv and json apart, which have every digit.
TEXTS: dict[str, Callable[[Sequence[Block]], str]] = {
    "markdown": markdown_blocks,
    "latex": latex_blocks,
}


def print_as(
    form: str,
    found: _Found,
    blocks_of: Callable[[_Found], Sequence[Block]],
    **exact: Callable[[_Found], str],
) -> None:
    """Prints what was found on stdout by --format: its blocks, or, ``exact``, as CSV and JSON."""
    if form == "table":
        print_blocks(blocks_of(found))
    else:
        sys.stdout.write(exact[form](found) if form in exact else TEXTS[form](blocks_of(found)))
