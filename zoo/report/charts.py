"""Curves and histograms as inline SVG: drawn here, so they print and need no script to be seen.

Plotly would bring zoom for 4.8 MB a file. These charts are read, not explored: as SVG a report has
a hundredth of that, follows the page's colours in light and dark, prints as lines, and the script
beside it gives what is needed, a cursor by pointer or arrow keys that names the operating points.

Vertex i of a curve's path is point i of its data, so the script reads positions off the path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evaluator.axes import Axis, even_ticks, line_path
from evaluator.metrics.sweep import fmr_fnmr, scored_pairs, sweep_of
from zoo.report.drawing import Marks, grid, svg
from zoo.report.selection import Scored

FloatArray = NDArray[np.float64]

_SIZE = WIDTH, HEIGHT = 480, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 46
_BELOW = BOTTOM - 8
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 300, 130
HISTOGRAM_BINS = 48
# A vertex less than this far from the last, in units of the drawing, is not drawn.
_GRAIN = 0.8
_MOST_IMPOSTORS = 10**6


@dataclass(frozen=True, eq=False)
class Curve:
    """One model's operating points: thresholds ascending, FMR falling, FNMR rising."""

    slot: int
    label: str
    thresholds: FloatArray
    fmr: FloatArray
    fnmr: FloatArray


@dataclass(frozen=True, eq=False)
class Chart:
    """A drawing and what its cursor tells, for the script."""

    svg: Markup
    data: dict[str, Any]


def curve(slot: int, label: str, scored: Scored) -> Curve | None:
    """The error curve of a result, None if its bin lacks a class."""
    found = fmr_fnmr(sweep_of(scored_pairs(scored.cosines, scored.genuine)))
    if found is None:
        return None
    return Curve(slot, label, found.thresholds, found.fmr, found.fnmr)


def roc_chart(curves: Sequence[Curve], impostors: int) -> Chart:
    """TAR over FMR on a logarithmic axis that ends where one impostor is the whole rate."""
    return _true_chart(curves, impostors, ("FMR: impostors accepted", "TAR: genuine accepted"))


def tpir_chart(curves: Sequence[Curve], non_mated: int) -> Chart:
    """TPIR over FPIR, as `roc_chart` has TAR over FMR: the mate first and above the threshold."""
    titles = ("FPIR: strangers taken for somebody", "TPIR: mated found")
    found = _true_chart(curves, non_mated, titles)
    return Chart(found.svg, {**found.data, "rates": ["FPIR", "FNIR"]})


def _true_chart(curves: Sequence[Curve], impostors: int, titles: tuple[str, str]) -> Chart:
    # Published tables of template sets end at 1e-6, which takes a million impostors.
    x = _rate_axis(min(impostors, _MOST_IMPOSTORS), LEFT, WIDTH - RIGHT)
    kept = [_measurable(each) & (each.fmr >= x.low * (1 - 1e-9)) for each in curves]
    ends = [1 - each.fnmr[own][-1] for each, own in zip(curves, kept, strict=True) if own.any()]
    y, y_ticks = _true_axis(min(ends, default=0.0))
    drawn = [
        (each, *_points(each, own, x, y, 1 - each.fnmr))
        for each, own in zip(curves, kept, strict=True)
    ]
    return _chart(drawn, (x, y), y_ticks, titles)


def _true_axis(lowest: float) -> tuple[Axis, list[tuple[float, str]]]:
    """From a round share at or below the lowest to 1; from 0 where that is half or less."""
    ticks = even_ticks(min(lowest, 0.99) if lowest > 0.5 else 0.0, 1.0)
    axis = Axis(ticks[0], 1.0, HEIGHT - BOTTOM, TOP)
    return axis, [(value, _percent(value)) for value in ticks]


