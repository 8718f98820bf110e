"""Accuracy against cost: a drawing for MACs and one for times, and what nobody beats on both."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from evaluator.axes import Axis, even_ticks
from evaluator.results.choice import Contestant
from zoo.report.drawing import grid, svg
from zoo.report.standings import METRICS, Figure, Standings
from zoo.results.cost_text import amount, digits3
from zoo.results.costs import Costs, read_costs_of

_SIZE = (480, 300)
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 46
_TITLES = {
    "parameters": "parameters",
    "macs": "MACs of an image",
    "image_seconds": "Milliseconds an image",
}


@dataclass(frozen=True, eq=False)
class CostSection:
    """What the models of a report cost, those of which that is known, and drawings with their
    titles. A row has a value and its text for each cost.
    """

    rows: tuple[tuple[Contestant, Figure, tuple[tuple[float | None, str], ...]], ...]
    plots: tuple[tuple[str, Markup], ...]
    costs: Costs


def cost_section(table: Standings) -> CostSection | None:
    """What is stored of the costs of a report's models; None where nothing is."""
    if not table.contestants:
        return None
    models = table.contestants
    # A result stands in its model's folder, in the folder of results.
    folders = {one.path.parent.parent for each in models for one in each.results.values()}
    places = [table.places[each.key] if each in table.ranked else None for each in models]
    costs = read_costs_of(sorted(folders), models, places, table.p_values)
    rows = [(each, table.means[each.key], costs.of(each)) for each in models]
    known = tuple(
        (model, figure, tuple(zip(own.values.values(), own.cells, strict=True)))
        for model, figure, own in rows
        if model.key in costs.models
    )
    plots = []
    for name in ("macs", "image_seconds"):
        points = [
            Point(slot, model.label, cost, figure, name in own.unbeaten)
            for slot, (model, figure, own) in enumerate(rows)
            if (cost := own.values[name]) and figure.value is not None
        ]
        if len(points) > 1:
            plots.append((_TITLES[name], cost_plot(points, name)))
    return CostSection(known, tuple(plots), costs) if known else None


@dataclass(frozen=True)
class Point:
    """A model in a drawing: its colour, its cost, its figure with an interval, and whether nobody
    beats it.
    """

    slot: int
    label: str
    cost: float
    figure: Figure
    unbeaten: bool


def cost_plot(points: Sequence[Point], measure: str) -> Markup:
    """Figures with their intervals over costs on a logarithmic axis; filled is who is unbeaten."""
    ends = [end for each in points for end in _ends(each.figure)]
    ticks = even_ticks(min(ends), max(ends), (0.0, 1.0))
    costs = [each.cost for each in points]
    low, high = min(costs), max(costs)
    room = max(1.15, (high / low) ** 0.06)
    x = Axis(low / room, high * room, _LEFT, _SIZE[0] - _RIGHT, "log")
    y = Axis(ticks[0], ticks[-1], _SIZE[1] - _BOTTOM, _TOP)
    drawn = "".join(_drawn(each, x, y, measure) for each in points)
    marks = (
        [(value, _mark(value, measure)) for value in log_ticks(x.low, x.high)],
        [(value, f"{100 * value:.4g} %") for value in ticks],
    )
    lines = grid(x, y, marks, (_TITLES[measure], ""), below=_BOTTOM - 8)
    name = f"10-fold accuracy over {_TITLES[measure]}"
    return svg("chart training", _SIZE, name, [lines, drawn])


def _ends(figure: Figure) -> tuple[float, ...]:
    value = () if figure.value is None else (figure.value,)
    return (*value, *(figure.interval or ()))


def _drawn(point: Point, x: Axis, y: Axis, measure: str) -> str:
    at, ends = x.at(point.cost), _ends(point.figure)
    middle = y.at(ends[0])
    said = f"{point.label}: {METRICS['kfold'].digits(ends[0])} %, {shown(point.cost, measure)}"
    said += ", unbeaten" if point.unbeaten else ""
    line = ""
    if point.figure.interval is not None:
        low, high = (y.at(end) for end in point.figure.interval)
        line = f'<path class="curve" d="M{at:.1f},{low:.1f}V{high:.1f}"/>'
    # A ring round it is seen where colours are not.
    ring = f'<circle class="ring" cx="{at:.1f}" cy="{middle:.1f}" r="8" fill="none"/>'
    # Names stand to the left of a point that is near the right end.
    left = at > (x.start + 2 * x.end) / 3
    place = f'x="{at - 11 if left else at + 11:.1f}" text-anchor="{"end" if left else "start"}"'
    return (
        f'<g class="dots cost s{point.slot}" data-model="{point.slot}">'
        f"<title>{escape(said)}</title>{line}"
        f'<circle cx="{at:.1f}" cy="{middle:.1f}" r="4"/>{ring if point.unbeaten else ""}'
        f'<text {place} y="{middle - 7:.1f}">{escape(point.label[:28])}</text></g>'
    )


def shown(cost: float, measure: str) -> str:
    """A cost with its unit."""
    if measure == "image_seconds":
        return f"{digits3(1e3 * cost)} ms"
    return amount(round(cost))


def _mark(value: float, measure: str) -> str:
    """A mark of the axis: of few digits, without zeros behind them."""
    if measure == "image_seconds":
        return f"{1e3 * value:.3g} ms"
    return re.sub(r"\.?0*(?= |$)", "", text) if "." in (text := amount(round(value))) else text


def log_ticks(low: float, high: float) -> list[float]:
    """Three to six marks of a logarithmic axis: powers of ten, or these with 2 and 5 times them;
    the middle alone where it is too short for two of these.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [step * 10.0**power for power in powers for step in steps]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 6)]
    return inside or [float(f"{math.sqrt(low * high):.2g}")]
