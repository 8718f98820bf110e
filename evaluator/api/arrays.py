"""Embeddings and scores that were made elsewhere, as evaluations like any other."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluator.api.evaluated import BinEvaluation, Evaluation
from evaluator.api.sources import name_sha256
from evaluator.bins.pairs_file import slot_people
from evaluator.bins.verification_set import VerificationSet, distinct_images
from evaluator.errors import InputError, check_choice
from evaluator.measure.embed import pair_scores, unusable_rows
from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.record import BinRecord, ModelRecord, Result, Settings, list_sha256, versions
from evaluator.results.store import result_path

# What results carry for settings that nobody can know, as `zoo eval --scores` has it.
_UNKNOWN = "unknown"

# How many unusable images a result names; the count is always whole.
_NAMED = 20


def evaluate_embeddings(
    embeddings: ArrayLike,
    genuine: ArrayLike | None = None,
    *,
    name: str,
    bin: str | VerificationSet = "pairs",
    nan: str = "fail",
) -> Evaluation:
    """The evaluation of embeddings made elsewhere: (2 x pairs, size), pair i in rows 2i and 2i + 1.

    Arguments and errors are those of ``evaluate_scores``. Rows of equal values are taken as one
    image where no VerificationSet says which images are equal.
    """
    rows = np.asarray(embeddings)
    if rows.dtype.kind != "f" or rows.ndim != 2 or len(rows) % 2 or not len(rows):
        raise InputError(
            "embeddings must be floats of shape (2 x pairs, size), the two of a pair one after "
            f"the other; got {rows.dtype} of shape {rows.shape}"
        )
    values = rows.astype(np.float32)
    unusable = unusable_rows(values)
    kept = np.flatnonzero(~(unusable[0::2] | unusable[1::2]))
    scores = np.full(len(values) // 2, np.nan)
    scores[kept] = pair_scores(values, 2 * kept, 2 * kept + 1)
    images = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    return _external(
        scores,
        genuine,
        name=name,
        bin=bin,
        nan=nan,
        images=images,
        unusable=np.flatnonzero(unusable),
        model_format="embeddings",
        embedding_size=values.shape[1],
    )


def evaluate_scores(
    scores: ArrayLike,
    genuine: ArrayLike | None = None,
    *,
    name: str,
    bin: str | VerificationSet = "pairs",
    nan: str = "fail",
) -> Evaluation:
    """The evaluation of scores made elsewhere, to be compared and stored like any other.

    ``scores`` (pairs,) floats, higher is more alike; NaN for a pair without one. ``genuine``
    (pairs,) bool. ``name`` is what the system is called: it is known by that alone. ``bin`` is what
    the pairs are called, or the VerificationSet that they are the pairs of, in its order, which
    then tells the labels, which pairs share images and, by the pairs file beside it, people. Two
    systems can be compared where pairs and labels are the same. Raises InputError.
    """
    values = np.asarray(scores)
    if values.dtype.kind != "f" or values.ndim != 1 or not len(values):
        raise InputError(
            "scores must be floats of shape (pairs,), higher is more alike; "
            f"got {values.dtype} of shape {values.shape}"
        )
    wide = values.astype(np.float64)
    wide[~np.isfinite(wide)] = np.nan
    return _external(
        wide,
        genuine,
        name=name,
        bin=bin,
        nan=nan,
        images=None,
        unusable=2 * np.flatnonzero(np.isnan(wide)),
        model_format="scores",
        embedding_size=0,
    )


def _external(
    scores: NDArray[np.float64],
    genuine: ArrayLike | None,
    *,
    name: str,
    bin: str | VerificationSet,
    nan: str,
    images: NDArray[np.int64] | None,
    unusable: NDArray[np.intp],
    model_format: str,
    embedding_size: int,
) -> Evaluation:
    check_choice("nan", nan, ("fail", "drop"))
    if not name.strip():
        raise InputError("name is empty; it is what the system is called")
    labels = _labels(genuine, bin, len(scores))
    people = None
    if isinstance(bin, VerificationSet):
        images = distinct_images(bin.images)[1].astype(np.int64)
        people = slot_people(bin)
    scored = np.isfinite(scores)
    usable = nan == "drop" or bool(scored.all())
    block = figures(scores[scored], labels[scored]) if usable else None
    record = _bin_record(bin, labels, 0 if images is None else int(images.max()) + 1)
    model = ModelRecord(
        name=name,
        path="",
        sha256=name_sha256(name),
        format=model_format,
        embedding_size=embedding_size,
        input={"size": [], "range": _UNKNOWN, "channels": _UNKNOWN, "layout": _UNKNOWN},
    )
    result = Result(
        status="non_finite" if block is None else "ok",
        model=model,
        bin=record,
        settings=Settings(flip=_UNKNOWN, decoder=_UNKNOWN, precision=_UNKNOWN, nan=nan),
        figures=None if block is None else to_json(block),
        non_finite={
            "count": len(unusable),
            "images": unusable[:_NAMED].tolist(),
            "dropped_pairs": int((~scored).sum()) if usable else 0,
        },
        cost={"seconds": 0.0, "images_per_second": 0.0},
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    )
    stored_as = result_path(
        Path(),
        model=(name, model.sha256),
        bin=(record.name, record.sha256),
        settings=Settings(nan=nan),
        profile="unit",
        channels="rgb",
    )
    kept = scores if usable else None
    found = BinEvaluation(result, block, kept, labels, images, people, stored_as)
    return Evaluation(model, (found,))


def _labels(genuine: ArrayLike | None, bin: str | VerificationSet, pairs: int) -> NDArray[np.bool_]:
    """The labels given or the bin's own. Raises InputError where they are not these pairs'."""
    if genuine is None and isinstance(bin, VerificationSet):
        genuine = bin.genuine
    labels = np.asarray(genuine)
    if labels.dtype != np.bool_ or labels.shape != (pairs,):
        raise InputError(
            f"genuine must be bool of shape ({pairs},), True for a genuine pair, one for each "
            f"pair scored; got {labels.dtype} of shape {labels.shape}"
        )
    if isinstance(bin, VerificationSet) and not np.array_equal(labels, bin.genuine):
        raise InputError(
            f"genuine differs from the labels of {bin.name}; the pairs must be in the bin's order"
        )
    return labels


def _bin_record(bin: str | VerificationSet, labels: NDArray[np.bool_], unique: int) -> BinRecord:
    if isinstance(bin, VerificationSet):
        name, path, sha256 = bin.name, str(bin.path), bin.sha256
    else:
        name, path, sha256 = bin, "", list_sha256(labels, bin)
    return BinRecord(
        name=name,
        path=path,
        sha256=sha256,
        pairs=len(labels),
        genuine=int(labels.sum()),
        impostor=int((~labels).sum()),
        images=2 * len(labels),
        unique_images=unique,
    )
