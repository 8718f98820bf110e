"""Error versus discard from stored scores, by a table of qualities or the embeddings' norms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.conditions.discard import SHARES, DiscardCurve, discard_curve
from evaluator.conditions.pairs import threshold_at_far
from evaluator.conditions.table import read_slot_table
from evaluator.errors import InputError, unknown_name
from evaluator.metrics.text import cosine
from evaluator.results.choice import Contestant
from zoo.results.groups_text import json_rates
from zoo.results.pooled import OfModel, Pooled, pool
from zoo.terminal.blocks import Block, csv_rows, interval_text, rate_text

FloatArray = NDArray[np.float64]

#: Where thresholds are taken if nobody says.
FARS = (1e-2, 1e-3, 1e-4)

# What stands for the norm of the embedding where a file of qualities could.
NORM = "norm"


@dataclass(frozen=True)
class OneCurve:
    """A model's curve at a FAR; None where its impostors cannot tell that, as ``why`` says."""

    far: float
    curve: DiscardCurve | None
    why: str = ""


@dataclass(frozen=True)
class ModelCurves:
    """A model by one quality; ``left_out`` pairs have a slot without one, or no score."""

    model: Contestant
    quality: str
    genuine: int
    impostors: int
    left_out: int
    curves: tuple[OneCurve, ...]


@dataclass(frozen=True)
class DiscardReport:
    """The curves of all models, and what is to be known of them."""

    bins: tuple[str, ...]
    by: str
    limit: float
    models: tuple[ModelCurves, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DiscardAsked:
    """What is asked: ``quality`` is a CSV's path, or "norm"; ``column`` is the CSV's."""

    quality: str
    column: str | None = None
    by: str = "pair"
    fars: tuple[float, ...] = FARS
    shares: tuple[float, ...] = SHARES
    limit: float = 0.2


def report_discard(models: Sequence[Contestant], asked: DiscardAsked) -> DiscardReport:
    """The curves of models' stored scores. Raises InputError for qualities that cannot be used,
    ResultError for scores that are not there.
    """
    pooled = pool(models)
    notes = list(pooled.notes)
    if asked.quality == NORM:
        if asked.column is not None:
            raise InputError("--column: goes with a CSV, and --quality norm is none")
        named = [(NORM, _norms(each)) for each in pooled.models]
    else:
        named = [_from_table(Path(asked.quality), asked.column, pooled, notes)] * len(models)
    return DiscardReport(
        pooled.labels,
        asked.by,
        asked.limit,
        tuple(
            _of_model(own, name, quality, asked)
            for own, (name, quality) in zip(pooled.models, named, strict=True)
        ),
        tuple(notes),
    )


def _of_model(own: OfModel, name: str, quality: FloatArray, asked: DiscardAsked) -> ModelCurves:
    known = np.isfinite(quality)
    both = known[0::2] & known[1::2]
    pairs = own.pairs.only(both[own.kept])
    if not len(pairs.scores):
        raise InputError(f"{own.model.label}: no pair has a {name} of both its images and a score")
    of_slot = quality[np.repeat(own.kept & both, 2)]
    curves = []
    for far in asked.fars:
        try:
            threshold = threshold_at_far(own.pairs, far)
        except InputError as error:
            curves.append(OneCurve(far, None, str(error)))
            continue
        found = discard_curve(
            pairs, of_slot, threshold, by=asked.by, shares=asked.shares, limit=asked.limit
        )
        curves.append(OneCurve(far, found))
    if all(each.curve is None for each in curves):
        raise InputError(f"{own.model.label}: {curves[0].why}")
    genuine = int(pairs.genuine.sum())
    return ModelCurves(
        own.model,
        name,
        genuine,
        len(pairs.scores) - genuine,
        len(own.kept) - len(pairs.scores),
        tuple(curves),
    )


def _norms(own: OfModel) -> FloatArray:
    if own.norms is None:
        raise InputError(
            f"{own.model.label}: its results have no norms of embeddings, as those of earlier "
            "versions and of scores made elsewhere; evaluate it with --fresh, or give a CSV"
        )
    return own.norms


def _from_table(
    path: Path, column: str | None, pooled: Pooled, notes: list[str]
) -> tuple[str, FloatArray]:
    """The name of the column of qualities, and that of each slot, NaN where there is none."""
    table = read_slot_table(path, pooled.slot_names())
    names = list(table.columns)
    if column is None and len(names) > 1 and "quality" not in names:
        raise InputError(
            f"{path}: {len(names)} columns, and none is called quality; choose by --column: "
            + ", ".join(names)
        )
    name = column or ("quality" if "quality" in names else names[0])
    if name not in table.columns:
        raise InputError(f"--column {name}: {path} has no such column; {unknown_name(name, names)}")
    found = np.array([_quality(path, name, text) for text in table.columns[name]])
    if table.strangers:
        notes.append(f"{path}: {table.strangers:,} of its names are not in these bins")
    return name, found


def _quality(path: Path, name: str, text: str) -> float:
    if text.lower() in ("", "na", "nan", "none", "null"):
        return np.nan
    try:
        value = float(text.replace(",", "."))  # spreadsheets of many countries
    except ValueError:
        value = np.inf
    if not np.isfinite(value):
        raise InputError(f"{path}: column {name!r}: expected a number, found {text[:40]!r}")
    return value


# ---- As text -------------------------------------------------------------------------------------


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
