"""Figures as text: what `print` shows of one list of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def percent(value: float | None) -> str:
    """A fraction as a percentage with two digits."""
    return "-" if value is None else f"{100 * value:.2f}"


def cosine(value: float | None) -> str:
    """A score or an area with four digits."""
    return "-" if value is None else f"{value:.4f}"


def spread(mean: float, std: float) -> str:
    """Mean and standard deviation, as percentages."""
    return f"{percent(mean)} ± {percent(std)}"
