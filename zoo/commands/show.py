"""`zoo list` and `zoo show`: the zoo's entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from evaluator.errors import InputError, printable
from evaluator.metrics.text import columns
from zoo.terminal import options
from zoo.terminal.table import headed_table, print_facts
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
    form: Annotated[Literal["table", "json"], options.FORMAT] = "table",
) -> None:
    """List the zoo: each entry's published accuracies, where its weights can be had, its licence.

    Weights are here, or are had by zoo pull (unverified: with --unverified alone) or zoo train.
    """
    if runs:
        from zoo.train.entry import run_rows

        print("\n".join(columns(run_rows(folder))))
        return
    from zoo.entries.registry import read_registry, registry_path

    path = registry_path(registry)
    entries = read_registry(path)
    if form == "json":
        print(json.dumps([_as_json(entry) for entry in entries.values()], indent=2))
        return
    rows = _rows(entries)
    console = rich_terminal()
    if console is None:
        print("\n".join(columns([["_".join(cell.split()) for cell in row] for row in rows])))
        return
    from rich.text import Text

    table = headed_table()
    table.padding = (0, 1, 0, 0)
    shown = _fitting(rows, console.width)
    table.add_column(Text(rows[0][0]), overflow="fold")
    for title in shown[0][1:]:
        # A figure is never broken into two lines; the name of an entry may be.
        figures = title not in _WORDS
        table.add_column(Text(title), justify="right" if figures else "left", no_wrap=True)
    for row in shown[1:]:
        table.add_row(*(Text(cell) for cell in row))  # not markup: names may hold brackets
    console.print(table)
    if lost := rows[0][len(shown[0]) :]:
        console.print(f"too narrow here for: {', '.join(lost)}", style="dim", highlight=False)
    console.print(f"published accuracy in %; entries of {path}", style="dim", highlight=False)


# The columns behind the figures.
_WORDS = ("protocol", "weights", "licence")


def _fitting(rows: list[list[str]], width: int) -> list[list[str]]:
    """The rows, without the last columns of words where they leave no room for the names."""
    # A cell, a blank behind it, and the table's own between columns.
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    kept = len(widths)
    while kept > len(widths) - len(_WORDS) and sum(widths[:kept]) > width:
        kept -= 1
    return [row[:kept] for row in rows]


def _rows(entries: dict[str, Entry]) -> list[list[str]]:
    """The header and one row an entry."""
    bins = list(dict.fromkeys(name for entry in entries.values() for name in entry.published))
    rows = [["entry", *bins, *_WORDS]]
    for entry in entries.values():
        cells = [
            f"{100 * entry.published[name].accuracy:.2f}" if name in entry.published else "-"
            for name in bins
        ]
        words = (entry.protocol or "-", "+".join(_ways(entry)), printable(entry.licence or "-"))
        rows.append([entry.name, *cells, *words])
    return rows


def _ways(entry: Entry) -> list[str]:
    """How an entry's weights are had, in a word each."""
    ways = ["here"] if entry.file.exists() else []
    if not ways and entry.url is not None:
        ways = ["pull" if entry.sha256 is not None else "unverified"]
    return ways + ["train"] * (entry.recipe is not None) or ["missing"]


def _as_json(entry: Entry) -> dict[str, Any]:
    published = {name: row.accuracy for name, row in entry.published.items()}
    return {
        "name": entry.name,
        "file": str(entry.file),
        "sha256": entry.sha256,
        "weights": _ways(entry),
        "url": entry.url,
        "licence": entry.licence,
        "published": {"protocol": entry.protocol, "flip": entry.flip, "accuracy": published},
    }


def show_entry(
    name: options.EntryName,
    form: Annotated[
        Literal["table", "markdown"],
        typer.Option("--format", help="markdown: a model card, with what --results has of it."),
    ] = "table",
    results: options.Results = options.RESULTS,
    by: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="On the card, error rates of groups too, as zoo groups has them.",
        ),
    ] = None,
    bins: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="The bins that --by is a table of."),
    ] = None,
    registry: options.Registry = None,
) -> None:
    """Show one entry: file, input, published figures, source and notes; of a run, its epochs.

    zoo show arc_8 --format markdown > README.md
    """
    from zoo.entries.registry import entry_named, read_registry, registry_path

    run = (Path(name) / "models.yaml").is_file()
    if run:
        from zoo.train.entry import epoch_rows, run_entry

        entry = run_entry(Path(name))
    else:
        entries = read_registry(registry_path(registry))
        if name not in entries:
            _check_no_path(name)
        entry = entry_named(name, entries)
    facts = _facts(entry)
    if form == "markdown":
        from zoo.results.card import card_of

        print(card_of(entry, facts, results, by=by, bins=options.listed(bins)), end="")
        return
    if by is not None:
        raise InputError("--by: goes with --format markdown")
    print_facts(facts)
    if run:
        rows = epoch_rows(Path(name))
        shown = rows if rich_terminal() is None else with_curves(rows)
        print("\n".join(["", *columns(shown)]))


def _check_no_path(name: str) -> None:
    """Raises InputError for a path, there or not: an entry is asked for."""
    from zoo.entries.lookup import looks_like_path

    is_there = Path(name).exists()
    if is_there or looks_like_path(name):
        raise InputError(
            f"{name}: {'no run and no entry' if is_there else 'there is no such file'}; zoo show "
            "takes an entry of models.yaml or a run's folder, and zoo results show what is stored "
            "of a model"
        )


# Bars of a curve under a column of a run's epochs.
_BARS = 8


def with_curves(rows: list[list[str]]) -> list[list[str]]:
    """The rows of a run's epochs, and under each figure its curve, if there are some."""
    from zoo.terminal.sparkline import sparkline

    figures = [[None if cell == "-" else float(cell) for cell in own] for own in _figures_of(rows)]
    curves = [sparkline(values, most=_BARS) or "-" for values in figures]
    return [*rows, ["", "", *curves, ""]] if set(curves) - {"-"} else rows


def _figures_of(rows: list[list[str]]) -> list[list[str]]:
    """The cells of the columns between the step and what was kept."""
    return [[row[i] for row in rows[1:]] for i in range(2, len(rows[0]) - 1)]


def _facts(entry: Entry) -> list[tuple[str, str]]:
    here = "" if entry.file.exists() else " (missing)"
    size = "the model's own" if entry.size is None else f"{entry.size[0]}x{entry.size[1]}"
    facts = [
        ("entry", entry.name),
        ("file", f"{entry.file}{here}"),
        ("sha256", entry.sha256 or "not known"),
        *([("hash from", entry.hash_source)] if entry.hash_source else []),
        *([("licence", entry.licence)] if entry.licence else []),
        ("input", f"{size}, {entry.profile}, {entry.channels}"),
        ("embedding", str(entry.embedding_size) if entry.embedding_size else "not stated"),
        *([("output", entry.output)] if entry.output else []),
        *([("custom", ", ".join(entry.custom))] if entry.custom else []),
        ("source", entry.source),
        *([("url", entry.url)] if entry.url else []),
        *([("member", entry.member)] if entry.member else []),
        *([("zip", f"SHA-256 {entry.archive_sha256}")] if entry.archive_sha256 else []),
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
