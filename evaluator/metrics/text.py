"""Figures as text: what `print` and tables show of one list of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Digits:
    """How a number is printed: ``scale`` times it (100: percent), with so many ``decimals``."""

    scale: int
    decimals: int

    def __call__(self, value: float | None) -> str:
        """The number as text, ``-`` for None."""
        return "-" if value is None else f"{self.scale * value:.{self.decimals}f}"


#: A fraction as a percentage with two digits.
percent = Digits(100, 2)
#: A score or an area with four digits.
cosine = Digits(1, 4)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def counted(count: int, one: str, several: str = "") -> str:
    """So many of what is called so, "1 image" or "2,000 images"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def spread(mean: float, std: float) -> str:
    """Mean and standard deviation, as percentages."""
    return f"{percent(mean)} ± {percent(std)}"


def interval(ends: Sequence[float]) -> str:
    """Both ends of an interval, as percentages."""
    return f"[{percent(ends[0])}, {percent(ends[1])}]"


def interval_after(ends: Sequence[float] | None, digits: Digits = percent) -> str:
    """An interval to stand after its figure; empty where there is none."""
    return "" if ends is None else f" [{digits(ends[0])}, {digits(ends[1])}]"
