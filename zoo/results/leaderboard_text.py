"""A leaderboard as a Rich table, plain columns, markdown, CSV, JSON and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluator.statistics.pair_tests import SIGNIFICANCE
from zoo.results.leaderboard import Leaderboard, PublishedRow, Row
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
    """A row of any table: ``kind`` is ranked, incomplete or published."""

    kind: str
    rank: str
    label: str
    mean: str
    cells: tuple[str, ...]


def print_leaderboard(board: Leaderboard) -> None:
    """Prints the ranking on stdout: Rich tables on a terminal, plain columns in a pipe."""
    console = rich_terminal()
    if console is None:
        print(plain_leaderboard(board), end="")
        return
    start = 0
    while start < len(board.columns):
        stop = _fitting(board, start, console.width)
        _print_columns(board, start, stop, console)
        start = stop
    console.print(_caption(board), style="dim", highlight=False, markup=False)
    for line in _remarks(board):
        console.print(line, style="yellow", highlight=False, markup=False)


def _fitting(board: Leaderboard, start: int, width: int) -> int:
    """Where to stop so that the columns from ``start`` on fit into one table."""
    used = 6 + 2 + min(_NAME_WIDTH, max(len(line.label) for line in _lines(board)))
    used += 9 if start == 0 and len(board.columns) > 1 else 0
    stop = start
    while stop < len(board.columns):
        used += 2 + max(6, min(_BIN_WIDTH, len(board.columns[stop].label)))
        if used > width and stop > start:
            break
        stop += 1
    return stop


def _print_columns(board: Leaderboard, start: int, stop: int, console: Console) -> None:
    from rich.markup import escape

    table = headed_table()
    table.add_column("rank", justify="right")
    table.add_column("model", overflow="fold", max_width=_NAME_WIDTH)
    with_mean = start == 0 and len(board.columns) > 1
    if with_mean:
        table.add_column("mean", justify="right")
    for column in board.columns[start:stop]:
        table.add_column(
            f"{escape(column.label)}\n[dim]{column.pairs:,}[/dim]",
            justify="right",
            overflow="fold",
            max_width=_BIN_WIDTH,
        )
    kind = "ranked"
    for line in _lines(board):
        if line.kind != kind and line.kind == "published":
            table.add_section()
        kind = line.kind
        cells = [*([line.mean] if with_mean else []), *line.cells[start:stop]]
        style = "bold" if line.rank == "1" else "" if kind == "ranked" else "dim"
        table.add_row(line.rank, escape(line.label), *cells, style=style)
    console.print(table)


def _lines(board: Leaderboard) -> list[_Line]:
    digits = board.figure.ranking_digits or board.figure.digits

    def line(kind: str, rank: int | None, label: str, row: Row | PublishedRow) -> _Line:
        values = [row.mean, *(row.figures.get(column.sha256) for column in board.columns)]
        mean, *cells = ["–" if value is None else digits(value) for value in values]
        return _Line(kind, "–" if rank is None else str(rank), label, mean, tuple(cells))

    return [
        *(line(row.kind, row.rank, row.model.label, row) for row in board.rows),
        *(
            line("published", None, f"{row.name} (published, {row.protocol})", row)
            for row in board.published
        ),
    ]


def _caption(board: Leaderboard) -> str:
    tests = len(board.ranked) * (len(board.ranked) - 1) // 2
    words = [board.figure.words[0].upper() + board.figure.words[1:]]
    if len(board.columns) > 1:
        words.append("ranked by the mean of the bins")
    sentence = "; ".join(words) + "."
    if tests:
        sentence += (
            " Rank: 1 + how many are better beyond noise; equal ranks are not separable "
            f"(5 %, Holm over {tests:,} couple{'s' * (tests > 1)})."
        )
    if any(row.rank is None for row in board.rows):
        sentence += " –: not on every bin, so no mean and no rank."
    if board.published:
        sentence += " Published: as others reported it, on a bin of that name; not ranked."
    return sentence


def _remarks(board: Leaderboard) -> list[str]:
    """What a reader must know besides: what is left out, invalid, damaged."""
    remarks = [f"{board.more:,} more rows, neither shown nor tested: --top N"] * bool(board.more)
    remarks += [f"note: {note}" for note in board.notes]
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
    rows = [["rank", "kind", "model", "mean", *(column.label for column in board.columns)]]
    rows += [[each.rank, each.kind, each.label, each.mean, *each.cells] for each in _lines(board)]
    lines = spaceless([[cell.replace("–", "-") for cell in row] for row in rows])
    lines += [f"# {text}" for text in (_caption(board), *_remarks(board))]
    return "\n".join(lines) + "\n"


def markdown_leaderboard(board: Leaderboard) -> str:
    """A markdown table, its caption, and the remarks as a list."""
    header = ["rank", "model", *_headings(board)]
    lines = ["| " + " | ".join(map(_markdown, header)) + " |"]
    lines.append("|---:|---|" + "---:|" * (len(header) - 2))
    for line in _lines(board):
        cells = [line.rank, line.label, *_values(board, line)]
        lines.append("| " + " | ".join(map(_markdown, cells)) + " |")
    lines += ["", _markdown(_caption(board))]
    remarks = [f"- {_markdown(remark)}" for remark in _remarks(board)]
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def _headings(board: Leaderboard) -> list[str]:
    return ["mean"] * (len(board.columns) > 1) + [column.label for column in board.columns]


def _values(board: Leaderboard, line: _Line) -> list[str]:
    return [line.mean] * (len(board.columns) > 1) + list(line.cells)


def _markdown(text: str) -> str:
    for character in "\\|_*[]<`~$":
        text = text.replace(character, f"\\{character}")
    return text


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
}


def latex_leaderboard(board: Leaderboard) -> str:
    r"""A tabular for \\usepackage{booktabs}; caption and remarks stand in comments."""
    header = ["rank", "model", *_headings(board)]
    lines = [f"% {text}" for text in (_caption(board), *_remarks(board))]
    lines += [r"\begin{tabular}{rl" + "r" * (len(header) - 2) + "}", r"\toprule"]
    lines += [" & ".join(map(_latex, header)) + r" \\", r"\midrule"]
    kind = ""
    for line in _lines(board):
        if line.kind == "published" and kind != "published":
            lines.append(r"\midrule")
        kind = line.kind
        cells = [line.rank, line.label, *_values(board, line)]
        lines.append(" & ".join(map(_latex, cells)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def csv_leaderboard(board: Leaderboard) -> str:
    """One line a row; figures as fractions at full precision, a bin's column NAME:SHA-256.

    A name that a spreadsheet would compute begins with a single quote.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    settings = ["flip", "decoder", "precision", "range", "channels", "engine"]
    writer.writerow(
        ["rank", "kind", "model", "sha256", "format", *settings, "protocol"]
        + [f"mean {board.figure.name}"]
        + [_no_formula(f"{column.name}:{column.sha256}") for column in board.columns]
    )
    for row in board.rows:
        model = row.model
        variant = [getattr(model.variant, key) for key in settings]
        figures = [_exact(row.figures[column.sha256]) for column in board.columns]
        own = [
            _exact(row.rank),
            row.kind,
            model.name,
            model.identity,
            model.record.format,
            *variant,
        ]
        writer.writerow(
            [*map(_no_formula, own), board.figure.protocol or "", _exact(row.mean), *figures]
        )
    for entry in board.published:
        figures = [_exact(entry.figures.get(column.sha256)) for column in board.columns]
        own = ["", "published", entry.name, "", "", *[""] * len(settings), entry.protocol]
        writer.writerow([*map(_no_formula, own), _exact(entry.mean), *figures])
    return buffer.getvalue()


