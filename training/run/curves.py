"""A run's log as a picture: loss, accuracy and the bins, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from evaluator.files import whole_file

# Okabe and Ito's colours, which the colour-blind tell apart.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_PANEL = (480, 320)
_MARGIN = (64, 36, 16, 34)  # left, top, right, bottom
# Of what is drawn, differences and squares must not overflow.
_LARGEST = 1e30
_INK, _GRID = "#222222", "#dddddd"

Series = Mapping[str, Sequence[tuple[float, float]]]


def draw_curves(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draws a log's rows (strings, "" for no figure) into a PNG that is there whole or not."""
    panels = [(title, series) for title, series in _panels(rows) if any(series.values())]
    if not panels:
        return
    image = Image.new("RGB", (_PANEL[0] * len(panels), _PANEL[1]), "white")
    draw = ImageDraw.Draw(image)
    for number, (title, series) in enumerate(panels):
        _draw_panel(draw, number * _PANEL[0], title, series)
    with whole_file(path, follow=False) as file:
        image.save(file, format="PNG")


def _panels(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, Series]]:
    bins = [key for key in (rows[0] if rows else {}) if key.endswith("_accuracy")]
    bins = [key for key in bins if key != "val_accuracy"]
    groups = (
        ("loss", ("loss", "val_loss")),
        ("accuracy of the logits", ("accuracy", "val_accuracy")),
        ("verification accuracy", tuple(bins)),
        ("learning rate", ("learning_rate",)),
    )
    return [(title, {key: _points(rows, key) for key in keys}) for title, keys in groups]


def _points(rows: Sequence[Mapping[str, str]], key: str) -> list[tuple[float, float]]:
    pairs = [(number_of(row.get("step")), number_of(row.get(key))) for row in rows]
    return [(step, value) for step, value in pairs if step is not None and value is not None]


def number_of(text: str | None) -> float | None:
    """A log's cell as a number that can be drawn; None for none, as in a row that was cut off."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) <= _LARGEST else None  # neither NaN nor infinity is


def _draw_panel(draw: ImageDraw.ImageDraw, left: int, title: str, series: Series) -> None:
    font = ImageFont.load_default(12)
    points = [point for line in series.values() for point in line]
    low, high = _span([y for _, y in points])
    first, last = 0.0, max(x for x, _ in points) or 1.0
    x0, y0 = left + _MARGIN[0], _MARGIN[1]
    x1, y1 = left + _PANEL[0] - _MARGIN[2], _PANEL[1] - _MARGIN[3]

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            x0 + (x1 - x0) * (x - first) / (last - first),
            y1 - (y1 - y0) * (y - low) / (high - low),
        )

    draw.text((x0, 6), title, _INK, font=font)
    for part in range(5):
        value = low + (high - low) * part / 4
        height = place(first, value)[1]
        draw.line((x0, height, x1, height), _GRID)
        draw.text((x0 - 6, height), f"{value:.4g}", _INK, font=font, anchor="rm")
    draw.text((x0, y1 + 6), "0", _INK, font=font)
    draw.text((x1, y1 + 6), f"step {last:,.0f}", _INK, font=font, anchor="ra")
    shown = [(name, line) for name, line in series.items() if line]
    for number, (name, line) in enumerate(shown):
        color = _COLORS[number % len(_COLORS)]
        places = [place(*point) for point in line]
        if len(places) > 1:
            draw.line(places, color, width=2)
        for x, y in places:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=color)
        if len(shown) > 1:
            draw.text((x1, y0 + 14 * number), name, color, font=font, anchor="ra")


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis; a constant gets some room on each side."""
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room
