"""The report as one HTML text, and its file."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evaluator.files import whole_file
from evaluator.metrics.figure import Figure as Metric
from evaluator.results.choice import Contestant
from evaluator.results.record import versions
from zoo.report.charts import Chart, curve, det_chart, histogram_chart, roc_chart
from zoo.report.cost import cost_section
from zoo.report.faces import Faces, faces_of
from zoo.report.mistakes import (
    Disagreement,
    HardPairs,
    calibration,
    disagreement,
    hard_pairs,
    shown_by_bin,
)
from zoo.report.runs import runs_of
from zoo.report.selection import Column, Selection
from zoo.report.standings import (
    METRICS,
    Figure,
    Standings,
    figure_on,
    mean_figure,
    standings,
)
from zoo.report.summary import summary
from zoo.report.training_charts import overlays, run_panels

# Faces a list: whole rows on a wide screen and on a phone; 5 models x 3 bins stay under 8 MB.
_HARDEST = 8
_DISAGREEING = 4

_HERE = Path(__file__).parent
#: How reports look, and what is laid out like them.
STYLE = _HERE / "report.css"


@dataclass(frozen=True)
class Cell:
    """A figure of a table, and where its interval lies in its column, in percent of the width."""

    figure: Figure
    whisker: tuple[float, float, float] | None


@dataclass(frozen=True, eq=False)
class BinCharts:
    """The drawings of one bin; a curve needs both classes. ``histograms`` is by model."""

    column: Column
    roc: Chart | None
    det: Chart | None
    histograms: tuple[tuple[Contestant, Chart], ...]


def rendered(template: Path, *, styles: Sequence[Path], script: Path, **values: Any) -> str:
    """The HTML of a template, with styles and script in it."""
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(p=_p, points=_points, cosine=_cosine, duration=_duration)
    code = script.read_text(encoding="utf-8")
    return environment.get_template(template.name).render(
        **values,
        created=datetime.now(timezone.utc),
        versions=versions(),
        style=Markup("".join(each.read_text(encoding="utf-8") for each in styles)),
        script=Markup(code),
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
    )


def write_report(path: Path, html: str) -> None:
    """Writes a report whole or not at all. Raises OSError."""
    with whole_file(path) as file:
        file.write(html.encode())


def render_report(selection: Selection, *, title: str, faces: bool = True) -> str:
    """The whole HTML of a report, with styles, script, data and faces in it."""
    table = standings(selection)
    charts = [_bin_charts(column, table, selection) for column in selection.columns]
    hard, disagreements = _mistakes(table, selection)
    runs = runs_of(table.contestants)
    data: list[dict[str, Any]] = []
    return rendered(
        _HERE / "template.html.j2",
        styles=[STYLE],
        script=_HERE / "report.js",
        title=title,
        summary=summary(table),
        selection=selection,
        table=table,
        slots={each.key: slot for slot, each in enumerate(table.contestants)},
        leaderboards=[
            (metric, *_leaderboard(metric, table, selection)) for metric in METRICS.values()
        ],
        charts=charts,
        cost=cost_section(table),
        calibrations=[
            found
            for each in table.contestants
            if (found := calibration(each, selection)) is not None
        ],
        hard=hard,
        disagreements=disagreements,
        faces=_faces(selection, hard, disagreements) if faces else {},
        with_faces=faces,
        runs=runs,
        run_overlays=overlays(runs.found),
        run_panels=[(run, run_panels(run)) for run in runs.found],
        chart_data=data,
    )


def _bin_charts(column: Column, table: Standings, selection: Selection) -> BinCharts:
    scored = selection.on(column, table.contestants)
    shown = [
        (slot, each, scored[each.key])
        for slot, each in enumerate(table.contestants)
        if each.key in scored and np.isfinite(scored[each.key].scores).any()
    ]
    curves = [
        found for slot, each, own in shown if (found := curve(slot, each.label, own)) is not None
    ]
    record = column.record
    return BinCharts(
        column,
        roc_chart(curves, record.impostor) if curves else None,
        det_chart(curves, record.impostor, record.genuine) if curves else None,
        tuple((each, histogram_chart(each.label, own)) for _, each, own in shown),
    )


def _mistakes(table: Standings, selection: Selection) -> tuple[list[HardPairs], list[Disagreement]]:
    hard, disagreements = [], []
    of_key = {each.key: each for each in table.contestants}
    for column in selection.columns:
        scored = selection.on(column, table.contestants)
        found = [
            hard_pairs(of_key[key], column, own, shown=_HARDEST) for key, own in scored.items()
        ]
        hard += [errors for errors in found if errors]
        for duel in table.duels:
            for compared in duel.bins:
                if compared.bin.sha256 == column.record.sha256:
                    a, b = duel.a.key, duel.b.key
                    models, both = (of_key[a], of_key[b]), (scored[a], scored[b])
                    disagreements.append(
                        disagreement(models, column, both, compared, shown=_DISAGREEING)
                    )
    return hard, disagreements


def _faces(
    selection: Selection, hard: Sequence[HardPairs], disagreements: Sequence[Disagreement]
) -> dict[str, Faces]:
    wanted = shown_by_bin(hard, disagreements)
    return {
        column.record.sha256: faces_of(column.record, wanted[column.record.sha256])
        for column in selection.columns
        if column.record.sha256 in wanted
    }


def _leaderboard(
    metric: Metric, table: Standings, selection: Selection
) -> tuple[list[Column], list[tuple[Contestant, list[Cell]]]]:
    """The columns of a metric, and a row a model: the mean first if there are several bins."""
    columns = list(selection.columns)
    rows: list[list[Figure]] = []
    for each in table.contestants:
        found = [figure_on(metric, each, column, selection) for column in columns]
        if len(columns) > 1:
            found.insert(0, mean_figure(metric, each, table.ranked_bins, selection))
        rows.append(found)
    spans = [_span([row[i] for row in rows]) for i in range(len(rows[0]))]
    cells = [
        [Cell(figure, _whisker(figure, span)) for figure, span in zip(row, spans, strict=True)]
        for row in rows
    ]
    return columns, list(zip(table.contestants, cells, strict=True))


def _span(figures: Sequence[Figure]) -> tuple[float, float]:
    ends = [end for each in figures if each.interval is not None for end in each.interval]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _whisker(figure: Figure, span: tuple[float, float]) -> tuple[float, float, float] | None:
    if figure.value is None or figure.interval is None or span[0] == span[1]:
        return None
    low, value, high = (
        round(100 * (each - span[0]) / (span[1] - span[0]), 1)
        for each in (figure.interval[0], figure.value, figure.interval[1])
    )
    return low, value, high


def _points(value: float) -> str:
    """A difference in percentage points with its sign, a true minus and no negative zero."""
    text = f"{100 * value:+.2f}"
    return "0.00" if text in ("-0.00", "+0.00") else text.replace("-", "−")


def _cosine(value: float) -> str:
    """A score with three digits, and a true minus; of a missed pair, that it is one."""
    return "missed" if value == -math.inf else f"{value:.3f}".replace("-", "−")


def _duration(seconds: float) -> str:
    """Seconds as "42 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def size_in_words(html: str) -> str:
    """The size of a text as a file, in kB or MB."""
    size = len(html.encode())
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
