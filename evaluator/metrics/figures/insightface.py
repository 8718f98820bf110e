"""10-fold accuracy by insightface's rule, with its TAR at FAR 1e-3."""

from __future__ import annotations

from evaluator.metrics.figure import SHARE, Figure, lacks_a_class
from evaluator.metrics.figures import kfold
from evaluator.metrics.protocols import insightface_of
from evaluator.metrics.text import spread

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
                "tar_at_far_1e-3": {"tar": SHARE, "std": SHARE, "far": SHARE},
            }
        },
        at=("insightface", "accuracy"),
        of=lambda pairs: {"insightface": insightface_of(pairs.folds)},
        # Its grid of thresholds decides all but a pair or two as the exact ones do.
        influence=kfold.influence,
        protocol="insightface",
        fits_threshold=True,
        cell=lambda stored: spread(stored["insightface"]["accuracy"], stored["insightface"]["std"]),
        lacks=lambda genuine, impostors: (
            lacks_a_class(genuine, impostors) or "fewer than ten pairs, or scores are no cosines"
        ),
        in_every_result=True,
    ),
)
