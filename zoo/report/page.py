"""The report as one HTML text, and its file."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from evaluator.files import whole_file
from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.figure import Figure as Metric
from evaluator.results.choice import Contestant
from evaluator.results.located import located
from evaluator.results.names import meant, model_named
from evaluator.results.record import BinRecord, cannot_have, versions
from evaluator.statistics.duels import Duel
from zoo.report.charts import Chart, curve, det_chart, histogram_chart, roc_chart
from zoo.report.conditions import ConditionsAsked, conditions_of
from zoo.report.cost import cost_section
from zoo.report.faces import Faces, faces_of, set_faces_of
from zoo.report.identified import Identified, identified, templates_shown
from zoo.report.mistakes import (
    Disagreement,
    HardPairs,
    calibration,
    disagreement,
    hard_pairs,
    shown_by_bin,
)
from zoo.report.robustness import spoilt_of
from zoo.report.runs import overlays, runs_of
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

# Faces a list: whole rows on a wide screen and on a phone; 5 models x 3 bins stay under 8 MB.
_HARDEST = 8
_DISAGREEING = 4

# Of more models or comparisons, those that matter less are shown when asked for.
_FEW_MODELS, _FEW_DUELS = 4, 6
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
    code = script.read_text(encoding="utf-8")
    return _compiled(template).render(
        **values,
        created=datetime.now(timezone.utc),
        versions=versions(),
        style=Markup("".join(each.read_text(encoding="utf-8") for each in styles)),
        script=Markup(code),
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
    )


@cache
def _compiled(template: Path) -> Template:
    """A template, compiled once a process: that takes longer than to fill it."""
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        p=_p, points=_points, cosine=_cosine, duration=_duration, breaking=breaking
    )
    return environment.get_template(template.name)


def breaking(text: str) -> Markup:
    """Text whose names may go on in a new line after _, - and /, and no figure leaves its unit."""
    kept = re.sub(r"(?<=\d) %|(?<=\bp) (?=[<=])|(?<=p [<=]) ", lambda m: "\u00a0" + m[0][1:], text)
    return Markup(re.sub(r"(?<=\w)[_/-]+(?=\w)", r"\g<0><wbr>", str(escape(kept))))


def write_report(path: Path, html: str) -> None:
    """Writes a report whole or not at all. Raises OSError."""
    with whole_file(path) as file:
        file.write(html.encode())


def render_report(
    selection: Selection,
    *,
    title: str,
    faces: bool = True,
    baseline: str | None = None,
    asked: ConditionsAsked | None = None,
    data: Sequence[Path] = (),
    say: Callable[[str], None] | None = None,
) -> str:
    """The whole HTML of a report, with styles, script, data and faces in it, and the sections that
    are ``asked`` for.

    ``baseline`` names the model that errors on spoilt images are divided by; the first if None.
    Bins that are not where they were are looked for in the folders ``data``, by their SHA-256;
    ``say`` gets a line for each whose faces are lacking.
    Raises InputError for an unknown one.
    """
    table = standings(selection, baseline)
    charts = [_bin_charts(column, table, selection) for column in selection.columns]
    hard, disagreements = _mistakes(table, selection)
    searched = [
        own
        for column in selection.columns
        if (own := identified(column, table.contestants, selection, shown=_HARDEST)) is not None
    ]
    shown, template_faces = _shown_faces(
        selection, hard, disagreements, searched, data if faces else None
    )
    for column in selection.columns:
        of_bin = shown.get(column.record.sha256)
        if say is not None and of_bin is not None and of_bin.missing:
            say(f"no faces of {column.label}: {of_bin.missing}")
    runs = runs_of(table.contestants, also=table.rest)
    return rendered(
        _HERE / "template.html.j2",
        styles=[STYLE],
        script=_HERE / "report.js",
        title=title,
        summary=summary(table),
        conditions=None if asked is None else conditions_of(table.contestants, asked),
        selection=selection,
        table=table,
        baseline=baseline,
        slots={each.key: slot for slot, each in enumerate(table.contestants)},
        leaderboards=[
            (metric, *_leaderboard(metric, table.contestants, table, selection))
            for metric in METRICS.values()
            if any(not cannot_have(column.record, metric) for column in selection.columns)
        ],
        rest=_leaderboard(METRICS["kfold"], table.rest, table, selection),
        kfold=METRICS["kfold"],
        unbounded=[each for each in all_figures().values() if each.no_interval],
        charts=charts,
        curved=any(each.roc for each in charts),
        scored=any(each.histograms for each in charts),
        few=_FEW_MODELS,
        duel_groups=duel_groups(table, baseline),
        cost=cost_section(table),
        calibrations=[
            found
            for each in table.contestants
            if (found := calibration(each, selection)) is not None
        ],
        spoilt=spoilt_of(selection, table.contestants, baseline),
        hard=hard,
        disagreements=disagreements,
        faces=shown,
        identified=searched,
        template_faces=template_faces,
        with_faces=faces,
        runs=runs,
        run_overlays=overlays(runs.found),
        run_panels=[(run, run.panels) for run in runs.found],
        chart_data=[],
    )


def duel_groups(table: Standings, baseline: str | None) -> list[tuple[str, list[Duel]]]:
    """The duels in groups: those that stand open, then those that are shown when asked for, each
    with what is said of them.

    Of more than `_FEW_DUELS` those are open that part the first model, or the baseline, from
    others.
    """
    if len(table.duels) <= _FEW_DUELS:
        return [("", list(table.duels))]
    leads = table.contestants[:1]
    if baseline is not None:
        leads += tuple(
            each for each in table.contestants if meant(baseline, [model_named(each.record)])
        )
    keys = {each.key for each in leads}
    luck = [each for each in table.duels if not each.separable]
    real = [each for each in table.duels if each.separable]
    first = [each for each in real if keys & {each.a.key, each.b.key}]
    others = [each for each in real if each not in first]
    named = " or ".join(dict.fromkeys(each.label for each in leads))
    return [
        (f"No model is shown to differ from {named}.", first),
        (f"{len(others)} more that are real, between other models", others),
        (f"{len(luck)} that may be luck", luck),
    ]


def _bin_charts(column: Column, table: Standings, selection: Selection) -> BinCharts:
    scored = selection.on(column, table.contestants)
    shown = [
        (slot, each, scored[each.key])
        for slot, each in enumerate(table.contestants)
        if each.key in scored and np.isfinite(scored[each.key].cosines).any()
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


def _shown_faces(
    selection: Selection,
    hard: Sequence[HardPairs],
    disagreements: Sequence[Disagreement],
    searched: Sequence[Identified],
    data: Sequence[Path] | None,
) -> tuple[dict[str, Faces], dict[str, dict[int, str | None]]]:
    """Faces of pairs, and of templates that searches found, by the SHA-256 of their bin; none where
    ``data`` is None.
    """
    if data is None:
        return {}, {}
    pairs: dict[str, Faces] = {}
    templates: dict[str, dict[int, str | None]] = {}
    wanted = shown_by_bin(hard, disagreements)
    found = {each.column.record.sha256: templates_shown(each) for each in searched}
    for column in selection.columns:
        sha256, own = column.record.sha256, wanted.get(column.record.sha256, [])
        if column.record.kind is None:
            if own:
                pairs[sha256] = faces_of(_where_it_is(column.record, data), own)
            continue
        # The template in each slot of a set's 1:1 list.
        slots = next(
            each.scores.images for (_, of), each in selection.scored.items() if of == sha256
        )
        ends = {pair: (int(slots[2 * pair]), int(slots[2 * pair + 1])) for pair in own}
        shown = found.get(sha256, set()) | {each for both in ends.values() for each in both}
        if not shown:
            continue
        made, missing = set_faces_of(_where_it_is(column.record, data), sorted(shown))
        templates[sha256] = made
        sides = {} if missing else {pair: (made[a], made[b]) for pair, (a, b) in ends.items()}
        pairs[sha256] = Faces(sides, missing)
    return pairs, templates


def _where_it_is(record: BinRecord, data: Sequence[Path]) -> BinRecord:
    """The record with the path that its bin has now, if it is found."""
    found = located(record, data)
    return record if found is None else replace(record, path=str(found))


def _leaderboard(
    metric: Metric, models: Sequence[Contestant], table: Standings, selection: Selection
) -> tuple[list[Column], list[tuple[Contestant, list[Cell]]]]:
    """The columns of a metric, and a row a model: the mean first if there are several bins."""
    columns = [each for each in selection.columns if not cannot_have(each.record, metric)]
    rows: list[list[Figure]] = []
    for each in models:
        found = [figure_on(metric, each, column, selection) for column in columns]
        if len(columns) > 1:
            found.insert(0, mean_figure(metric, each, table.ranked_bins, selection))
        rows.append(found)
    spans = [_span(column) for column in zip(*rows, strict=True)]
    cells = [
        [Cell(figure, _whisker(figure, span)) for figure, span in zip(row, spans, strict=True)]
        for row in rows
    ]
    return columns, list(zip(models, cells, strict=True))


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
