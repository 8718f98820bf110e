"""The table of an evaluation: one row a model, one column a bin."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.text import columns, cosine, interval, percent
from evaluator.results.names import labels, labels_of, model_key
from evaluator.results.record import Result
from zoo.terminal.sparkline import epoch_lines
from zoo.terminal.table import headed_table, print_fitting
from zoo.terminal.words import rich_terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from evaluator.metrics.figure import Figure, Interval

# A cell needs this many columns ("100.00 @ 0.1234 *" and two of space).
_CELL_WIDTH = 19
_MAX_NAME_WIDTH = 30
# What is best is told by the figure to publish: the best accuracy on the very pairs flatters.
_KFOLD = all_figures()["kfold"]


@dataclass(frozen=True)
class Reading:
    """What is shown of a result besides its figures, by the name of a figure: 95 % intervals, and
    why it is undefined.
    """

    ci95: Mapping[str, Interval | None] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Grid:
    """Results by model and bin; labels carry the hash where two share a name. ``best`` is the
    highest 10-fold accuracy of a bin as it is printed, ``tars`` are shown besides.
    """

    models: dict[str, str]
    bins: dict[str, str]
    results: Mapping[tuple[str, str], Result]
    best: Mapping[str, str]
    readings: Mapping[tuple[str, str], Reading]
    tars: Sequence[Figure]

    def reading(self, result: Result) -> Reading:
        """What is shown of a result besides its figures."""
        return self.readings.get((model_key(result), _bin_key(result)), Reading())

    def reasons(self) -> list[str]:
        """Why TARs are undefined, each bin's reason once."""
        found = [
            f"{self.bins[_bin_key(result)]}: {figure.label} is undefined: {reason}"
            for result in self.results.values()
            for figure in self.tars
            if (reason := self.reading(result).lacks.get(figure.name))
        ]
        return list(dict.fromkeys(found))


def print_evaluation(
    results: Sequence[Result],
    *,
    readings: Sequence[Reading] = (),
    tars: Sequence[Figure] = (),
) -> None:
    """Prints results on stdout: a Rich table on a terminal, plain columns in a pipe. ``readings``
    are of each result, ``tars`` what is shown besides its own columns.
    """
    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_table(results, readings=readings, tars=tars))
        return
    grid = _grid(results, readings, tars)
    _print_rich(grid, console)
    for line in _epoch_lines(grid):
        console.print(line, highlight=False, markup=False)
    if tars:
        _print_tars(grid, console)


def _grid(
    results: Sequence[Result], readings: Sequence[Reading] = (), tars: Sequence[Figure] = ()
) -> _Grid:
    models = labels_of(results)
    bins = labels([(_bin_key(result), result.bin.name) for result in results])
    keys = [(model_key(result), _bin_key(result)) for result in results]
    by_cell = dict(zip(keys, results, strict=True))
    read = dict(zip(keys, readings, strict=False))
    found: dict[str, list[float]] = {}
    for result in results if len(models) > 1 else ():
        if (accuracy := _KFOLD.read(result.figures)) is not None:
            found.setdefault(_bin_key(result), []).append(accuracy)
    best = {key: _KFOLD.digits(max(own)) for key, own in found.items()}
    return _Grid(models, bins, by_cell, best, read, tars)


