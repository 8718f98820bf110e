"""What a run's log says over its epochs, and several runs over one another, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from zoo.report.charts import Axis, line_path
from zoo.report.runs import Points, Run

# Width and height of a drawing: four of a run fit beside one another, overlays are larger.
_SMALL, _LARGE = (300, 210), (480, 300)
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 40
# Beyond so many epochs, dots would hide the line.
_MOST_DOTS = 60
_COLOURS = 12
_FIGURES = {"accuracy": "accuracy", "kfold": "10-fold accuracy", "auc": "AUC"}


@dataclass(frozen=True)
class Line:
    """A named series in one of the report's colours. ``model`` marks it for the legend above."""

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


def run_panels(run: Run) -> list[Panel]:
    """Loss, accuracy, verification and rate of one run, as far as it has them."""
    figure = run.recipe.verification.figure
    where = f"{run.bins[0]}, " if len(run.bins) == 1 else "Verification, "
    groups = (
        ("Loss", (("training", "loss"), ("held back", "val_loss"))),
        ("Accuracy in training", (("training", "accuracy"), ("held back", "val_accuracy"))),
        (where + _FIGURES[figure], tuple((name, f"{name}_{figure}") for name in run.bins)),
        ("Learning rate", (("rate", "learning_rate"),)),
    )
    panels = []
    for title, named in groups:
        present = [(name, run.series[key]) for name, key in named if key in run.series]
        lines = tuple(
            Line(name, (run.slot + number) % _COLOURS, points)
            for number, (name, points) in enumerate(present)
        )
        if lines:
            floor = 0.0 if title == "Learning rate" else None
            name = f"{title} of {run.label}"
            panels.append(_panel(title, name, lines, starts=run.starts, floor=floor, size=_SMALL))
    return panels


def overlays(runs: Sequence[Run]) -> list[Panel]:
    """For each bin that runs were verified on, their figure over epochs, a line a run.

    The figure is the one that all runs chose their best by, else the accuracy.
    """
    verified = [run for run in runs if run.bins]
    figures = {run.recipe.verification.figure for run in verified}
    figure = figures.pop() if len(figures) == 1 else "accuracy"
    panels = []
    for name in dict.fromkeys(name for run in verified for name in run.bins):
        key = f"{name}_{figure}"
        lines = tuple(
            Line(run.label, run.slot, run.series[key], model=run.slot)
            for run in verified
            if key in run.series
        )
        if lines:
            title = f"{name}, {_FIGURES[figure]}"
            panels.append(_panel(title, f"{title} by epoch of each run", lines, size=_LARGE))
    return panels


def _panel(
    title: str,
    name: str,
    lines: tuple[Line, ...],
    *,
    size: tuple[int, int],
    starts: Sequence[int] = (),
    floor: float | None = None,
) -> Panel:
    values = [value for line in lines for _, value in line.points]
    last = max(2, *(epoch for line in lines for epoch, _ in line.points))
    low = min(values) if floor is None else min(floor, *values)
    ticks = even_ticks(low, max(values))
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


def even_ticks(low: float, high: float) -> list[float]:
    """Four to seven multiples of 1, 2 or 5 times a power of ten that reach from low to high.

    A constant gets room of a tenth of itself, or of 1 around 0, on each side.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    step = even_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def even_step(step: float) -> float:
    """The next larger of 1, 2 or 5 times a power of ten; ``step`` itself if it is one."""
    power = 10.0 ** math.floor(math.log10(step) + 1e-9)
    return next(each * power for each in (1, 2, 5, 10) if each * power >= step * (1 - 1e-9))
