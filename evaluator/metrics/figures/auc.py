"""AUC: the area under the ROC curve, and DeLong's placements, of which its errors are made.

Source: DeLong et al. 1988, by the midranks of Sun and Xu 2014, O(n log n).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evaluator.metrics.figure import INTERVAL, SHARE, BoolArray, Figure, FloatArray, Influence
from evaluator.metrics.intervals import accuracy_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.sweep import Sweep, ranks_among
from evaluator.metrics.text import Digits, cosine, interval_after

# Errors of an area weigh as much as the scores are out of order, and the next one may be the worst.
_MORE = 1.0


def auc(s: Sweep) -> float | None:
    """Area under the ROC: the chance that a genuine score exceeds an impostor score.

    Ties count one half (Mann-Whitney U / GI). None if a class is missing.
    """
    if s.one_sided:
        return None
    above = int(s.impostors_below.sum())
    first_not_below = np.minimum(s.impostors_below, len(s.impostor) - 1)
    is_tied = s.impostor[first_not_below] == s.genuine
    last = np.searchsorted(s.impostor, s.genuine[is_tied], side="right")
    tied = int((last - s.impostors_below[is_tied]).sum())
    return (2 * above + tied) / (2 * len(s.genuine) * len(s.impostor))


def placements(scores: FloatArray, genuine: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Share of the other class that each genuine pair beats, and that each impostor loses to."""
    midranks = _midranks(scores)
    genuine_count = int(genuine.sum())
    impostor_count = len(genuine) - genuine_count
    above = (midranks[genuine] - _midranks(scores[genuine])) / impostor_count
    below = 1 - (midranks[~genuine] - _midranks(scores[~genuine])) / genuine_count
    return above, below


def _midranks(values: FloatArray) -> FloatArray:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]


def mean_variance(values: FloatArray) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def scores_and_labels(
    scores: npt.ArrayLike, genuine: npt.ArrayLike
) -> tuple[FloatArray, BoolArray]:
    checked = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(genuine, dtype=bool)
    if checked.ndim != 1 or checked.shape != labels.shape:
        raise ValueError(
            "scores and genuine must be one value a pair, equally many; "
            f"got shapes {checked.shape} and {labels.shape}"
        )
    if not np.isfinite(checked).all():
        raise ValueError(
            f"scores must be finite; {int((~np.isfinite(checked)).sum())} of {len(checked)} are not"
        )
    return checked, labels


def influence(pairs: SortedPairs) -> Influence:
    """Of DeLong's placements: what each pair's share of the other class is beside the mean."""
    s = pairs.sweep
    if s.one_sided:
        return Influence.none(pairs)
    beaten, lost = _placements(s.genuine, s.impostor), 1 - _placements(s.impostor, s.genuine)
    return Influence(
        (beaten - beaten.mean()) / len(beaten), (lost - lost.mean()) / len(lost), ascending=True
    )


def _worst(pairs: SortedPairs) -> float:
    """What the worst pair takes from the area; where none takes any, what one could."""
    s = pairs.sweep
    lowest = _placements(s.genuine[:1], s.impostor)[0]
    highest = _placements(s.impostor[-1:], s.genuine)[0]
    worst = max((1 - float(lowest)) / len(s.genuine), float(highest) / len(s.impostor))
    return worst or 1 / min(len(s.genuine), len(s.impostor))


def _placements(own: FloatArray, other: FloatArray) -> FloatArray:
    """Share of the other class that each score beats, ties half; both ascending."""
    low, high = (ranks_among(own, other, side) for side in ("left", "right"))
    found: FloatArray = (low + high) / (2 * len(other))
    return found


def _fields(pairs: SortedPairs, sharing: Sharing | None) -> dict[str, Any]:
    area = auc(pairs.sweep)
    if area is None:
        return {"auc": None, "auc_ci95": None}
    errors = influence(pairs)
    spread, deciding = errors.spread(pairs, sharing), errors.deciding_pairs
    ends = accuracy_interval(area, spread, _worst(pairs), more=_MORE, deciding=deciding)
    return {"auc": area, "auc_ci95": ends}


FIGURES = (
    Figure(
        name="auc",
        label="AUC",
        title="AUC",
        words="area under the ROC curve, %",
        explanation="The chance that a genuine pair scores higher than an impostor pair.",
        shape={"auc": SHARE, "auc_ci95": INTERVAL},
        at=("auc",),
        ci95_at=("auc_ci95",),
        of=_fields,
        value=lambda pairs: auc(pairs.sweep),
        influence=influence,
        line=lambda stored: (
            f"{cosine(stored['auc'])}{interval_after(stored.get('auc_ci95'), cosine)}"
        ),
        digits=cosine,
        ranking_digits=Digits(100, 3),
        in_every_result=True,
    ),
)