def _no_formula(name: str) -> str:
    """A name as a spreadsheet shows it and does not compute it: behind a quote where it must."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def json_leaderboard(board: Leaderboard) -> str:
    """Everything at full precision, with hashes, as one JSON object."""
    value = {
        "schema": 1,
        "metric": board.figure.name,
        "higher_is_better": board.figure.higher_is_better,
        "significance": SIGNIFICANCE,
        "bins": [
            {"name": each.name, "sha256": each.sha256, "pairs": each.pairs}
            for each in board.columns
        ],
        "rows": [_row_json(row) for row in board.rows],
        "more_rows": board.more,
        "couples": _couples_json(board),
        "published": [
            {"name": row.name, "protocol": row.protocol, "mean": row.mean, "figures": row.figures}
            for row in board.published
        ],
        "invalid": [vars(each) for each in board.invalid],
        "outdated": [vars(each) for each in board.outdated],
        "unreadable": list(board.damaged),
        "notes": list(board.notes),
    }
    return json.dumps(value, indent=2) + "\n"


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "label": row.model.label,
        "model": {
            "name": row.model.name,
            "sha256": row.model.identity,
            "format": row.model.record.format,
        },
        "settings": vars(row.model.variant),
        "mean": row.mean,
        "figures": dict(row.figures),
    }


def _couples_json(board: Leaderboard) -> list[dict[str, Any]]:
    """Each couple of ranked rows, by their index in ``rows``."""
    return [
        {
            "rows": [i, j],
            "p_holm": board.p_values[i][j],
            "separable": board.p_values[i][j] < SIGNIFICANCE,
        }
        for i in range(len(board.ranked))
        for j in range(i + 1, len(board.ranked))
    ]


TEXTS: dict[str, Callable[[Leaderboard], str]] = {
    "markdown": markdown_leaderboard,
    "csv": csv_leaderboard,
    "json": json_leaderboard,
    "latex": latex_leaderboard,
}
