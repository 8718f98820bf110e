"""What a run's log says over its epochs, as SVG: for its folder, and for pages that have more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from evaluator.axes import Axis, even_step, even_ticks, line_path
from evaluator.files import write_whole
from evaluator.metrics.standing import LOGGED

# Width and height of a drawing, and of the title above it in a run's folder.
SMALL = (300, 210)
_TITLE = 24
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 40
# Beyond so many epochs, dots would hide the line.
_MOST_DOTS = 60
_COLOURS = 12
# Of what is drawn, differences and squares must not overflow.
_LARGEST = 1e30
_COLUMNS = ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")
_VERIFIED = tuple(f"_{figure}" for figure in LOGGED)
FIGURES = {"accuracy": "accuracy", "kfold": "10-fold accuracy", "auc": "AUC"}
# Okabe and Ito's colours, which the colour-blind tell apart, and what a page's sheet has else.
_INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
_SHEET = (
    "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd;fill:none}.stage{stroke:#888;"
    "stroke-dasharray:3 3;fill:none}.curve{fill:none;stroke:currentColor;stroke-width:2}"
    ".dots circle{fill:currentColor}.name{font-weight:bold}.key{fill:currentColor}"
    + "".join(f".s{slot}{{color:{_INKS[slot % len(_INKS)]}}}" for slot in range(_COLOURS))
)

Points = tuple[tuple[int, float], ...]
Series = Mapping[str, Points]


@dataclass(frozen=True)
class Line:
    """A named series in one of twelve colours. ``model`` marks it for a legend elsewhere."""

    name: str
    slot: int
    points: Points
    model: int | None = None


@dataclass(frozen=True)
class Panel:
    """A drawing, its title, and its lines where there are several."""

    title: str
    svg: Markup
    lines: tuple[Line, ...]


def draw_curves(rows: Sequence[Mapping[str, str]], path: Path, figure: str = "accuracy") -> None:
    """Draws a log's rows (strings, "" for no figure) into an SVG that is there whole or not; of
    bins the ``figure`` that the run chooses its best by.
    """
    panels = run_panels(series_of(rows), figure=figure, starts=stage_starts(rows))
    if not panels:
        return
    width, height = SMALL[0], SMALL[1] + _TITLE
    keys = max(len(panel.lines) for panel in panels)
    placed = f'y="{_TITLE}" width="{SMALL[0]}" height="{SMALL[1]}"'
    parts = []
    for number, panel in enumerate(panels):
        names = "".join(
            f'<text class="key s{line.slot}" x="{_LEFT}" y="{height + 16 * row + 12}">'
            f"{escape(line.name)}</text>"
            for row, line in enumerate(panel.lines)
        )
        parts.append(
            f'<g transform="translate({number * width} 0)"><text class="name" x="{_LEFT}" y="17">'
            f"{escape(panel.title)}</text>{names}"
            + str(panel.svg).replace("<svg ", f"<svg {placed} ", 1)
            + "</g>"
        )
    size = f'width="{width * len(panels)}" height="{height + 16 * keys + 8}"'
    write_whole(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_SHEET}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n',
    )


def series_of(rows: Sequence[Mapping[str, str]]) -> dict[str, Points]:
    """The log's columns that have a figure, each as (epoch from 1, value)."""
    bins = [key for key in (rows[0] if rows else {}) if key and key.endswith(_VERIFIED)]
    found = {}
    for key in dict.fromkeys([*_COLUMNS, *bins]):
        values = [(number, number_of(row.get(key))) for number, row in enumerate(rows, 1)]
        points = tuple((number, value) for number, value in values if value is not None)
        if points:
            found[key] = points
    return found