def rank_chart(curves: Sequence[Curve], ranks: int) -> Markup:
    """The share of mated searches found at each rank (CMC), from ``fmr``, which are ranks, and
    ``fnmr``, the share that is not.
    """
    x = Axis(1.0, float(ranks), LEFT, WIDTH - RIGHT, "log")
    y, y_ticks = _true_axis(min((1 - each.fnmr[0] for each in curves), default=0.0))
    x_ticks = [(rank, f"{rank:g}") for rank in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)]
    parts = [grid(x, y, (x_ticks, y_ticks), ("Rank", "Found: mated searches"), below=_BELOW)]
    for each in curves:
        vertices = np.column_stack([x.place(each.fmr), y.place(1 - each.fnmr)])
        parts.append(
            f'<path class="curve s{each.slot}" data-model="{each.slot}" d="{line_path(vertices)}"/>'
        )
    return _svg("curves", _SIZE, "Share found at each rank", parts)


def det_chart(curves: Sequence[Curve], impostors: int, genuine: int) -> Chart:
    """FNMR over FMR by their normal deviates, up to one half, as NIST draws it (Martin and others
    1997): normal scores are a straight line, and small differences of good models show.
    """
    x = _rate_axis(impostors, LEFT, WIDTH - RIGHT, probit=True)
    y = _rate_axis(genuine, HEIGHT - BOTTOM, TOP, probit=True)
    drawn = []
    for each in curves:
        shown = _measurable(each) & (each.fnmr > 0) & (each.fmr <= x.high) & (each.fnmr <= y.high)
        drawn.append((each, *_points(each, shown, x, y, each.fnmr)))
    y_ticks = [(value, _percent(value)) for value in _ticks(y)]
    return _chart(drawn, (x, y), y_ticks, ("FMR: impostors accepted", "FNMR: genuine rejected"))


def histogram_chart(label: str, scored: Scored) -> Chart:
    """Share of each class by score, genuine above the line and impostor below, with the threshold.

    Both classes are scaled to their own number of pairs, missed ones too, which have no place here;
    the higher peak fills its half.
    """
    there = scored.cosines[np.isfinite(scored.cosines)]
    low, high = float(there.min()), float(there.max())
    # Beyond what floats of that size can be divided into.
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, 1e-100):
        room = max(0.01, 0.001 * largest)
        low, high = low - room, high + room
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    classes = [scored.cosines[scored.genuine == side] for side in (1, 0)]
    counts = [np.histogram(own, edges)[0] for own in classes]
    shares = [count / max(1, len(own)) for count, own in zip(counts, classes, strict=True)]
    x = Axis(low, high, 8, HISTOGRAM_WIDTH - 8)
    base, reach = 56.0, 48.0
    peak = max(float(share.max()) for share in shares)
    places = x.place(edges)
    shapes = [
        _steps(places, base + sign * share / peak * reach, base)
        for share, sign in zip(shares, (-1, 1), strict=True)
    ]
    threshold = (scored.result.figures or {}).get("threshold")
    parts = [
        f'<path class="genuine" d="{shapes[0]}"/><path class="impostor" d="{shapes[1]}"/>',
        f'<path class="axis" d="M8,{base:.0f}H{HISTOGRAM_WIDTH - 8}"/>',
    ]
    right = HISTOGRAM_WIDTH - 8
    at = None if threshold is None else x.at(threshold)
    if at is not None:
        parts.append(
            f'<path class="threshold" d="M{at:.1f},4V108"/>'
            f'<text class="at" x="{min(max(at, 22), right - 14):.1f}" y="122" '
            f'text-anchor="middle">{threshold:.3f}</text>'
        )
    # Marks of the axis give way to the threshold's own figure.
    for value in even_ticks(low, high):
        place = x.at(value)
        if 8 <= place <= right and (at is None or abs(at - place) > 36):
            parts.append(
                f'<path class="axis" d="M{place:.1f},{base:.0f}v4"/>'
                f'<text x="{min(max(place, 14), right - 10):.1f}" y="122" text-anchor="middle">'
                f"{_mark(value)}</text>"
            )
    parts.append('<path class="cursor" d="M0,4V108"/>')
    name = f"Score histogram of {label}: genuine above, impostor below the line"
    data = {
        "kind": "histogram",
        "left": 8,
        "right": HISTOGRAM_WIDTH - 8,
        "edges": [float(f"{edge:.4f}") for edge in edges],
        "genuine": counts[0].tolist(),
        "impostor": counts[1].tolist(),
    }
    return Chart(_svg("histogram", (HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT), name, parts), data)


