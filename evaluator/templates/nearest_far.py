"""TAR at the FAR nearest to the one asked for, as the scripts behind published IJB rows have it.

For parity with such rows alone. It may take a FAR above the one asked for, chooses among the
corners of the ROC curve that scikit-learn keeps, and answers a FAR that fewer than one impostor
could show; `evaluator.metrics` has the exact rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluator.array_types import FloatArray
from evaluator.metrics.sweep import Sweep


@dataclass(frozen=True)
class NearestTar:
    """TAR and the FAR where it is read."""

    tar: float
    far: float


def tar_nearest_far(s: Sweep, fars: Sequence[float]) -> list[NearestTar] | None:
    """TAR where the ROC curve's FAR is nearest to each of ``fars``; None where a class is missing.

    The curve is that of ``sklearn.metrics.roc_curve``, without the points on a line between their
    neighbours. Of equally near points the highest FAR counts, and of these the highest TAR.
    """
    if s.one_sided:
        return None
    far, tar = _corners(s)
    # Reversed, as the scripts do it, before the first minimum is taken.
    places = [len(far) - 1 - int(np.argmin(np.abs(far[::-1] - each))) for each in fars]
    return [NearestTar(float(tar[at]), float(far[at])) for at in places]


def _corners(s: Sweep) -> tuple[FloatArray, FloatArray]:
    """FAR and TAR at (0, 0) and at the distinct scores, falling, that are corners of the curve."""
    scores = np.sort(np.concatenate([s.genuine, s.impostor]))
    # How many scores are at least each distinct one, from the highest down.
    new = np.flatnonzero(scores[1:] != scores[:-1])[::-1] + 1
    accepted = np.append(len(scores) - new, len(scores))
    lowest = np.append(scores[new], scores[0])
    del scores, new
    true = len(s.genuine) - np.searchsorted(s.genuine, lowest, side="left")
    false = accepted - true
    if len(false) > 2:
        kept = np.ones(len(false), dtype=np.bool_)
        kept[1:-1] = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
        false, true = false[kept], true[kept]
    start = np.zeros(1)
    return (
        np.concatenate([start, false / len(s.impostor)]),
        np.concatenate([start, true / len(s.genuine)]),
    )
