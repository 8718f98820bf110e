"""Comparisons, and a matrix of many, as tables for papers: markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evaluator.statistics.duels import Duel, OnBin
from evaluator.statistics.pair_tests import SIGNIFICANCE
from evaluator.statistics.sides import gathered
from zoo.results.duels_text import HEADER, csv_comparison, footer, rows_of, verdicts_of
from zoo.results.matrix import Matrix, caption, lines_of, matrix_of
from zoo.results.matrix import rows_of as matrix_rows
from zoo.terminal.escaped import (
    LATEX,
    MARKDOWN,
    Form,
    latex_rows,
    latex_table,
    markdown,
    markdown_rows,
)

# Where a row has the figures of A and B.
_A, _B = HEADER.index("A"), HEADER.index("B")
_MARKS = "Bold: the better of A and B; †: it may be as good, the difference is not shown."
_MATRIX_MARKS = "Bold: the first; †: no model is shown to be better."


def markdown_comparison(duels: Sequence[Duel]) -> str:
    """A heading, a table and a list of verdicts for each duel."""
    blocks = []
    for duel in duels:
        lines = [f"### {_heading(duel, markdown)}", "", *markdown_rows(*_table(duel, MARKDOWN))]
        lines += ["", *(f"- {markdown(each)}" for each in _said(duel))]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks) + f"\n{markdown(_MARKS)} {markdown(footer(duels))}\n"


def latex_comparison(duels: Sequence[Duel]) -> str:
    r"""A tabular for \\usepackage{booktabs} each; who is compared and verdicts are comments."""
    lines = []
    for duel in duels:
        lines += [f"% {_heading(duel, str)}", *latex_rows(*_table(duel, LATEX))]
        lines += [*(f"% {each}" for each in _said(duel)), ""]
    return latex_table([*lines, f"% {_MARKS} {footer(duels)}"])


def _heading(duel: Duel, escape: Callable[[str], str]) -> str:
    return f"{escape(duel.a.label)} (A) / {escape(duel.b.label)} (B)"


def _said(duel: Duel) -> list[str]:
    found = [f"{name}: {words}" for name, words in verdicts_of(duel)]
    return [*found, *(f"note: {note}" for note in gathered(duel.notes))]


def _table(duel: Duel, form: Form) -> tuple[list[list[str]], str]:
    """A header and a row a bin, written, and how columns are aligned."""
    found = [[form.written(name.replace("_", " ")) for name in HEADER]]
    rows = rows_of(duel)
    for row, each in zip(rows, duel.bins, strict=False):
        cells = [form.written(cell) for cell in row]
        shown = row[_A], row[_B]
        for place, strong in zip((_A, _B), _better(each, duel), strict=True):
            same = shown[0] == shown[1]
            tied = not same and not strong and each.p_value >= SIGNIFICANCE
            cells[place] = form.written(row[place], strong=strong or same, tied=tied)
        found.append(cells)
    found += [[form.written(cell) for cell in row] for row in rows[len(duel.bins) :]]
    return found, "l" + "r" * (len(HEADER) - 1)


def _better(each: OnBin, duel: Duel) -> tuple[bool, bool]:
    """Which of the two has the better figure on a bin."""
    sign = 1 if duel.figure.higher_is_better else -1
    a, b = each.comparison.value_a, each.comparison.value_b
    if a is None or b is None:
        return a is not None, b is not None
    return sign * a > sign * b, sign * b > sign * a


def markdown_matrix(matrix: Matrix) -> str:
    """A table, and the words as a list."""
    said = [*lines_of(matrix), *(f"note: {note}" for note in matrix.notes)]
    lines = [*markdown_rows(*_square(matrix, MARKDOWN)), ""]
    lines += [*(f"- {markdown(each)}" for each in said), ""]
    return "\n".join([*lines, markdown(f"{_MATRIX_MARKS} {caption(matrix)}")]) + "\n"


def latex_matrix(matrix: Matrix) -> str:
    r"""A tabular for \\usepackage{booktabs}; the words are comments."""
    said = [*lines_of(matrix), *(f"note: {note}" for note in matrix.notes)]
    said.append(f"{_MATRIX_MARKS} {caption(matrix)}")
    return latex_table([*latex_rows(*_square(matrix, LATEX)), *(f"% {each}" for each in said)])


def _square(matrix: Matrix, form: Form) -> tuple[list[list[str]], str]:
    """The matrix, written, and how its columns are aligned."""
    header, *rows = matrix_rows(matrix)
    found = [[form.written(cell) for cell in header]]
    for row, each in zip(rows, matrix.shown, strict=True):
        first = each is matrix.standings[0]
        name = form.written(row[1], strong=first, tied=not first and not each.beaten_by)
        found.append([form.written(row[0]), name, *map(form.written, row[2:])])
    return found, "rl" + "r" * (len(header) - 2)


#: What prints comparisons by --format, but JSON; of many, a matrix where one is wanted.
TEXTS: dict[str, Callable[[Sequence[Duel]], str]] = {
    "csv": csv_comparison,
    "markdown": markdown_comparison,
    "latex": latex_comparison,
}
MATRICES: dict[str, Callable[[Sequence[Duel]], str]] = {
    "csv": csv_comparison,
    "markdown": lambda duels: markdown_matrix(matrix_of(duels)),
    "latex": lambda duels: latex_matrix(matrix_of(duels)),
}