def _rate_axis(pairs: int, start: float, end: float, *, probit: bool = False) -> Axis:
    lowest = 10.0 ** min(-1, math.floor(math.log10(1 / max(pairs, 1)) + 1e-9))
    if probit:
        return Axis(min(lowest, 0.01), 0.5, start, end, "probit")
    return Axis(lowest, 1.0, start, end, "log")


def _ticks(axis: Axis) -> list[float]:
    decades = [10.0**power for power in range(round(math.log10(axis.low)), 1)]
    if axis.scale == "log":
        return decades
    return [*(each for each in decades if each < 0.05), 0.05, 0.2, 0.5]


def _measurable(each: Curve) -> NDArray[np.bool_]:
    """The operating points with a false accept, up to the first at the lowest such rate.

    From there the curve only falls, on its way to a rate that the bin cannot measure.
    """
    accepting = each.fmr > 0
    return accepting & (np.cumsum(accepting & (each.fmr == each.fmr[accepting][-1])) <= 1)


def _points(
    each: Curve, keep: NDArray[np.bool_], x: Axis, y: Axis, values: FloatArray
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Vertices (n, 2) of a curve in the drawing, and which operating points they are."""
    indices = np.flatnonzero(keep)
    if not len(indices):
        return np.empty((0, 2)), indices
    vertices = np.column_stack([x.place(each.fmr[indices]), y.place(values[indices])])
    cells = np.round(vertices / _GRAIN)
    moved = np.concatenate([[True], (cells[1:] != cells[:-1]).any(axis=1)])
    moved[-1] = True
    # A corner of a step is kept with the vertex that leaves its place.
    moved[:-1] |= moved[1:]
    return vertices[moved], indices[moved]


def _chart(
    drawn: Sequence[tuple[Curve, FloatArray, NDArray[np.int64]]],
    axes: tuple[Axis, Axis],
    y_ticks: Marks,
    titles: tuple[str, str],
) -> Chart:
    x, y = axes
    x_ticks = [(value, _percent(value)) for value in _ticks(x)]
    parts = [grid(x, y, (x_ticks, y_ticks), titles, below=_BELOW)]
    data: list[dict[str, Any]] = []
    for each, vertices, indices in drawn:
        if not len(vertices):
            continue
        parts.append(
            f'<path class="curve s{each.slot}" data-model="{each.slot}" '
            f'data-curve="{len(data)}" d="{line_path(vertices)}"/>'
        )
        data.append(
            {
                "model": each.label,
                "slot": each.slot,
                "fmr": _short(each.fmr[indices]),
                "fnmr": _short(each.fnmr[indices]),
                "threshold": _short(each.thresholds[indices]),
            }
        )
    parts.append(f'<path class="cursor" d="M0,{TOP}V{HEIGHT - BOTTOM}"/><g class="marks"></g>')
    name = f"{titles[1]} over {titles[0]}; arrow keys move a cursor"
    rates = ["FMR", "FNMR"]
    chart_data = {
        "kind": "curves", "left": x.start, "right": x.end, "curves": data, "rates": rates,
    }  # fmt: skip
    return Chart(_svg("curves", _SIZE, name, parts), chart_data)


def _svg(kind: str, size: tuple[int, int], name: str, parts: Sequence[str]) -> Markup:
    return svg(f"chart {kind}", size, name, parts, focused=True)


def _steps(places: FloatArray, tops: FloatArray, base: float) -> str:
    path = [f"M{places[0]:.1f},{base:.1f}"]
    for right, top in zip(places[1:], tops, strict=True):
        path.append(f"V{top:.1f}H{right:.1f}")
    return "".join([*path, f"V{base:.1f}Z"])


def _short(values: FloatArray) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _mark(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def signed(value: float) -> str:
    """A number with two digits, and a true minus where it is negative."""
    return f"{value:.2f}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{100 * value:.6g} %"
