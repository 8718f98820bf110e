"""Plain columns, for pipes; apart, because `zoo list` needs nothing else of a table."""

from __future__ import annotations

from collections.abc import Sequence


def plain_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as lines, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines) + "\n"