def stage_starts(rows: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
    """The epochs at which a run's later stages begin."""
    stages = [row.get("stage") for row in rows]
    return tuple(i + 1 for i in range(1, len(rows)) if stages[i] != stages[i - 1])


def bins_of(series: Series) -> tuple[str, ...]:
    """The bins that a run was verified on."""
    return tuple(key.removesuffix("_auc") for key in series if key.endswith("_auc"))


def number_of(text: str | None) -> float | None:
    """A log's cell as a number that can be drawn; None for none, as in a row that was cut off."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) <= _LARGEST else None  # neither NaN nor infinity is


def run_panels(
    series: Series, *, figure: str, starts: Sequence[int] = (), label: str = "", slot: int = 0
) -> list[Panel]:
    """Loss, accuracy, verification and rate of one run, as far as it has them, in colours from
    ``slot`` on.
    """
    bins = bins_of(series)
    where = f"{bins[0]}, " if len(bins) == 1 else "Verification, "
    share = (0.0, 1.0)
    groups = (
        ("Loss", (("training", "loss"), ("held back", "val_loss")), (0.0, math.inf)),
        ("Accuracy in training", (("training", "accuracy"), ("held back", "val_accuracy")), share),
        (where + FIGURES[figure], tuple((name, f"{name}_{figure}") for name in bins), share),
        ("Learning rate", (("rate", "learning_rate"),), (0.0, math.inf)),
    )
    panels = []
    for title, named, within in groups:
        present = [(name, series[key]) for name, key in named if key in series]
        lines = tuple(
            Line(name, (slot + number) % _COLOURS, points)
            for number, (name, points) in enumerate(present)
        )
        if lines:
            floor = 0.0 if title == "Learning rate" else None
            name = f"{title} of {label}" if label else title
            drawn = draw_panel(title, name, lines, within, size=SMALL, starts=starts, floor=floor)
            panels.append(drawn)
    return panels


def draw_panel(
    title: str,
    name: str,
    lines: tuple[Line, ...],
    within: tuple[float, float],
    *,
    size: tuple[int, int],
    starts: Sequence[int] = (),
    floor: float | None = None,
) -> Panel:
    """Lines over epochs, called ``name`` for who cannot see them. ``within`` are the ends of what
    such a figure can be, ``floor`` a value that the axis reaches down to.
    """
    values = [value for line in lines for _, value in line.points]
    last = max(2, *(epoch for line in lines for epoch, _ in line.points))
    low = min(values) if floor is None else min(floor, *values)
    ticks = even_ticks(low, max(values), (min(low, within[0]), max(*values, within[1])))
    x = Axis(1.0, float(last), _LEFT, size[0] - _RIGHT)
    y = Axis(ticks[0], ticks[-1], size[1] - _BOTTOM, _TOP)
    parts = [_grid(x, y, ticks)]
    for start in starts:
        at = (x.at(start - 1) + x.at(start)) / 2
        parts.append(f'<path class="stage" d="M{at:.1f},{y.end:.0f}V{y.start:.0f}"/>')
    parts += [_drawn(line, x, y) for line in lines]
    svg = Markup(  # numbers and our own words, but for names, which are escaped where they stand
        f'<svg class="chart training" viewBox="0 0 {size[0]} {size[1]}" role="img" '
        f'aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )
    return Panel(title, svg, lines if len(lines) > 1 else ())


def _drawn(line: Line, x: Axis, y: Axis) -> str:
    mark = f' data-model="{line.model}"' if line.model is not None else ""
    places = [(x.at(epoch), y.at(value)) for epoch, value in line.points]
    drawn = f'<path class="curve s{line.slot}"{mark} d="{line_path(places)}"/>'
    if len(places) > _MOST_DOTS:
        return drawn
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6"><title>{escape(line.name)}, epoch {epoch}: '
        f"{value:.5g}</title></circle>"
        for (a, b), (epoch, value) in zip(places, line.points, strict=True)
    )
    return f'{drawn}<g class="dots s{line.slot}"{mark}>{dots}</g>'


def _grid(x: Axis, y: Axis, ticks: Sequence[float]) -> str:
    lines, words = [], []
    for value in ticks:
        at = y.at(value)
        lines.append(f"M{x.start:.0f},{at:.1f}H{x.end:.0f}")
        words.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    for epoch in _epoch_ticks(int(x.high)):
        words.append(
            f'<text x="{x.at(epoch):.1f}" y="{y.start + 16:.0f}" '
            f'text-anchor="middle">{epoch}</text>'
        )
    words.append(
        f'<text class="title" x="{(x.start + x.end) / 2:.0f}" y="{y.start + 34:.0f}" '
        'text-anchor="middle">epoch</text>'
    )
    return f'<path class="grid" d="{"".join(lines)}"/>{"".join(words)}'


def _epoch_ticks(last: int) -> list[int]:
    step = max(1, round(even_step(last / 5)))
    return [1, *range(step, last + 1, step)] if step > 1 else list(range(1, last + 1))