def _epoch_lines(grid: _Grid) -> list[str]:
    """The figure to publish over the epochs of runs, if the models are such."""
    of_model: dict[str, dict[str, Result]] = {model: {} for model in grid.models}
    for (model, bin_key), result in grid.results.items():
        of_model[model][bin_key] = result
    models = [(next(iter(own.values())).model.path, own) for own in of_model.values() if own]
    return epoch_lines(models, grid.bins, _KFOLD)


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
    intervals = any("kfold" in each.ci95 for each in grid.readings.values())
    console.print(
        "accuracy % @ threshold (cosine), best on these very pairs; "
        "below it the mean ± std of 10 folds"
        + ("; * best mean of its column" if grid.best else "")
        + ("; in brackets 95 % intervals" if intervals else ""),
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
        best, ci95 = _is_best(grid, result), grid.reading(result).ci95
        cell.append(
            f"{percent(result.figures['accuracy'])} @ {cosine(result.figures['threshold'])}",
            style="" if grid.best else "bold",
        )
        cell.append(_ends(ci95.get("accuracy"), "\n"), style="dim")
        cell.append(f"\n{_kfold(result)}", style="bold green" if best else "dim")
        cell.append(" *" if best else "")
        cell.append(_ends(ci95.get("kfold"), "\n"), style="dim")
    if result.failed.pairs:
        cell.append(f"\n{result.failed.words}", style="yellow")
    return cell


def _ends(ends: Interval | None, before: str = "") -> str:
    return "" if ends is None else before + interval(ends)


def _print_tars(grid: _Grid, console: Console) -> None:
    """Prints TAR at the FARs asked for, a row each, and why there is none."""
    from rich.text import Text

    table = headed_table()
    for name in ("model", "bin"):
        table.add_column(name, overflow="fold", max_width=20)
    for name in ("FAR", "TAR %", "95 %", "FAR reached", "cosine"):
        table.add_column(name, justify="right", no_wrap=True)
    for (model, bin_key), result in grid.results.items():
        for figure in grid.tars if result.figures is not None else ():
            cells = _tar_cells(grid, result, figure)
            names = Text(grid.models[model]), Text(grid.bins[bin_key])
            table.add_row(*names, figure.name.removeprefix("tar@"), *cells)
    print_fitting(table, console)
    for reason in grid.reasons():
        console.print(f"note: {reason}", style="yellow", highlight=False, markup=False)


def _tar_cells(grid: _Grid, result: Result, figure: Figure) -> list[str]:
    """TAR, its interval, the FAR that it has and where."""
    found = ((result.figures or {}).get("tar_at_far") or {}).get(figure.at[1])
    if found is None:
        return ["-"] * 4
    ends = _ends(grid.reading(result).ci95.get(figure.name)) or "-"
    return [percent(found["tar"]), ends, f"{found['far']:.2g}", cosine(found["threshold"])]


def plain_table(
    results: Sequence[Result],
    *,
    readings: Sequence[Reading] = (),
    tars: Sequence[Figure] = (),
) -> str:
    """One line a model and fixed columns, for grep, awk and files; what is undefined after "#"."""
    grid = _grid(results, readings, tars)
    header = ["model"]
    for name in grid.bins.values():
        header += ["_".join(name.split()), "threshold", "10-fold"]
        for figure in tars:
            header += [figure.name, "95%", "far", "cosine"]
        header.append("note")
    rows = [header]
    for model, model_name in grid.models.items():
        row = ["_".join(model_name.split())]
        for key in grid.bins:
            *cells, note = _plain_cells(grid, result := grid.results.get((model, key)))
            for figure in tars:
                cells += _tar_cells(grid, result, figure) if result else ["-"] * 4
            row += [cell.replace(" ", "") for cell in cells] + [note]
        rows.append(row)
    return "\n".join([*columns(rows), *(f"# {reason}" for reason in grid.reasons())]) + "\n"


def _plain_cells(grid: _Grid, result: Result | None) -> list[str]:
    if result is None:
        return ["-", "-", "-", "failed"]
    if result.figures is None:
        return ["-", "-", "-", f"non_finite:{result.non_finite['count']}"]
    failed = [result.failed.mark] * (result.failed.pairs > 0)
    if result.figures["accuracy"] is None:
        return ["-", "-", "-", ",".join(["undefined", *failed])]
    notes = [*(["best"] if _is_best(grid, result) else []), *failed]
    ci95 = grid.reading(result).ci95
    return [
        percent(result.figures["accuracy"]) + _ends(ci95.get("accuracy")),
        cosine(result.figures["threshold"]),
        _kfold(result) + _ends(ci95.get("kfold")),
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
