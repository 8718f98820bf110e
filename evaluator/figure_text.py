"""Figures as text: what `print` shows of one list of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluator.all_figures import Figures


FARS = {"0.1": 0.1, "0.01": 0.01, "0.001": 0.001, "0.0001": 0.0001}  # key in the JSON: FAR


def figures_text(block: Figures) -> str:
    """One line a figure, percentages and scores; ``-`` is undefined."""
    rows = [
        ("accuracy, 10-fold", "-"),
        ("accuracy, insightface", "-"),
        ("accuracy, best", "-"),
        ("AUC", cosine(block.auc)),
        ("EER", "-"),
    ]
    if block.kfold:
        rows[0] = (rows[0][0], spread(block.kfold.accuracy, block.kfold.std))
    if block.insightface:
        rows[1] = (rows[1][0], spread(block.insightface.accuracy, block.insightface.std))
    if block.accuracy_ci95:
        at = f"{percent(block.accuracy)} {_interval(block.accuracy_ci95)}"
        rows[2] = (rows[2][0], f"{at} above {cosine(block.threshold)}")
    if block.eer is not None:
        rows[4] = ("EER", f"{percent(block.eer)} at {cosine(block.eer_threshold)}")
    for far, found in block.tar_at_far.items():
        value = "-"
        if found:
            at = f"above {cosine(found.threshold)}, FAR {found.far:.3g}"
            value = f"{percent(found.tar)} {_interval(found.tar_ci95)} {at}"
        rows.append((f"TAR at FAR {far}", value))
    return "\n".join(columns(rows))


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


def _interval(ends: tuple[float, float]) -> str:
    return f"[{percent(ends[0])}, {percent(ends[1])}]"
