"""Rows as a table: Rich for people, Markdown for docs/performance.md, or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.table import Table

from rows import Row, in_words

# What Rich assumes too where stdout is no terminal; stated, because the table is made for it.
PIPED_WIDTH = 80

COLUMNS = ("what", "against", "ratio", "wanted", "")


def finish(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Prints the rows as a table, or as JSON with ``--json``; with ``--quick`` none is judged."""
    rows = [replace(row, quick=options.quick) for row in rows]
    if options.json:
        print(json.dumps([{**asdict(row), "verdict": row.verdict} for row in rows]))
    else:
        print_table(rows)


def print_table(rows: Sequence[Row], *, console: Console | None = None) -> None:
    """Prints one line or more a row, at most 80 columns wide where stdout is no terminal."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=PIPED_WIDTH)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name in COLUMNS[:2]:
        table.add_column(name, overflow="fold", ratio=1)
    for name in COLUMNS[2:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        style = "bold red" if row.verdict == "miss" else ""
        table.add_row(row.what, row.against, *in_words(row), row.verdict, style=style)
    console.print(table)
    missed = sum(row.verdict == "miss" for row in rows)
    judged = sum(row.verdict != "-" for row in rows)
    if judged:
        console.print(f"{judged - missed} of {judged} wanted ratios reached", highlight=False)
    else:
        console.print("small sizes, or nothing asked: no ratio is judged", highlight=False)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, with both sides' own figures."""
    lines = ["| what | against | ratio | wanted | | measured |", "|---|---|---|---|---|---|"]
    for row in rows:
        value, wanted = in_words(row)
        cells = (row.what, row.against, value, wanted, row.verdict, row.detail)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
