"""The best accuracy that any threshold reaches on these very pairs: the ``seed`` protocol."""

from __future__ import annotations

from typing import Any

from evaluator.metrics.figure import (
    INTERVAL,
    NUMBER,
    SHARE,
    Figure,
    Influence,
    Interval,
    Stored,
    share_variance,
    spread_by,
)
from evaluator.metrics.intervals import accuracy_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.sweep import BestAccuracy
from evaluator.metrics.text import cosine, interval_after, percent


def _fields(pairs: SortedPairs, sharing: Sharing | None) -> dict[str, Any]:
    best = pairs.best
    if best is None:
        return {"accuracy": None, "threshold": None, "accuracy_ci95": None}
    return {
        "accuracy": best.accuracy,
        "threshold": best.threshold,
        "accuracy_ci95": interval_of(best, pairs, sharing),
    }


def influence(pairs: SortedPairs) -> Influence:
    """Of the decisions at the best threshold.

    To first order a fitted threshold moves no accuracy, since it stands at a maximum.
    """
    return _of_decisions(pairs, pairs.best.threshold if pairs.best else 0.0)


def _of_decisions(pairs: SortedPairs, threshold: float) -> Influence:
    of = pairs.pairs
    return Influence.of_decisions((of.scores > threshold) == of.is_genuine, of.is_genuine)


def interval_of(best: BestAccuracy, pairs: SortedPairs, sharing: Sharing | None) -> Interval | None:
    """Of the accuracy that a threshold, the best of some on these pairs, has on new ones.

    On the pairs that chose it, it is too good by half a standard error, and the 10-fold figure is
    too low by a quarter: the interval is drawn around the middle of both, and reaches the figure.
    """
    accuracy, count = best.accuracy, len(pairs.pairs)

    def errors(these: SortedPairs) -> Influence:
        return _of_decisions(these, best.threshold)

    found = spread_by(errors, pairs, sharing, lambda: share_variance(accuracy, count))
    middle = accuracy if pairs.kfold is None else (accuracy + pairs.kfold.accuracy) / 2
    ends = accuracy_interval(middle, found, 1 / count)
    return None if ends is None else (min(ends[0], accuracy), max(ends[1], accuracy))


def _line(stored: Stored) -> str:
    accuracy = f"{percent(stored['accuracy'])}{interval_after(stored['accuracy_ci95'])}"
    return f"{accuracy} above {cosine(stored['threshold'])}"


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
        ci95_at=("accuracy_ci95",),
        of=_fields,
        value=lambda pairs: pairs.best.accuracy if pairs.best else None,
        influence=influence,
        protocol="seed",
        fits_threshold=True,
        line=_line,
        note=lambda stored: f"at cosine {cosine(stored['threshold'])}",
        in_every_result=True,
    ),
)
