"""Accuracy on spoilt images: against strength, and as error beside a baseline's (mCE).

Hendrycks and Dietterich 2019: a corruption's error is CE = the sum of a model's errors over its
strengths by the sum of the baseline's, and mCE the mean of CE over corruptions. Errors here are
those at each model's best threshold on each bin.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from evaluator.axes import Axis, even_ticks, line_path
from evaluator.errors import InputError, ResultError, unknown_name
from evaluator.metrics.all_figures import all_figures
from evaluator.results.choice import Contestant
from evaluator.results.record import BinRecord
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored
from evaluator.statistics.shared_pairs import Scored
from evaluator.statistics.sides import Key
from zoo.report.drawing import grid, svg
from zoo.report.selection import Selection
from zoo.report.standings import Figure

_STRENGTHS = range(6)  # 0 is the bin that the others were made of
_DRAWS = 1000
# Draws of pairs that are in memory at a time.
_AT_ONCE = 2**22
_SIZE = (300, 220)
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 40


@dataclass(frozen=True, eq=False)
class Spoilt:
    """What becomes of one bin: a drawing a corruption, and ``errors`` a model by corruption, ratios
    to the baseline's, the mean first. ``strengths`` are those that CE sums over, by corruption.
    """

    bin: str
    baseline: Contestant
    strengths: Mapping[str, Sequence[int]]
    panels: tuple[tuple[str, Markup], ...]
    errors: tuple[tuple[Contestant, tuple[Figure, ...]], ...]


def baseline_of(models: Sequence[Contestant], name: str | None) -> Contestant:
    """The model of that name or label, or the first. Raises InputError for an unknown one."""
    if name is None:
        return models[0]
    found = [each for each in models if name in (each.label, each.name)]
    if len(found) != 1:
        many = "several models have that name" if found else "no model there has that name"
        near = unknown_name(name, [each.label for each in models])
        raise InputError(f"--baseline {name}: {many}; {near}")
    return found[0]


def spoilt_of(
    selection: Selection, models: Sequence[Contestant], baseline: str | None = None
) -> list[Spoilt]:
    """A section for each bin of which spoilt ones were measured; ``models`` in their order."""
    if not selection.spoilt or not models:
        return []
    first = baseline_of(models, baseline)
    results = {each.key: dict(each.results) for each in selection.spoilt}
    found = []
    for column in selection.columns:
        bins: dict[str, dict[int, BinRecord]] = {}
        for own in results.values():
            for stored in own.values():
                derived = stored.result.bin.derived or {}
                if derived.get("sha256") == column.record.sha256:
                    record = stored.result.bin
                    bins.setdefault(derived["corruption"], {})[derived["strength"]] = record
        if not bins:
            continue
        measured = {each.key: {**each.results, **results.get(each.key, {})} for each in models}
        found.append(_of_bin(column.label, column.record, bins, models, first, measured))
    return found


def _of_bin(
    label: str,
    original: BinRecord,
    bins: Mapping[str, Mapping[int, BinRecord]],
    models: Sequence[Contestant],
    baseline: Contestant,
    measured: Mapping[Key, Mapping[str, Stored]],
) -> Spoilt:
    wrong: dict[tuple[Key, str], NDArray[np.float64]] = {}
    panels = []

    @functools.cache
    def read(model: Key, sha256: str) -> _Read | None:
        return _read(measured[model].get(sha256))

    for kind, by_strength in bins.items():
        at = {0: original, **by_strength}
        lines = []
        for slot, model in enumerate(models):
            found = [(k, read(model.key, at[k].sha256)) for k in _STRENGTHS if k in at]
            points = [(strength, each) for strength, each in found if each is not None]
            lines.append((slot, model.label, points))
            rates = [each.wrong for strength, each in points if strength and each.wrong is not None]
            if len(rates) == len(by_strength):
                wrong[model.key, kind] = np.sum(rates, axis=0)
        panels.append((kind, _panel(f"{label}, {kind}: accuracy by strength", lines)))
    errors = _errors(list(bins), models, baseline, wrong)
    return Spoilt(
        label,
        baseline,
        {kind: sorted(own) for kind, own in bins.items()},
        tuple(panels),
        tuple(zip(models, errors, strict=True)),
    )


@dataclass(frozen=True, eq=False)
class _Read:
    """A model on a bin: its accuracy, the interval, and which pairs it has wrong (pairs,), None
    where pairs were dropped.
    """

    accuracy: float
    interval: tuple[float, float] | None
    wrong: NDArray[np.bool_] | None


def _read(stored: Stored | None) -> _Read | None:
    metric = all_figures()["accuracy"]
    figures = stored.result.figures if stored else None
    value = metric.read(figures) if figures else None
    if stored is None or figures is None or value is None:
        return None
    try:
        scores = load_scores(stored.path, stored.result)
    except ResultError:
        return None
    whole = bool(np.isfinite(scores.scores).all())
    wrong = (scores.scores > figures["threshold"]) != scores.genuine if whole else None
    return _Read(value, Scored(stored.result, scores).interval_of(metric), wrong)


def _errors(
    kinds: Sequence[str],
    models: Sequence[Contestant],
    baseline: Contestant,
    wrong: Mapping[tuple[Key, str], NDArray[np.float64]],
) -> list[tuple[Figure, ...]]:
    """CE of each model by corruption, the mean of them first."""
    rows = []
    for model in models:
        ratios = [
            _ratio(wrong.get((model.key, kind)), wrong.get((baseline.key, kind))) for kind in kinds
        ]
        draws = [each[1] for each in ratios if each[1] is not None]
        values = [each[0].value for each in ratios if each[0].value is not None]
        mean = Figure(None, note="lacks a corruption")
        if len(values) == len(kinds):
            drawn = len(draws) == len(kinds) and model.key != baseline.key
            interval = _ends(np.mean(draws, axis=0)) if drawn else None
            mean = Figure(float(np.mean(values)), interval)
        rows.append((mean, *(each[0] for each in ratios)))
    return rows


def _ratio(
    own: NDArray[np.float64] | None, base: NDArray[np.float64] | None
) -> tuple[Figure, NDArray[np.float64] | None]:
    """Errors of a model by the baseline's, and the same of resampled pairs; the pairs of all
    strengths and of both models are drawn together.
    """
    if own is None or base is None:
        return Figure(None, note="not all measured"), None
    if not base.sum():
        return Figure(None, note="the baseline has no error"), None
    value = float(own.sum() / base.sum())
    if own is base:
        return Figure(value), np.ones(_DRAWS)
    random = np.random.default_rng(0)  # the same pairs for every model and corruption
    both = np.column_stack([own, base])
    size = max(1, _AT_ONCE // len(own))
    sums = []
    for start in range(0, _DRAWS, size):
        count = min(size, _DRAWS - start)
        weights = random.multinomial(len(own), np.full(len(own), 1 / len(own)), count)
        sums.append(weights @ both)
    drawn = np.concatenate(sums)
    if not drawn[:, 1].all():
        return Figure(value, note="too few errors for an interval"), None
    ratios: NDArray[np.float64] = drawn[:, 0] / drawn[:, 1]
    return Figure(value, _ends(ratios)), ratios


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975)).tolist()
    return low, high


# ---- Drawn ---------------------------------------------------------------------------------------


def _panel(name: str, lines: Sequence[tuple[int, str, Sequence[tuple[int, _Read]]]]) -> Markup:
    """Accuracy against strength, a line a model, with the intervals as whiskers."""
    ends = [
        end
        for *_, points in lines
        for _, read in points
        for end in (read.accuracy, *(read.interval or ()))
    ]
    ticks = even_ticks(min(ends, default=0.5), max(ends, default=1.0), (0.0, 1.0))
    x = Axis(0.0, 5.0, _LEFT + 8, _SIZE[0] - _RIGHT - 8)
    y = Axis(ticks[0], ticks[-1], _SIZE[1] - _BOTTOM, _TOP)
    whole = Axis(0.0, 5.0, _LEFT, _SIZE[0] - _RIGHT)
    marks = [(value, f"{100 * value:.6g}") for value in ticks]
    parts = [grid(whole, y, ((), marks), ("strength (0: not spoilt)", ""), below=_BOTTOM - 6)]
    parts += [
        f'<text x="{x.at(k):.1f}" y="{y.start + 16:.0f}" text-anchor="middle">{k}</text>'
        for k in _STRENGTHS
    ]
    for slot, label, points in lines:
        if not points:
            continue
        # A little apart, so that whiskers of equal models are both seen.
        places = [
            (x.at(strength) + 3 * (slot - (len(lines) - 1) / 2) / max(1, len(lines) - 1), read)
            for strength, read in points
        ]
        whiskers = "".join(
            f"M{at:.1f},{y.at(read.interval[0]):.1f}V{y.at(read.interval[1]):.1f}"
            for at, read in places
            if read.interval
        )
        path = line_path([(at, y.at(read.accuracy)) for at, read in places])
        parts.append(
            f'<g class="s{slot}" data-model="{slot}"><path class="curve" d="{path}"/>'
            f'<path class="curve whiskers" d="{whiskers or "M0,0"}"/></g>'
        )
        parts.append(
            f'<g class="dots s{slot}" data-model="{slot}">'
            + "".join(
                f'<circle cx="{at:.1f}" cy="{y.at(read.accuracy):.1f}" r="2.6"><title>'
                f"{escape(label)}, strength {strength}: {100 * read.accuracy:.2f}</title></circle>"
                for (at, read), (strength, _) in zip(places, points, strict=True)
            )
            + "</g>"
        )
    return svg("chart training", _SIZE, name, parts)
