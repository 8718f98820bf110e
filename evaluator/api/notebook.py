"""How Python and notebooks show results: small tables, every text escaped, no scripts and no
styles' sheet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape

from evaluator.metrics.text import columns


class Printed(ABC):
    """What `print` and notebooks show as a table."""

    @abstractmethod
    def _parts(self) -> tuple[str, list[list[str]], list[str]]:
        """What stands above it, a header and rows, and lines below."""

    def __repr__(self) -> str:
        title, rows, lines = self._parts()
        return "\n".join([title, *columns(rows), *lines])

    def _repr_html_(self) -> str:
        return html_table(*self._parts())


def html_table(
    title: str, rows: Sequence[Sequence[str]], lines: Sequence[str] = (), *, words: int = 1
) -> str:
    """A table of cells below its title, the first row its header, and lines below it. The first
    ``words`` columns are words, the others figures.
    """
    header, *body = rows
    caption = f'<caption style="text-align: left">{escape(title)}</caption>'
    parts = [f"<table>{caption}<thead>", _row(header, "th", words)]
    parts += ["</thead><tbody>", *(_row(row, "td", words) for row in body), "</tbody></table>"]
    return "".join([*parts, *(f"<p>{escape(line)}</p>" for line in lines)])


def _row(cells: Sequence[str], tag: str, words: int) -> str:
    sides = ["left" if i < words else "right" for i in range(len(cells))]
    return (
        "<tr>"
        + "".join(
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        + "</tr>"
    )
