"""The best accuracy that any threshold reaches on these very pairs: the ``seed`` protocol."""

from __future__ import annotations

from typing import Any

from evaluator.metrics.figure import (
    INTERVAL,
    NUMBER,
    SHARE,
    BoolArray,
    Figure,
    FloatArray,
    Influence,
    Stored,
)
from evaluator.metrics.intervals import wilson_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sweep import best_accuracy, sweep
from evaluator.metrics.text import cosine, interval, percent


def _fields(pairs: SortedPairs) -> dict[str, Any]:
    best = best_accuracy(pairs.sweep)
    if best is None:
        return {"accuracy": None, "threshold": None, "accuracy_ci95": None}
    return {
        "accuracy": best.accuracy,
        "threshold": best.threshold,
        "accuracy_ci95": wilson_interval(best.correct, len(pairs.pairs)),
    }


def influence(scores: FloatArray, genuine: BoolArray) -> Influence:
    """Of the decisions at the best threshold.

    To first order a fitted threshold moves no accuracy, since it stands at a maximum; what remains
    is `threshold_luck.py`.
    """
    best = best_accuracy(sweep(scores, genuine))
    return Influence.of_decisions((scores > (best.threshold if best else 0.0)) == genuine)


def _stored_interval(stored: Stored, scores: FloatArray, genuine: BoolArray) -> tuple[float, float]:
    del scores, genuine
    low, high = stored["accuracy_ci95"]
    return low, high


def _line(stored: Stored) -> str:
    at = f"{percent(stored['accuracy'])} {interval(stored['accuracy_ci95'])}"
    return f"{at} above {cosine(stored['threshold'])}"


FIGURES = (
    Figure(
        name="accuracy",
        label="accuracy, best",
        title="Best accuracy",
        words="best accuracy on these very pairs, %",
        explanation="Accuracy in % at the threshold that is best on these very pairs: a little too "
        "good, and what many published tables report.",
        shape={"accuracy": SHARE, "threshold": NUMBER, "accuracy_ci95": INTERVAL},
        at=("accuracy",),
        of=_fields,
        influence=influence,
        interval=_stored_interval,
        protocol="seed",
        fits_threshold=True,
        line=_line,
        note=lambda stored: f"at cosine {cosine(stored['threshold'])}",
        in_every_result=True,
    ),
)
