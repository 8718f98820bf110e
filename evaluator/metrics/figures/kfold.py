"""Accuracy of each tenth of the pairs at the threshold that is best on the other nine."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from evaluator.metrics.figure import (
    INTERVAL,
    NUMBERS,
    SHARE,
    Figure,
    Influence,
    Interval,
    Stored,
    lacks_a_class,
    share_variance,
    spread_by,
)
from evaluator.metrics.figures import accuracy
from evaluator.metrics.intervals import accuracy_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.text import interval_after, percent, spread

# Fitted thresholds multiply the variance by 1 + this / the cube root of the number of pairs: the
# rate at which the maximum of a step function is found (Kim and Pollard 1990), the factor from
# simulated scores, where it is 1.3 to 1.7 for 1,000 pairs and 1.2 to 1.3 for 6,000
# (tests/evaluator/test_interval_coverage.py).
_THRESHOLDS_NOISE = 3.5


def influence(pairs: SortedPairs) -> Influence:
    """Of the decisions by the other folds, or where there are no ten, at the best threshold."""
    if pairs.kfold is None:
        return accuracy.influence(pairs)
    return Influence.of_decisions(pairs.kfold.correct, pairs.pairs.is_genuine)


def interval(pairs: SortedPairs, value: float, sharing: Sharing | None) -> Interval | None:
    """Of an accuracy by thresholds from other folds, with the noise of these thresholds."""
    count = len(pairs.pairs)

    def variance() -> float:
        best = pairs.best.correct if pairs.best else 0
        right = best if pairs.kfold is None else int(np.count_nonzero(pairs.kfold.correct))
        return share_variance(right / count, count)

    found = spread_by(influence, pairs, sharing, variance)
    noise = _THRESHOLDS_NOISE / count ** (1 / 3) * value * (1 - value) / count
    return accuracy_interval(
        value, dataclasses.replace(found, variance=found.variance + noise), 1 / count
    )


def _fields(pairs: SortedPairs, sharing: Sharing | None) -> dict[str, Any]:
    folds = pairs.kfold
    if folds is None:
        return {"kfold": None}
    ends = interval(pairs, folds.accuracy, sharing)
    return {"kfold": dataclasses.replace(folds, accuracy_ci95=ends)}


def line_of(folds: Stored) -> str:
    """Mean, standard deviation and interval of ten folds, as `print` shows them."""
    return f"{spread(folds['accuracy'], folds['std'])}{interval_after(folds.get('accuracy_ci95'))}"


FIGURES = (
    Figure(
        name="kfold",
        label="accuracy, 10-fold",
        title="10-fold accuracy",
        words="10-fold accuracy, %",
        explanation="Accuracy in %, each tenth of a bin decided at the threshold that is best on "
        "the other nine: what to expect on new pairs like these. Ranks rest on decisions at each "
        "model's best threshold.",
        shape={
            "kfold": {
                "accuracy": SHARE,
                "std": SHARE,
                "standard_error": SHARE,
                "accuracy_ci95": INTERVAL,
                "thresholds": NUMBERS,
            }
        },
        at=("kfold", "accuracy"),
        ci95_at=("kfold", "accuracy_ci95"),
        of=_fields,
        value=lambda pairs: pairs.kfold.accuracy if pairs.kfold else None,
        influence=influence,
        protocol="kfold",
        fits_threshold=True,
        cell=lambda stored: spread(stored["kfold"]["accuracy"], stored["kfold"]["std"]),
        line=lambda stored: line_of(stored["kfold"]),
        note=lambda stored: f"fold SD {percent(stored['kfold']['std'])}",
        lacks=lambda genuine, impostors: lacks_a_class(genuine, impostors) or "folds lack a class",
        in_every_result=True,
    ),
)
