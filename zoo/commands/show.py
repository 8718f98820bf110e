"""`zoo list` and `zoo show`: the zoo's entries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.errors import printable
from evaluator.metrics.text import columns
from zoo.terminal import options
from zoo.terminal.words import rich_terminal

if TYPE_CHECKING:
    from zoo.entries.registry import Entry


def list_entries(
    registry: options.Registry = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="List training runs instead: the folders in ./runs.")
    ] = False,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where --runs looks.")
    ] = Path("runs"),
) -> None:
    """List the zoo: each entry with its published accuracies, and whether its weights are here."""
    if runs:
        from zoo.train.entry import run_rows

        print("\n".join(columns(run_rows(folder))))
        return
    from zoo.entries.registry import read_registry, registry_path

    path = registry_path(registry)
    rows = _rows(read_registry(path))
    console = rich_terminal()
    if console is None:
        print("\n".join(columns([["_".join(cell.split()) for cell in row] for row in rows])))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    shown = _fitting(rows, console.width)
    table.add_column(Text(rows[0][0]), overflow="fold")
    for title in shown[0][1:]:
        # A figure is never broken into two lines; the name of an entry may be.
        figures = title not in _WORDS
        table.add_column(Text(title), justify="right" if figures else "left", no_wrap=True)
    for row in shown[1:]:
        table.add_row(*(Text(cell) for cell in row))  # not markup: names may hold brackets
    console.print(table)
    if shown is not rows:
        console.print(f"too narrow here for: {', '.join(_WORDS)}", style="dim", highlight=False)
    console.print(f"published accuracy in %; entries of {path}", style="dim", highlight=False)


# The columns behind the figures.
_WORDS = ("protocol", "weights")
_LEAST_NAME = 10


def _fitting(rows: list[list[str]], width: int) -> list[list[str]]:
    """The rows, without the columns of words where they leave too little room for the names."""
    widths = [max(map(len, column)) + 1 for column in zip(*rows, strict=True)]
    if sum(widths[1:]) + _LEAST_NAME <= width:
        return rows
    return [row[: -len(_WORDS)] for row in rows]


def _rows(entries: dict[str, Entry]) -> list[list[str]]:
    """The header and one row an entry."""
    bins = list(dict.fromkeys(name for entry in entries.values() for name in entry.published))
    rows = [["entry", *bins, *_WORDS]]
    for entry in entries.values():
        cells = [
            f"{100 * entry.published[name].accuracy:.2f}" if name in entry.published else "-"
            for name in bins
        ]
        weights = "here" if entry.file.exists() else "missing"
        rows.append([entry.name, *cells, entry.protocol or "-", weights])
    return rows


def show_entry(
    name: options.EntryName,
    registry: options.Registry = None,
) -> None:
    """Show one entry: file, input, published figures, source and notes."""
    from zoo.entries.registry import entry_named, read_registry, registry_path

    facts = _facts(entry_named(name, read_registry(registry_path(registry))))
    console = rich_terminal()
    if console is None:
        for label, value in facts:
            print(f"{label:<10} {value}")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in facts:
        table.add_row(label, Text(value))  # not markup: notes hold brackets
    console.print(table, highlight=False)


def _facts(entry: Entry) -> list[tuple[str, str]]:
    here = "" if entry.file.exists() else " (missing)"
    size = "the model's own" if entry.size is None else f"{entry.size[0]}x{entry.size[1]}"
    facts = [
        ("entry", entry.name),
        ("file", f"{entry.file}{here}"),
        ("sha256", entry.sha256 or "not known"),
        ("input", f"{size}, {entry.profile}, {entry.channels}"),
        ("embedding", str(entry.embedding_size) if entry.embedding_size else "not stated"),
        *([("output", entry.output)] if entry.output else []),
        *([("custom", ", ".join(entry.custom))] if entry.custom else []),
        ("source", entry.source),
        *([("url", entry.url)] if entry.url else []),
    ]
    for bin_name, row in entry.published.items():
        at = "" if row.threshold is None else f" @ {row.threshold:.6f}"
        protocol = f"{entry.protocol}, flip sum" if entry.flip == "sum" else entry.protocol
        facts.append(
            ("published", f"{bin_name} {100 * row.accuracy:.4f} %{at} (protocol {protocol})")
        )
    if entry.recipe is not None:
        from training.recipes.recipe import summary

        facts += [("recipe", line) for line in summary(entry.recipe)]
    if entry.notes:
        facts.append(("notes", " ".join(entry.notes.split())))
    return [(label, printable(value)) for label, value in facts]
