"""Error versus discard from stored scores, by a table of qualities or the embeddings' norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.conditions.discard import SHARES, DiscardCurve, discard_curve
from evaluator.conditions.pairs import threshold_at_far
from evaluator.conditions.table import read_slot_table
from evaluator.errors import InputError, unknown_name
from evaluator.results.choice import Contestant
from zoo.results.pooled import OfModel, Pooled, pool

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
