"""Error rates of groups as text, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evaluator.conditions.groups import Audit, FairnessDifference, Unequal
from evaluator.metrics.rates import Rates
from evaluator.metrics.text import cosine, percent
from zoo.results.groups import Fairness, GroupsReport, ModelGroups
from zoo.results.threshold import cosine_text
from zoo.terminal.blocks import Block, csv_rows, interval_text, rate_text

_MEASURE = ("measure", "value", "fair", "by chance", "95 % within", "p")


def blocks_of(found: GroupsReport) -> list[Block]:
    """What is printed of a report: for each model its groups and measures, then every two."""
    blocks = []
    for each in found.models:
        blocks.append(Block(_heading(each), notes=_failed(each), strong=True))
        for name, audit in each.audits.items():
            blocks += [_rates_block(name, audit), _measures_block(name, audit)]
    if found.of_bins:
        blocks.append(_of_bins_block(found))
    for pair in found.comparisons:
        blocks += [_fairness_block(pair, name) for name in pair.differences]
    return [*blocks, Block("Reading it", notes=(*_reading(found), *found.notes))]


def _heading(each: ModelGroups) -> str:
    chosen = (
        ""
        if each.far is None
        else f", for FMR {each.far:g} of all {each.rates.impostors:,} impostors"
    )
    # One that was given stands as it was given.
    threshold = (cosine_text if each.far is None else cosine)(each.threshold)
    return (
        f"{each.model.label}: accept above {threshold}{chosen}; "
        f"FMR {rate_text(each.rates.far)}, FNMR {rate_text(each.rates.frr)}"
    )


def _failed(each: ModelGroups) -> tuple[str, ...]:
    taken = {"left out": each.dropped, "accepted at no threshold": each.missed}
    return tuple(f"{count:,} pairs without a score, {how}" for how, count in taken.items() if count)


def _rates_block(name: str, audit: Audit) -> Block:
    who = "people" if audit.groups[0].people is not None else "images"
    rows = [(each.name, _number(vars(each)[who]), *_cells(each.rates)) for each in audit.groups]
    rows.append(("(two groups)", "-", *_cells(audit.cross)))
    header = ("group", who, "impostors", "FMR\n95 %", "genuine", "FNMR\n95 %")
    notes = [f"{audit.unknown:,} pairs with a slot of no group left out"] if audit.unknown else []
    alone = [each.name for each in audit.groups if each.people == 1]
    notes += [f"{each}: one person, who is no impostor of anyone in it" for each in alone]
    p_values = ", ".join(
        f"{rate} p {_p(p)}"
        for rate, p in (("FMR", audit.tested.fmr), ("FNMR", audit.tested.fnmr))
        if p is not None
    )
    title = f"{name}: {audit.tested.verdict}" + (f" ({p_values})" if p_values else "")
    return Block(title, header, tuple(rows), tuple(notes))


def _cells(rates: Rates) -> tuple[str, str, str, str]:
    return (
        f"{rates.impostors:,}",
        f"{rate_text(rates.far)}\n{interval_text(rates.far_ci95)}",
        f"{rates.genuine:,}",
        f"{rate_text(rates.frr)}\n{interval_text(rates.frr_ci95)}",
    )


def _measures_block(name: str, audit: Audit) -> Block:
    rows = [
        (
            each.measure.words,
            _digits(each.value),
            f"{each.measure.fair:g}",
            _digits(each.median),
            _digits(each.extreme),
            _p(each.p_value),
        )
        for each in audit.measures
        if each.value is not None
    ]
    notes = [*audit.too_few, *_undefined(audit.measures), f"chance: {audit.how}"]
    return Block(f"{name}, how unequal", _MEASURE, tuple(rows), tuple(notes))


def _undefined(measures: Sequence[Unequal]) -> list[str]:
    """Which measures are undefined, a line a reason."""
    reasons = dict.fromkeys(each.why for each in measures if each.value is None)
    return [
        f"undefined, {why}: "
        + ", ".join(
            each.measure.words for each in measures if each.value is None and each.why == why
        )
        for why in reasons
    ]


def _of_bins_block(found: GroupsReport) -> Block:
    header = ("model", *found.bins, "mean", "SD ddof 0", "SD ddof 1", "SER")
    rows = []
    for each in found.of_bins:
        if each.mean is None or each.sd is None:
            rows.append((each.label, *["-"] * (len(header) - 1)))
            continue
        figures = (*each.accuracies, each.mean, *each.sd)
        ser = "-" if each.ser is None else f"{each.ser:.3f}"
        rows.append((each.label, *map(percent, figures), ser))
    return Block("10-fold accuracy of each bin at thresholds of its own, %", header, tuple(rows))


def _fairness_block(pair: Fairness, name: str) -> Block:
    rows = tuple(
        (
            each.measure.words,
            _digits(each.a),
            _digits(each.b),
            _p(each.p_value),
            _fairer(each, pair),
        )
        for each in pair.differences[name]
    )
    untold = [
        each.measure.words
        for each in pair.differences[name]
        if None not in (each.a, each.b) and each.p_value is None
    ]
    notes = (f"no p: where just one errs it is always the same model: {', '.join(untold)}",)
    return Block(
        f"{name}: is {pair.b} (B) fairer than {pair.a} (A)?",
        ("measure", "A", "B", "p", "fairer"),
        rows,
        notes if untold else (),
    )


def _fairer(each: FairnessDifference, pair: Fairness) -> str:
    named = {"a": pair.a, "b": pair.b, None: "cannot tell"}
    return "-" if each.p_value is None else named[each.fairer]


def _reading(found: GroupsReport) -> list[str]:
    lines = [
        "A pair is a group's if both its people are; 95 %: intervals by what pairs share, at the "
        "threshold as it is.",
        "By chance: the median of equal groups, and what 95 % of them stay within; p: as unfair "
        "by chance. A verdict is of both rates, by Holm.",
        f"GARBE, FDR and IR weigh FMR by {found.alpha:g}. SD has ddof 0: the groups are all there "
        "are. SER: highest error over lowest.",
    ]
    if found.comparisons:
        lines.append(
            "A beside B: each at its own threshold; p: as large a difference by luck where just "
            "one errs, beyond what fewer errors in all would make."
        )
    return lines


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _digits(value: float | None) -> str:
    return "-" if value is None else "unbounded" if value == float("inf") else f"{value:.4g}"


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


# ---- Every digit ---------------------------------------------------------------------------------


def csv_groups(found: GroupsReport) -> str:
    """A row a group and rate, a measure, or a difference of two models."""
    rows: list[Sequence[object]] = []
    for each in found.models:
        for name, audit in each.audits.items():
            for group, rates in _all_rates(audit):
                named = (each.model.label, name, group)
                rows += [(*named, *part) for part in _rate_rows(rates)]
            for own in audit.measures:
                values = own.value, None, None, own.median, own.extreme, own.p_value
                rows.append((each.model.label, name, "", own.measure.key, None, *values))
    for pair in found.comparisons:
        for name, differences in pair.differences.items():
            for one in differences:
                apart = None if one.a is None or one.b is None else one.b - one.a
                label = f"{pair.b} - {pair.a}"
                head = label, name, "", one.measure.key, None
                rows.append((*head, apart, None, None, None, None, one.p_value))
    header = ("model", "attribute", "group", "figure", "pairs", "value", "low95", "high95")
    return csv_rows((*header, "chance_median", "chance_extreme95", "p_value"), rows)


def _all_rates(audit: Audit) -> list[tuple[str, Rates]]:
    return [*((each.name, each.rates) for each in audit.groups), ("(two groups)", audit.cross)]


def _rate_rows(rates: Rates) -> list[tuple[object, ...]]:
    low_fmr, high_fmr = rates.far_ci95 or (None, None)
    low_fnmr, high_fnmr = rates.frr_ci95 or (None, None)
    return [
        ("fmr", rates.impostors, rates.far, low_fmr, high_fmr, None, None, None),
        ("fnmr", rates.genuine, rates.frr, low_fnmr, high_fnmr, None, None, None),
    ]


def json_groups(found: GroupsReport) -> str:
    """Everything at full precision, as one JSON object; null is undefined, and never 0."""
    value = {
        "schema": 1,
        "bins": list(found.bins),
        "alpha": found.alpha,
        "models": [_json_model(each) for each in found.models],
        "comparisons": [
            {
                "a": pair.a,
                "b": pair.b,
                "attributes": {
                    name: {each.measure.key: _json_difference(each) for each in differences}
                    for name, differences in pair.differences.items()
                },
            }
            for pair in found.comparisons
        ],
        "bin_accuracies": [
            {
                "model": each.label,
                "accuracies": list(each.accuracies),
                "mean": each.mean,
                "sd_ddof0": each.sd and each.sd[0],
                "sd_ddof1": each.sd and each.sd[1],
                "ser": each.ser,
            }
            for each in found.of_bins
        ],
        "notes": list(found.notes),
    }
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _json_model(each: ModelGroups) -> dict[str, Any]:
    return {
        "label": each.model.label,
        "name": each.model.name,
        "sha256": each.model.identity,
        "settings": asdict(each.model.variant),
        "target_fmr": each.far,
        "dropped_pairs": each.dropped,
        "missed_pairs": each.missed,
        "all": json_rates(each.rates),
        "attributes": {name: _json_audit(audit) for name, audit in each.audits.items()},
    }


def json_rates(rates: Rates) -> dict[str, Any]:
    """Rates at a threshold, by the names of comparisons."""
    return {
        "threshold": rates.threshold,
        "impostors": rates.impostors,
        "fmr": rates.far,
        "fmr_ci95": rates.far_ci95 and list(rates.far_ci95),
        "genuine": rates.genuine,
        "fnmr": rates.frr,
        "fnmr_ci95": rates.frr_ci95 and list(rates.frr_ci95),
        "design_effects": [rates.far_effect, rates.frr_effect],
    }


def _json_audit(audit: Audit) -> dict[str, Any]:
    return {
        "verdict": audit.tested.verdict,
        "p_fmr": audit.tested.fmr,
        "p_fnmr": audit.tested.fnmr,
        "groups": {
            each.name: {"people": each.people, "images": each.images, **json_rates(each.rates)}
            for each in audit.groups
        },
        "cross_group": json_rates(audit.cross),
        "pairs_without_group": audit.unknown,
        "measures": {each.measure.key: _json_measure(each) for each in audit.measures},
        "too_few": list(audit.too_few),
        "chance": audit.how,
    }


def _json_measure(each: Unequal) -> dict[str, Any]:
    return {
        "value": each.value,
        "fair": each.measure.fair,
        "undefined": each.why or None,
        "chance_median": _finite(each.median),
        "chance_extreme95": _finite(each.extreme),
        "p_value": each.p_value,
    }


def _finite(value: float | None) -> float | None:
    """A number, None for a ratio that has no bound, which JSON cannot say."""
    return None if value is None or abs(value) == float("inf") else value


def _json_difference(each: FairnessDifference) -> dict[str, Any]:
    apart = None if each.a is None or each.b is None else each.b - each.a
    return {
        "a": each.a,
        "b": each.b,
        "difference": apart,
        "p_value": each.p_value,
        "fairer": each.fairer,
    }
