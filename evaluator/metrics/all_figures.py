"""The figures block of a result: every figure of one model on one bin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from evaluator.metrics.intervals import wilson_interval
from evaluator.metrics.protocols import (
    INSIGHTFACE_FOLDS,
    InsightfaceAccuracy,
    KFoldAccuracy,
    insightface_of,
    kfold_of,
    split_folds,
)
from evaluator.metrics.sweep import (
    TarAtFar,
    auc,
    best_accuracy,
    eer,
    scored_pairs,
    sweep_of,
    tar_at_far,
)
from evaluator.metrics.text import columns, cosine, percent, spread

FARS = {"0.1": 0.1, "0.01": 0.01, "0.001": 0.001, "0.0001": 0.0001}  # key in the JSON: FAR


@dataclass(frozen=True, eq=False, repr=False)
class Figures:
    """All figures of one list of scores; None is undefined, never 0 and never NaN.

    Thresholds are scores: accept if ``score > threshold``. ``accuracy`` and ``threshold`` are
    those of the ``seed`` protocol, ``accuracy_ci95`` its Wilson interval.
    """

    accuracy: float | None
    threshold: float | None
    accuracy_ci95: tuple[float, float] | None
    kfold: KFoldAccuracy | None
    insightface: InsightfaceAccuracy | None
    auc: float | None
    eer: float | None
    eer_threshold: float | None
    tar_at_far: Mapping[str, TarAtFar | None]

    def __repr__(self) -> str:
        """A line a figure, for people."""
        return figures_text(self)


def figures(scores: ArrayLike, genuine: ArrayLike) -> Figures:
    """Every figure of n pairs, as fractions, with 95 % intervals; ``print`` shows them in percent.

    ``scores`` are n finite floats, higher is more alike; ``genuine`` are n bools, True where both
    images show one person. Ten contiguous parts of them are the folds. The scores need not be
    cosines, but ``insightface`` is None where they are not. Raises InputError for another shape,
    type or length, or a score that is not finite.
    """
    pairs = scored_pairs(scores, genuine)
    s = sweep_of(pairs)
    best, equal = best_accuracy(s), eer(s)
    # kfold and insightface share insightface's ten folds, sorted once for both.
    enough = len(pairs) >= INSIGHTFACE_FOLDS
    folds = split_folds(pairs, INSIGHTFACE_FOLDS) if enough else ()
    return Figures(
        accuracy=best.accuracy if best else None,
        threshold=best.threshold if best else None,
        accuracy_ci95=wilson_interval(best.correct, len(pairs)) if best else None,
        kfold=kfold_of(s, folds, pairs) if enough else None,
        insightface=insightface_of(folds) if enough else None,
        auc=auc(s),
        eer=equal.rate if equal else None,
        eer_threshold=equal.threshold if equal else None,
        tar_at_far={key: tar_at_far(s, far) for key, far in FARS.items()},
    )


def to_json(block: Figures) -> dict[str, Any]:
    """The ``figures`` object of a result as JSON values: None (null) is undefined."""
    interval = block.accuracy_ci95
    return {
        "accuracy": block.accuracy,
        "threshold": block.threshold,
        "accuracy_ci95": list(interval) if interval else None,
        "kfold": _kfold_json(block.kfold),
        "insightface": _insightface_json(block.insightface),
        "auc": block.auc,
        "eer": block.eer,
        "eer_threshold": block.eer_threshold,
        "tar_at_far": {key: _tar_json(value) for key, value in block.tar_at_far.items()},
    }


def _kfold_json(value: KFoldAccuracy | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "accuracy": value.accuracy,
        "std": value.std,
        "thresholds": list(value.thresholds),
    }


def _insightface_json(value: InsightfaceAccuracy | None) -> dict[str, Any] | None:
    if value is None:
        return None
    tar = value.tar_at_far_1e_3
    return {
        "accuracy": value.accuracy,
        "std": value.std,
        "tar_at_far_1e-3": {"tar": tar.tar, "std": tar.std, "far": tar.far} if tar else None,
    }


def _tar_json(value: TarAtFar | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "tar": value.tar,
        "far": value.far,
        "threshold": value.threshold,
        "tar_ci95": list(value.tar_ci95),
    }


def figures_text(block: Figures) -> str:
    """One line a figure, percentages and scores; ``-`` is undefined."""
    rows = [
        ("accuracy, 10-fold", "-"),
        ("accuracy, insightface", "-"),
        ("accuracy, best", "-"),
        ("AUC", cosine(block.auc)),
        ("EER", "-"),
    ]
    if block.kfold:
        rows[0] = (rows[0][0], spread(block.kfold.accuracy, block.kfold.std))
    if block.insightface:
        rows[1] = (rows[1][0], spread(block.insightface.accuracy, block.insightface.std))
    if block.accuracy_ci95:
        at = f"{percent(block.accuracy)} {_interval(block.accuracy_ci95)}"
        rows[2] = (rows[2][0], f"{at} above {cosine(block.threshold)}")
    if block.eer is not None:
        rows[4] = ("EER", f"{percent(block.eer)} at {cosine(block.eer_threshold)}")
    for far, found in block.tar_at_far.items():
        value = "-"
        if found:
            at = f"above {cosine(found.threshold)}, FAR {found.far:.3g}"
            value = f"{percent(found.tar)} {_interval(found.tar_ci95)} {at}"
        rows.append((f"TAR at FAR {far}", value))
    return "\n".join(columns(rows))


def _interval(ends: tuple[float, float]) -> str:
    return f"[{percent(ends[0])}, {percent(ends[1])}]"
