"""10-fold accuracy by insightface's rule, with its TAR at FAR 1e-3."""

from __future__ import annotations

import dataclasses
from typing import Any

from evaluator.metrics.figure import INTERVAL, SHARE, Figure, lacks_a_class
from evaluator.metrics.figures import kfold
from evaluator.metrics.protocols import SortedPairs, insightface
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.text import spread


def _value(pairs: SortedPairs) -> float | None:
    found = insightface(pairs.folds)
    return found.accuracy if found else None


def _fields(pairs: SortedPairs, sharing: Sharing | None) -> dict[str, Any]:
    found = insightface(pairs.folds)
    if found is None:
        return {"insightface": None}
    ends = kfold.interval(pairs, found.accuracy, sharing)
    return {"insightface": dataclasses.replace(found, accuracy_ci95=ends)}


FIGURES = (
    Figure(
        name="insightface",
        label="accuracy, insightface",
        title="insightface's accuracy",
        words="insightface's 10-fold accuracy, %",
        shape={
            "insightface": {
                "accuracy": SHARE,
                "std": SHARE,
                "accuracy_ci95": INTERVAL,
                "tar_at_far_1e-3": {"tar": SHARE, "std": SHARE, "far": SHARE},
            }
        },
        at=("insightface", "accuracy"),
        ci95_at=("insightface", "accuracy_ci95"),
        of=_fields,
        value=_value,
        # Its grid of thresholds decides all but a pair or two as the exact ones do.
        influence=kfold.influence,
        protocol="insightface",
        fits_threshold=True,
        line=lambda stored: kfold.line_of(stored["insightface"]),
        cell=lambda stored: spread(stored["insightface"]["accuracy"], stored["insightface"]["std"]),
        lacks=lambda genuine, impostors: (
            lacks_a_class(genuine, impostors) or "fewer than ten pairs, or scores are no cosines"
        ),
        in_every_result=True,
    ),
)
