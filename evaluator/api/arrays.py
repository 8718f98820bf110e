"""Embeddings and scores that were made elsewhere, as evaluations like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluator.api.evaluated import BinEvaluation, Evaluation
from evaluator.bins.pairs_file import slot_people
from evaluator.bins.stored_images import distinct_of, slot_digests
from evaluator.bins.verification_set import VerificationSet
from evaluator.choices import check_settings
from evaluator.errors import InputError
from evaluator.results.external import (
    ExternalPairs,
    embedded_elsewhere,
    external_result,
    listed,
    scored_elsewhere,
)
from evaluator.results.record import list_sha256


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
    labels = _labels(genuine, bin, len(rows) // 2)
    # Minus zero is zero: equal values are equal bytes.
    return _external(embedded_elsewhere(rows + 0, labels), name=name, bin=bin, nan=nan)


def evaluate_scores(
    scores: ArrayLike,
    genuine: ArrayLike | None = None,
    *,
    name: str,
    bin: str | VerificationSet = "pairs",
    nan: str = "fail",
) -> Evaluation:
    """The evaluation of scores made elsewhere, to be compared and stored like any other.

    ``scores`` (pairs,) floats, higher is more alike; NaN for a pair without one, which ``nan`` says
    what to do with, as in `evaluate`. ``genuine`` (pairs,) bool. ``name`` is what the system is
    called: it is known by that alone. ``bin`` is what the pairs are called, or the VerificationSet
    that they are the pairs of, in its order, which then tells the labels, which pairs share images
    and, by the pairs file beside it, people, and whose ten contiguous parts are the folds; of other
    pairs they are drawn by rule, whatever their order. Two systems can be compared where pairs and
    labels are the same. Raises InputError.
    """
    values = np.asarray(scores)
    if values.dtype.kind != "f" or values.ndim != 1 or not len(values):
        raise InputError(
            "scores must be floats of shape (pairs,), higher is more alike; "
            f"got {values.dtype} of shape {values.shape}"
        )
    labels = _labels(genuine, bin, len(values))
    pairs = scored_elsewhere(values.astype(np.float64), labels)
    return _external(pairs, name=name, bin=bin, nan=nan)


def _external(
    pairs: ExternalPairs, *, name: str, bin: str | VerificationSet, nan: str
) -> Evaluation:
    check_settings(nan=nan)
    if not name.strip():
        raise InputError("name is empty; it is what the system is called")
    people = digests = None
    if isinstance(bin, VerificationSet):
        distinct, slots = distinct_of(bin)
        digests = slot_digests(distinct, slots)
        pairs = replace(pairs, images=slots.astype(np.int64))
        of = bin.name, str(bin.path), bin.sha256
        people = slot_people(bin)
    else:
        pairs = listed(pairs)
        of = bin, "", list_sha256(pairs.genuine, bin)
    pairs = pairs.taken(nan)
    result, block, measured = external_result(pairs, name=name, bin=of, nan=nan)
    scores = None if block is None else pairs.scores
    stored_as = measured.path_in(Path())
    folds = None if pairs.folds is None else pairs.folds.numbers
    found = BinEvaluation(
        result, block, scores, pairs.genuine, pairs.images, people, stored_as, folds, digests
    )
    return Evaluation(result.model, (found,))


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
