"""Accuracy of each tenth of the pairs at the threshold that is best on the other nine."""

from __future__ import annotations

import numpy as np

from evaluator.metrics.figure import (
    NUMBERS,
    SHARE,
    BoolArray,
    Figure,
    FloatArray,
    Influence,
    Stored,
    lacks_a_class,
)
from evaluator.metrics.figures import accuracy
from evaluator.metrics.intervals import wilson_interval
from evaluator.metrics.protocols import kfold, kfold_of
from evaluator.metrics.text import percent, spread


def influence(scores: FloatArray, genuine: BoolArray) -> Influence:
    """Of the decisions by the other folds, or where there are no ten, at the best threshold."""
    folds = kfold(scores, genuine)
    return Influence.of_decisions(folds.correct) if folds else accuracy.influence(scores, genuine)


def _interval(stored: Stored, scores: FloatArray, genuine: BoolArray) -> tuple[float, float] | None:
    """Wilson's, of the pairs that the stored thresholds decide rightly, each those of its fold."""
    thresholds = stored["kfold"]["thresholds"]
    if not thresholds:
        return None
    shorter, longer = divmod(len(scores), len(thresholds))
    sizes = [shorter + (fold < longer) for fold in range(len(thresholds))]
    correct = (scores > np.repeat(thresholds, sizes)) == genuine
    return wilson_interval(int(correct.sum()), len(correct))


FIGURES = (
    Figure(
        name="kfold",
        label="accuracy, 10-fold",
        title="10-fold accuracy",
        words="10-fold accuracy, %",
        explanation="Accuracy in %, each tenth of a bin decided at the threshold that is best on "
        "the other nine: what to expect on new pairs like these. Ranks rest on decisions at each "
        "model's best threshold.",
        shape={"kfold": {"accuracy": SHARE, "std": SHARE, "thresholds": NUMBERS}},
        at=("kfold", "accuracy"),
        of=lambda pairs: {
            "kfold": kfold_of(pairs.sweep, pairs.folds, pairs.pairs) if pairs.folds else None
        },
        influence=influence,
        interval=_interval,
        protocol="kfold",
        fits_threshold=True,
        cell=lambda stored: spread(stored["kfold"]["accuracy"], stored["kfold"]["std"]),
        note=lambda stored: f"± {percent(stored['kfold']['std'])} over folds",
        lacks=lambda genuine, impostors: lacks_a_class(genuine, impostors) or "folds lack a class",
        in_every_result=True,
    ),
)
