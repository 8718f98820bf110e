"""`zoo list` and `zoo show`: the zoo's entries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zoo.registry import Entry

Registry = Annotated[
    Path | None,
    typer.Option(
        "--registry", metavar="FILE", help="Another models.yaml ($ZOO_MODELS does the same)."
    ),
]


def list_entries(registry: Registry = None) -> None:
    """List the zoo: each entry with its published accuracies, and whether its weights are here."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from zoo.registry import read_registry, registry_path

    path = registry_path(registry)
    entries = read_registry(path)
    bins = list(dict.fromkeys(name for entry in entries.values() for name in entry.published))
    table = Table(header_style="bold", box=None if not Console().is_terminal else Table().box)
    table.add_column("entry")
    for name in bins:
        table.add_column(name, justify="right")
    table.add_column("protocol")
    table.add_column("weights", overflow="fold")
    for entry in entries.values():
        cells = [
            f"{100 * entry.published[name].accuracy:.2f}" if name in entry.published else "-"
            for name in bins
        ]
        weights = "here" if entry.file.exists() else "not here"
        table.add_row(Text(entry.name), *cells, entry.protocol or "-", weights)
    console = Console()
    console.print(table)
    if console.is_terminal:
        console.print(f"published accuracy in %; entries of {path}", style="dim", highlight=False)


def show_entry(
    name: Annotated[str, typer.Argument(metavar="ENTRY", help="A name that zoo list shows.")],
    registry: Registry = None,
) -> None:
    """Show one entry: file, input, published figures, source and notes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from evaluator.errors import InputError
    from zoo.registry import read_registry, registry_path, unknown_name

    entries = read_registry(registry_path(registry))
    if name not in entries:
        raise InputError(f"no entry {name!r}; {unknown_name(name, entries)}")
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _facts(entries[name]):
        table.add_row(label, Text(value))  # not markup: notes hold brackets
    Console().print(table, highlight=False)


def _facts(entry: Entry) -> list[tuple[str, str]]:
    here = "" if entry.file.exists() else " (not here)"
    size = "the model's own" if entry.size is None else f"{entry.size[0]}x{entry.size[1]}"
    facts = [
        ("entry", entry.name),
        ("file", f"{entry.file}{here}"),
        ("sha256", entry.sha256 or "not known"),
        ("input", f"{size}, {entry.profile}, {entry.channels}"),
        ("embedding", str(entry.embedding_size) if entry.embedding_size else "not stated"),
        ("source", entry.source),
    ]
    for bin_name, row in entry.published.items():
        at = "" if row.threshold is None else f" @ {row.threshold:.6f}"
        facts.append(
            ("published", f"{bin_name} {100 * row.accuracy:.4f} %{at} (protocol {entry.protocol})")
        )
    if entry.notes:
        facts.append(("notes", " ".join(entry.notes.split())))
    return facts
