"""A leaderboard as a Rich table, plain columns, markdown and LaTeX; CSV and JSON are exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluator.metrics.text import interval_after
from evaluator.results.record import Failed
from evaluator.statistics.verdicts import ranking_digits
from zoo.results.costs import cost_cells, cost_headings
from zoo.results.leaderboard import Leaderboard, Row
from zoo.results.leaderboard_exact import csv_leaderboard, json_leaderboard
from zoo.terminal.escaped import (
    LATEX,
    MARKDOWN,
    Form,
    latex_rows,
    latex_table,
    markdown,
    markdown_rows,
)
from zoo.terminal.sparkline import epoch_lines
from zoo.terminal.table import headed_table, spaceless
from zoo.terminal.words import rich_terminal

if TYPE_CHECKING:
    from rich.console import Console

# What a terminal's line is shared by: a name is folded beyond this, so is a bin's.
_NAME_WIDTH = 30
_BIN_WIDTH = 16
# Invalid results and damaged files listed in text; JSON lists all.
_LISTED = 10


@dataclass(frozen=True)
class _Line:
    """A row of any table: ``kind`` is ranked, incomplete or published, ``may_lead`` whether its
    rank may be the first. ``failed`` pairs have no score in each cell's figure; ``ci95`` are its
    intervals, and ``costs`` what the model costs, empty where none was asked for.
    """

    kind: str
    rank: str
    label: str
    mean: str
    cells: tuple[str, ...]
    failed: tuple[Failed, ...]
    may_lead: bool = False
    ci95: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()


def print_leaderboard(board: Leaderboard) -> None:
    """Prints the ranking on stdout: Rich tables on a terminal, plain columns in a pipe."""
    console = rich_terminal()
    if console is None:
        print(plain_leaderboard(board), end="")
        return
    _print_lines(board, _lines(board), console)
    for line in _epoch_lines(board):
        console.print(line, highlight=False, markup=False)
    console.print(_caption(board), style="dim", highlight=False, markup=False)
    if apart := _incomplete(board):
        console.print(f"\n{_APART}:", highlight=False)
        _print_lines(board, apart, console)
    for line in _remarks(board):
        console.print(line, style="yellow", highlight=False, markup=False)


def _epoch_lines(board: Leaderboard) -> list[str]:
    """The figure over the epochs of runs, if models are such."""
    models = [
        (each.record.path, {sha256: one.result for sha256, one in each.results.items()})
        for each in board.models
    ]
    bins = {column.sha256: column.label for column in board.columns}
    return epoch_lines(models, bins, board.figure)


def _print_lines(board: Leaderboard, lines: Sequence[_Line], console: Console) -> None:
    """Prints a table of these rows, or several under each other where the bins are many."""
    start = 0
    while lines and start < len(board.columns):
        stop = _fitting(board, lines, start, console.width)
        _print_columns(board, lines, range(start, stop), console)
        start = stop


def _fitting(board: Leaderboard, lines: Sequence[_Line], start: int, width: int) -> int:
    """Where to stop so that the columns from ``start`` on fit into one table."""
    used = 2 + max(4, *(len(line.rank) for line in lines))
    used += 2 + min(_NAME_WIDTH, max(len(line.label) for line in lines))
    used += 9 if start == 0 and len(board.columns) > 1 else 0
    used += sum(len(name) + 4 for name in cost_headings(board.costs)) if start == 0 else 0
    stop = start
    while stop < len(board.columns):
        shown = [board.columns[stop].label, *(_cell(line, stop, "\n") for line in lines)]
        widest = max(len(part) for text in shown for part in text.split("\n"))
        used += 2 + max(6, min(_BIN_WIDTH, widest))
        if used > width and stop > start:
            break
        stop += 1
    return stop


def _print_columns(
    board: Leaderboard, lines: Sequence[_Line], shown: range, console: Console
) -> None:
    from rich.markup import escape

    table = headed_table()
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("model", overflow="fold", max_width=_NAME_WIDTH)
    with_mean = shown.start == 0 and len(board.columns) > 1
    if with_mean:
        table.add_column("mean", justify="right", no_wrap=True)
    for name in cost_headings(board.costs) if shown.start == 0 else ():
        table.add_column(name, justify="right", no_wrap=True)
    for column in board.columns[shown.start : shown.stop]:
        table.add_column(
            f"{escape(column.label)}\n[dim]{column.pairs:,}[/dim]",
            justify="right",
            overflow="fold",
            max_width=_BIN_WIDTH,
        )
    kind = lines[0].kind
    for line in lines:
        if line.kind != kind and line.kind == "published":
            table.add_section()
        kind = line.kind
        cells = [*([line.mean] if with_mean else []), *(line.costs if shown.start == 0 else ())]
        cells += [_cell(line, i, "\n") for i in shown]
        style = "bold" if line.may_lead else "dim" if kind == "published" else ""
        table.add_row(line.rank, escape(line.label), *cells, style=style)
    console.print(table)


def _lines(board: Leaderboard) -> list[_Line]:
    """The rows of the table: those that have every column, and published ones."""
    return [
        *(_line(board, row, row.place.text) for row in board.ranked),
        *(
            _Line(
                "published",
                "–",
                f"{row.name} (published, {row.protocol})",
                *_shown(
                    board, [row.mean, *(row.figures.get(each.sha256) for each in board.columns)]
                ),
                (Failed(0, ""),) * len(board.columns),
                costs=cost_cells(board.costs, None),
            )
            for row in board.published
        ),
    ]


def _incomplete(board: Leaderboard) -> list[_Line]:
    """The rows of the block below: those that lack a column."""
    return [
        _line(board, row, f"{row.place.text} of {row.place.models:,}") for row in board.incomplete
    ]


def _line(board: Leaderboard, row: Row, rank: str) -> _Line:
    mean, cells = _shown(board, [row.mean, *row.figures.values()])
    digits = ranking_digits(board.figure)
    return _Line(
        row.kind,
        rank,
        row.model.label,
        mean,
        tuple(
            row.lacks.get(column.sha256, cell)
            for column, cell in zip(board.columns, cells, strict=True)
        ),
        tuple(row.failed(column) for column in board.columns),
        may_lead=row.rank == 1,
        ci95=tuple(interval_after(row.ci95.get(each.sha256), digits) for each in board.columns)
        if row.ci95
        else (),
        costs=cost_cells(board.costs, row.model),
    )


def _shown(board: Leaderboard, values: Sequence[float | None]) -> tuple[str, tuple[str, ...]]:
    digits = ranking_digits(board.figure)
    mean, *cells = ["–" if value is None else digits(value) for value in values]
    return mean, tuple(cells)


def _cell(line: _Line, column: int, between: str = " ") -> str:
    """A figure, its interval, and how many pairs have no score."""
    failed, ends = line.failed[column], line.ci95[column] if line.ci95 else ""
    count = f"({failed.pairs:,} {failed.how})" if failed.pairs else ""
    parts = [line.cells[column], ends.strip(), count]
    return between.join(part for part in parts if part)


_APART = "Not on every bin: ranked on those that they have, among the models with these"


def _caption(board: Leaderboard) -> str:
    words = [board.figure.words[0].upper() + board.figure.words[1:]]
    if len(board.columns) > 1:
        words.append("ranked by the mean of the bins")
    if any(row.ci95 for row in board.rows):
        words.append("in brackets 95 % intervals of each figure alone")
    if board.figure.no_interval:
        words.append(f"no intervals: {board.figure.no_interval}")
    sentence = "; ".join(words) + "."
    if board.complete > 1:
        sentence += (
            f" A rank like 1-3 is first to third, as far as {board.complete:,} models can be told "
            "apart (5 %, Holm among those that cannot be told from either)."
        )
    if board.published:
        sentence += " Published: as others reported it, on a bin of that name; not ranked."
    return sentence if board.costs is None else f"{sentence} {board.costs.caption}"


def _remarks(board: Leaderboard) -> list[str]:
    """What a reader must know besides: what is left out, invalid, damaged."""
    remarks = [f"{board.more:,} more rows, ranked and not shown: --top N"] * bool(board.more)
    if (untested := board.complete - len(board.p_values)) > 0:
        remarks.append(
            f"{untested:,} models below the best {len(board.p_values)} are not tested: taken to be "
            "worse than who is better than the last of these"
        )
    remarks += [f"note: {note}" for note in board.notes]
    remarks += [f"unreadable: {line}" for line in (board.costs.problems if board.costs else ())]
    left_out = {
        "invalid": [each.line for each in board.invalid],
        "outdated": [each.line for each in board.outdated],
        "unreadable": board.damaged,
    }
    for why, lines in left_out.items():
        remarks += [f"{why}: {line}" for line in lines[:_LISTED]]
        if (rest := len(lines) - _LISTED) > 0:
            remarks.append(f"and {rest:,} more {why} results")
    return remarks


def plain_leaderboard(board: Leaderboard) -> str:
    """Fixed columns, one line a model, remarks after "#": for grep and awk."""
    shown = [*_lines(board), *_incomplete(board)]
    noted = any(each.pairs for line in shown for each in line.failed)
    rows = [["rank", "kind", "model", "mean", *cost_headings(board.costs)]]
    rows[0] += [column.label for column in board.columns]
    for each in shown:
        ends = [own.replace(" ", "") for own in each.ci95 or [""] * len(each.cells)]
        cells = [cell + own for cell, own in zip(each.cells, ends, strict=True)]
        costs = [cost.replace(" ", "") for cost in each.costs]
        rows.append([each.rank, each.kind, each.label, each.mean, *costs, *cells])
    if noted:
        rows = [[*row, note] for row, note in zip(rows, _plain_notes(board, shown), strict=True)]
    lines = spaceless([[cell.replace("–", "-") for cell in row] for row in rows])
    lines += [f"# {text}" for text in (_caption(board), *_apart(board), *_remarks(board))]
    return "\n".join(lines) + "\n"


def _apart(board: Leaderboard) -> list[str]:
    """What the rows that lack a bin are, where they stand under the others."""
    return [f"{_APART}: 1-2 of 9 is among nine."] * bool(board.incomplete)


def _plain_notes(board: Leaderboard, lines: Sequence[_Line]) -> list[str]:
    """A last column, with its heading: what has no score of which bin, as dropped:445:lfw."""
    found = ["note"]
    for line in lines:
        there = zip(line.failed, board.columns, strict=True)
        notes = [f"{failed.mark}:{column.label}" for failed, column in there if failed.pairs]
        found.append(",".join(notes) or "-")
    return found


def markdown_leaderboard(board: Leaderboard) -> str:
    """A markdown table, its caption, one of models that lack a bin, and the remarks as a list."""
    lines = [*_markdown_table(board, _lines(board)), "", markdown(_paper_caption(board))]
    if apart := _incomplete(board):
        lines += ["", markdown(f"{_APART}:"), "", *_markdown_table(board, apart)]
    remarks = [f"- {markdown(remark)}" for remark in _remarks(board)]
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def _markdown_table(board: Leaderboard, lines: Sequence[_Line]) -> list[str]:
    rows = [_header(board, MARKDOWN), *_paper_rows(board, lines, MARKDOWN)]
    return markdown_rows(rows, _align(rows))


def _header(board: Leaderboard, form: Form) -> list[str]:
    return [form.written(name) for name in ("rank", "model", *_headings(board))]


def _align(rows: Sequence[Sequence[str]]) -> str:
    return "rl" + "r" * (len(rows[0]) - 2)


def _headings(board: Leaderboard) -> list[str]:
    own = ["mean"] * (len(board.columns) > 1) + list(cost_headings(board.costs))
    return own + [column.label for column in board.columns]


def _paper_rows(board: Leaderboard, lines: Sequence[_Line], form: Form) -> list[list[str]]:
    """The cells of rows, written: the best of each column strong, ties with the first marked."""
    best_mean, *best = _best(board)
    rows = []
    for line in lines:
        ranked = line.kind == "ranked"
        tied = ranked and line.may_lead and line.mean != best_mean
        several = len(board.columns) > 1
        is_best = ranked and line.mean == best_mean
        cells = [form.written(line.mean, strong=is_best, tied=tied)] if several else []
        cells += map(form.escape, line.costs)
        for i, figure in enumerate(line.cells):
            strong = ranked and figure == best[i]
            cell = form.written(figure, strong=strong, tied=tied and not several)
            cells.append(cell + form.escape(_cell(line, i)[len(figure) :]))
        rows.append([form.escape(line.rank), form.escape(line.label), *cells])
    return rows


def _best(board: Leaderboard) -> list[str]:
    """The best mean and the best of each column among the ranked rows, as shown; empty texts where
    there is nothing to choose from.
    """
    if len(board.ranked) < 2:
        return [""] * (1 + len(board.columns))
    pick = max if board.figure.higher_is_better else min
    columns = zip(*([row.mean, *row.figures.values()] for row in board.ranked), strict=True)
    values = [[each for each in column if each is not None] for column in columns]
    mean, cells = _shown(board, [pick(each) if each else None for each in values])
    return ["" if text == "–" else text for text in (mean, *cells)]


def _paper_caption(board: Leaderboard) -> str:
    best_mean = _best(board)[0]
    said = [_caption(board)]
    if best_mean:
        said.append("Bold: the best shown of its column.")
    if any(line.may_lead and line.mean != best_mean for line in _lines(board) if best_mean):
        said.append("†: may be the first too, no model is better beyond chance.")
    return " ".join(said)


def latex_leaderboard(board: Leaderboard) -> str:
    r"""A tabular for \\usepackage{booktabs}; caption and remarks stand in comments."""
    said = (_paper_caption(board), *_apart(board), *_remarks(board))
    shown = (*_lines(board), *_incomplete(board))
    rows, kind = [_header(board, LATEX)], "ranked"
    for line, cells in zip(shown, _paper_rows(board, shown, LATEX), strict=True):
        rows += [[], cells] if line.kind != kind else [cells]
        kind = line.kind
    return latex_table([*(f"% {text}" for text in said), *latex_rows(rows, _align(rows))])


TEXTS: dict[str, Callable[[Leaderboard], str]] = {
    "markdown": markdown_leaderboard,
    "csv": csv_leaderboard,
    "json": json_leaderboard,
    "latex": latex_leaderboard,
}
