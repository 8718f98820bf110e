"""Error-versus-discard curves as text, CSV and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from evaluator.conditions.discard import DiscardCurve
from evaluator.metrics.text import cosine
from zoo.results.discard import DiscardReport, ModelCurves, OneCurve
from zoo.results.groups_text import json_rates
from zoo.terminal.blocks import Block, csv_rows, interval_text, rate_text

# Text shows one step of so much; CSV and JSON have all.
_SHOWN = 0.1


def blocks_of(found: DiscardReport) -> list[Block]:
    """What is printed of a report: for each model its curves, and what they say in all."""
    blocks = []
    for each in found.models:
        left_out = f"{each.left_out:,} pairs without a score or a quality left out"
        blocks.append(
            Block(
                f"{each.model.label}: FNMR with the lowest {each.quality} discarded, by {found.by}",
                notes=(left_out,) if each.left_out else (),
                strong=True,
            )
        )
        blocks += [_curve_block(one, one.curve) for one in each.curves if one.curve is not None]
        blocks.append(_areas_block(each, found.limit))
    return [*blocks, Block("Reading it", notes=(*_reading(found), *found.notes))]


def _curve_block(one: OneCurve, curve: DiscardCurve) -> Block:
    header = ("discarded", "images", "genuine", "FNMR\n95 %", "impostors", "FMR")
    rows = tuple(
        (
            f"{100 * each.share:g}%",
            "-" if each.images is None else f"{each.images:,}",
            f"{each.rates.genuine:,}",
            f"{rate_text(each.rates.frr)}\n{interval_text(each.rates.frr_ci95)}",
            f"{each.rates.impostors:,}",
            rate_text(each.rates.far),
        )
        for each in curve.steps
        if abs(each.share / _SHOWN - round(each.share / _SHOWN)) < 1e-9 or len(curve.steps) <= 12
    )
    return Block(f"FMR {one.far:g}, accept above {cosine(curve.threshold)}", header, rows)


def _areas_block(each: ModelCurves, limit: float) -> Block:
    header = ("FMR", "FNMR of all", f"mean FNMR to {limit:g}", f"pAUC to {limit:g}", "AUC")
    curves = [(one.far, one.curve) for one in each.curves if one.curve is not None]
    rows = tuple(
        (
            f"{far:g}",
            rate_text(curve.steps[0].rates.frr),
            rate_text(curve.mean),
            _area(curve.partial_area),
            _area(curve.area),
        )
        for far, curve in curves
    )
    notes = tuple(f"undefined: {one.why}" for one in each.curves if one.curve is None)
    return Block("all", header, rows, notes)


def _area(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _reading(found: DiscardReport) -> list[str]:
    how = (
        "the lower quality of its two images decides a pair"
        if found.by == "pair"
        else "an image takes all its pairs along"
    )
    return [
        f"The threshold is of all pairs and stays; {how}. Of equal quality the first go first.",
        f"pAUC is the area under FNMR from 0 to {found.limit:g} discarded, by trapezoids; over "
        f"{found.limit:g} it is the mean FNMR, to be set beside that of all.",
        "95 %: intervals of what is kept, by what pairs share.",
    ]


def csv_discard(found: DiscardReport) -> str:
    """A row a model, FAR and step."""
    rows = []
    for each in found.models:
        for one in each.curves:
            for step in one.curve.steps if one.curve is not None else ():
                rates, ends = step.rates, step.rates.frr_ci95 or (None, None)
                head = each.model.label, each.quality, found.by, one.far, rates.threshold
                kept = step.images, rates.genuine, rates.impostors
                rows.append((*head, step.share, *kept, rates.frr, *ends, rates.far))
    header = ("model", "quality", "by", "target_fmr", "threshold", "discarded", "images", "genuine")
    return csv_rows((*header, "impostors", "fnmr", "fnmr_low95", "fnmr_high95", "fmr"), rows)


def json_discard(found: DiscardReport) -> str:
    """Everything at full precision, as one JSON object; null is undefined, and never 0."""
    value = {
        "schema": 1,
        "bins": list(found.bins),
        "by": found.by,
        "limit": found.limit,
        "models": [_json_model(each) for each in found.models],
        "notes": list(found.notes),
    }
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _json_model(each: ModelCurves) -> dict[str, Any]:
    return {
        "label": each.model.label,
        "name": each.model.name,
        "sha256": each.model.identity,
        "settings": asdict(each.model.variant),
        "quality": each.quality,
        "genuine": each.genuine,
        "impostors": each.impostors,
        "left_out_pairs": each.left_out,
        "curves": [_json_curve(one) for one in each.curves],
    }


def _json_curve(one: OneCurve) -> dict[str, Any]:
    curve = one.curve
    if curve is None:
        return {"target_fmr": one.far, "undefined": one.why}
    return {
        "target_fmr": one.far,
        "threshold": curve.threshold,
        "auc": curve.area,
        "pauc": curve.partial_area,
        "mean_fnmr": curve.mean,
        "steps": [
            {"discarded": each.share, "images": each.images, **json_rates(each.rates)}
            for each in curve.steps
        ],
    }
