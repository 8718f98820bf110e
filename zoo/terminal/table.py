"""The table of an evaluation: one row a model, one column a bin."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.text import columns, cosine, percent
from evaluator.results.choice import labels
from evaluator.results.record import Result
from zoo.terminal.words import rich_terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# A cell needs this many columns ("100.00 @ 0.1234 *" and two of space).
_CELL_WIDTH = 19
_MAX_NAME_WIDTH = 30
# What is best is told by the figure to publish: the best accuracy on the very pairs flatters.
_KFOLD = all_figures()["kfold"]


@dataclass(frozen=True)
class _Grid:
    """Results by model and bin; labels carry the hash where two share a name. ``best`` is the
    highest 10-fold accuracy of a bin as it is printed.
    """

    models: dict[str, str]
    bins: dict[str, str]
    results: Mapping[tuple[str, str], Result]
    best: Mapping[str, str]


def headed_table() -> Table:
    """An empty table of figures, as all commands that rank or compare have it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


def open_table(words: Sequence[str], figures: Sequence[str]) -> tuple[Console, Table]:
    """Where rows go, and an empty table with these columns, figures to the right: framed on a
    terminal; in a pipe one line a row, however long.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = (
        Table(header_style="bold") if console.is_terminal else Table(header_style="bold", box=None)
    )
    for name in words:
        table.add_column(name)
    for name in figures:
        table.add_column(name, justify="right")
    return console if console.is_terminal else Console(width=200), table


def spaceless(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows as lines of columns whose cells hold no space, for grep and awk."""
    return columns([[cell.replace(" ", "_") for cell in row] for row in rows])


def print_facts(
    facts: Iterable[tuple[str, str]], *, notes: Sequence[str] = (), problems: Sequence[str] = ()
) -> None:
    """Prints names and values on stdout, and a line for each note and problem."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width to fold long paths to
        console.width = 10_000
    console.print(table)
    for line in notes:
        console.print(Text(f"note: {line}"), soft_wrap=True)
    for problem in problems:
        console.print(Text(f"problem: {problem}", style="red"), soft_wrap=True)


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


def print_evaluation(results: Sequence[Result], show_store: Path | None = None) -> None:
    """Prints results on stdout: a Rich table on a terminal, plain columns in a pipe."""
    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_table(results))
        return
    _print_rich(_grid(results), console)
    if show_store is not None:
        console.print(f"results stored in {show_store}/", style="dim", highlight=False)


def _grid(results: Sequence[Result]) -> _Grid:
    models = labels([(_model_key(result), result.model.name) for result in results])
    bins = labels([(_bin_key(result), result.bin.name) for result in results])
    by_cell = {(_model_key(result), _bin_key(result)): result for result in results}
    found: dict[str, list[float]] = {}
    for result in results if len(models) > 1 else ():
        if (accuracy := _KFOLD.read(result.figures)) is not None:
            found.setdefault(_bin_key(result), []).append(accuracy)
    best = {key: _KFOLD.digits(max(own)) for key, own in found.items()}
    return _Grid(models, bins, by_cell, best)


def _model_key(result: Result) -> str:
    return f"{result.model.identity} {result.model.name}"


def _bin_key(result: Result) -> str:
    return f"{result.bin.sha256} {result.bin.name}"


def _print_rich(grid: _Grid, console: Console) -> None:
    from rich.text import Text

    name_width = min(_MAX_NAME_WIDTH, max(len(name) for name in grid.models.values())) + 2
    per_table = max(1, (console.width - name_width) // _CELL_WIDTH)
    keys = list(grid.bins)
    for start in range(0, len(keys), per_table):
        table = headed_table()
        table.add_column("model", overflow="fold", max_width=_MAX_NAME_WIDTH)
        for key in keys[start : start + per_table]:
            pairs = next(r.bin.pairs for (_, b), r in grid.results.items() if b == key)
            # Text, because Rich would take a name like "[red]" for markup.
            header = Text(grid.bins[key]).append(f"\n{pairs:,} pairs", style="dim")
            table.add_column(header, overflow="fold")
        for model, name in grid.models.items():
            cells = [_rich_cell(grid, model, key) for key in keys[start : start + per_table]]
            table.add_row(Text(name), *cells)
        console.print(table)
    console.print(
        "accuracy % @ threshold (cosine), best on these very pairs; "
        "below it the mean ± std of 10 folds"
        + ("; * best mean of its column" if grid.best else ""),
        style="dim",
        highlight=False,
    )


def _rich_cell(grid: _Grid, model: str, bin_key: str) -> Text:
    from rich.text import Text

    result = grid.results.get((model, bin_key))
    if result is None:
        return Text("failed", style="red")
    if result.figures is None:
        return Text(f"not finite:\n{_images(result)}", style="red")
    cell = Text()
    if result.figures["accuracy"] is None:
        cell.append(f"undefined: no\n{_missing(result)} pairs", style="yellow")
    else:
        best = _is_best(grid, result)
        cell.append(
            f"{percent(result.figures['accuracy'])} @ {cosine(result.figures['threshold'])}",
            style="" if grid.best else "bold",
        )
        cell.append(f"\n{_kfold(result)}", style="bold green" if best else "dim")
        cell.append(" *" if best else "")
    if result.failed.pairs:
        cell.append(f"\n{result.failed.words}", style="yellow")
    return cell


def plain_table(results: Sequence[Result]) -> str:
    """One line a model and fixed columns, for grep, awk and files."""
    grid = _grid(results)
    header = ["model"]
    for name in grid.bins.values():
        header += ["_".join(name.split()), "threshold", "10-fold", "note"]
    rows = [header]
    for model, model_name in grid.models.items():
        row = ["_".join(model_name.split())]
        for key in grid.bins:
            row += _plain_cells(grid, grid.results.get((model, key)))
        rows.append(row)
    return "\n".join(columns(rows)) + "\n"


def _plain_cells(grid: _Grid, result: Result | None) -> list[str]:
    if result is None:
        return ["-", "-", "-", "failed"]
    if result.figures is None:
        return ["-", "-", "-", f"non_finite:{result.non_finite['count']}"]
    failed = [result.failed.mark] * (result.failed.pairs > 0)
    if result.figures["accuracy"] is None:
        return ["-", "-", "-", ",".join(["undefined", *failed])]
    notes = [*(["best"] if _is_best(grid, result) else []), *failed]
    return [
        percent(result.figures["accuracy"]),
        cosine(result.figures["threshold"]),
        _kfold(result).replace(" ", ""),
        ",".join(notes) or "-",
    ]


def _is_best(grid: _Grid, result: Result) -> bool:
    accuracy = _KFOLD.read(result.figures)
    return accuracy is not None and _KFOLD.digits(accuracy) == grid.best.get(_bin_key(result))


def _missing(result: Result) -> str:
    """Which pairs a result lacks, so that its accuracy is undefined."""
    if result.failed.pairs:
        return "usable"
    return "impostor" if result.bin.impostor == 0 else "genuine"


def _images(result: Result) -> str:
    count = int(result.non_finite["count"])
    return f"{count:,} image{'s' if count != 1 else ''}"


def _kfold(result: Result) -> str:
    return _KFOLD.cell_of(result.figures or {})
