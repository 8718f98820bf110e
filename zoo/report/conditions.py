"""Groups of people and discarded images in a report: what is shown, and its drawings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from evaluator.axes import Axis, line_path
from evaluator.conditions.discard import DiscardCurve
from evaluator.conditions.groups import Audit
from evaluator.results.choice import Contestant
from zoo.report.drawing import Marks, grid, svg
from zoo.results.discard import DiscardAsked, DiscardReport, report_discard
from zoo.results.groups import GroupsAsked, GroupsReport, report_groups

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 128, 14, 10, 40
_CURVE_LEFT, _CURVE_HEIGHT = 58, 300
_BELOW = _BOTTOM - 6
# Height of a group's row for one model, what each further one adds, and signs of its name.
_ROW, _OF_MODEL, _NAME = 22, 9, 18


@dataclass(frozen=True)
class ConditionsAsked:
    """The tables that sections are made of: groups ``by`` a CSV, ``quality`` by another, or "norm"
    for the embeddings'. None leaves a section out.
    """

    by: Path | None = None
    quality: str | None = None
    far: float = 0.01


@dataclass(frozen=True)
class GroupsSection:
    """An attribute: each model's audit, in the order of the models, and a drawing of each rate."""

    name: str
    audits: tuple[Audit, ...]
    drawings: tuple[tuple[str, Markup], ...]

    @property
    def defined(self) -> list[bool]:
        """Which measures any model has."""
        rows = zip(*(each.measures for each in self.audits), strict=True)
        return [any(one.value is not None for one in row) for row in rows]

    @property
    def notes(self) -> list[str]:
        """Which groups have no part in measures, and which measures nobody has, a line each."""
        measures = self.audits[0].measures
        lacking = zip(measures, self.defined, strict=True)
        named = ", ".join(each.measure.words for each, there in lacking if not there)
        lines = [line for audit in self.audits for line in audit.too_few]
        return [*dict.fromkeys(lines), *([f"undefined for all models: {named}"] if named else [])]


@dataclass(frozen=True)
class Conditions:
    """What the sections show; None for those that nobody asked for."""

    groups: GroupsReport | None
    attributes: tuple[GroupsSection, ...]
    discard: DiscardReport | None
    curves: tuple[tuple[float, Markup], ...]


def conditions_of(models: Sequence[Contestant], asked: ConditionsAsked) -> Conditions:
    """The sections on these models. Raises InputError for tables that cannot be used."""
    groups = discard = None
    attributes: list[GroupsSection] = []
    curves: list[tuple[float, Markup]] = []
    if asked.by is not None:
        groups = report_groups(models, GroupsAsked(by=asked.by, far=asked.far))
        for name in groups.models[0].audits:
            audits = tuple(each.audits[name] for each in groups.models)
            drawings = tuple((rate, _rates_drawing(rate, audits)) for rate in ("FMR", "FNMR"))
            attributes.append(GroupsSection(name, audits, drawings))
    if asked.quality is not None:
        discard = report_discard(models, DiscardAsked(quality=asked.quality))
        for i, one in enumerate(discard.models[0].curves):
            shown = [(slot, each.curves[i].curve) for slot, each in enumerate(discard.models)]
            drawn = [(slot, curve) for slot, curve in shown if curve is not None]
            if drawn:
                curves.append((one.far, _curves_drawing(one.far, drawn)))
    return Conditions(groups, tuple(attributes), discard, tuple(curves))


def _rates_drawing(rate: str, audits: Sequence[Audit]) -> Markup:
    """A row a group, with each model's rate and its interval."""
    names = [each.name for each in audits[0].groups]
    row = _ROW + _OF_MODEL * (len(audits) - 1)
    height = _TOP + row * len(names) + _BOTTOM
    points = []
    for slot, audit in enumerate(audits):
        for place, group in enumerate(audit.groups):
            found = group.rates
            value, ends = (
                (found.far, found.far_ci95) if rate == "FMR" else (found.frr, found.frr_ci95)
            )
            if value is not None and ends is not None:
                line = _TOP + row * place + _ROW / 2 + _OF_MODEL * slot
                points.append((slot, line, value, ends))
    highest = max((ends[1] for *_, ends in points), default=1.0)
    x = Axis(0.0, highest or 1.0, _LEFT, _WIDTH - _RIGHT)
    y = Axis(0.0, 1.0, height - _BOTTOM, _TOP)
    parts = [grid(x, y, (_marks(x.high), ()), below=_BELOW)]
    for place, name in enumerate(names):
        line = _TOP + row * place + row / 2 + 4
        short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
        where = f'x="{_LEFT - 8}" y="{line:.1f}"'
        parts.append(f'<text {where} text-anchor="end">{escape(short)}</text>')
    for slot, line, value, ends in points:
        at = x.at(value)
        parts.append(
            f'<g class="s{slot}" data-model="{slot}"><path class="curve s{slot}" '
            f'd="M{x.at(ends[0]):.1f},{line:.1f}H{x.at(ends[1]):.1f}"/>'
            f'<circle class="mark" cx="{at:.1f}" cy="{line:.1f}" r="4"/></g>'
        )
    return svg("chart", (_WIDTH, height), f"{rate} of each group, with 95 % intervals", parts)


def _marks(high: float) -> Marks:
    """Round rates from 0 up to a highest one, four to nine of them."""
    decade = 10.0 ** math.floor(math.log10(high))
    step = next(decade * each for each in (0.2, 0.5, 1, 2) if high / (decade * each) < 9)
    rates = [step * i for i in range(int(high / step + 1e-9) + 1)]
    return [(rate, f"{100 * rate:.3g} %") for rate in rates]


def _curves_drawing(far: float, drawn: Sequence[tuple[int, DiscardCurve]]) -> Markup:
    """FNMR over the share discarded, with the interval of each step as a band."""
    rates = [
        step.rates.frr_ci95[1] for _, curve in drawn for step in curve.steps if step.rates.frr_ci95
    ]
    # Of few pairs left the band is wide: what is read is the curve before.
    start = max(curve.steps[0].rates.frr or 0.0 for _, curve in drawn)
    high = min(max(rates, default=1.0), max(2.5 * start, 0.01))
    bottom = _CURVE_HEIGHT - _BOTTOM
    x = Axis(0.0, drawn[0][1].steps[-1].share, _CURVE_LEFT, _WIDTH - _RIGHT)
    y = Axis(0.0, high, bottom, _TOP)
    shares = [(share, f"{100 * share:.0f} %") for share in (0, 0.2, 0.4, 0.6, 0.8)]
    parts = [grid(x, y, (shares, _marks(high)), ("discarded", ""), below=_BELOW)]
    for slot, curve in drawn:
        kept = [each for each in curve.steps if each.rates.frr is not None]
        line = [(x.at(each.share), y.at(min(each.rates.frr or 0.0, high))) for each in kept]
        ends = [(each.share, each.rates.frr_ci95 or (0.0, 1.0)) for each in kept]
        upper = [(x.at(share), y.at(min(own[1], high))) for share, own in ends]
        lower = [(x.at(share), y.at(min(own[0], high))) for share, own in reversed(ends)]
        parts.append(
            f'<g data-model="{slot}"><path class="band s{slot}" '
            f'd="{line_path([*upper, *lower])}Z"/>'
            f'<path class="curve s{slot}" d="{line_path(line)}"/></g>'
        )
    name = f"FNMR over the share discarded, at FMR {far:g}"
    return svg("chart", (_WIDTH, _CURVE_HEIGHT), name, parts)
