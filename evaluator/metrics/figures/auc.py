"""AUC: the area under the ROC curve, with DeLong's variance of it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from evaluator.metrics.figure import SHARE, BoolArray, Figure, FloatArray, Influence, Stored
from evaluator.metrics.sweep import Sweep
from evaluator.metrics.text import Digits, cosine


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


def delong_variance(scores: npt.ArrayLike, genuine: npt.ArrayLike) -> tuple[float, float] | None:
    """AUC and DeLong's variance of it; None without a genuine or without an impostor pair.

    Higher scores are more alike; a tie counts half. The variance of a class with one pair is taken
    as 0, since it cannot be estimated. Source: DeLong et al. 1988, by the midranks of Sun and
    Xu 2014, O(n log n).
    """
    scores, genuine = scores_and_labels(scores, genuine)
    if genuine.all() or not genuine.any():
        return None
    above, below = placements(scores, genuine)
    return float(above.mean()), mean_variance(above) + mean_variance(below)


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


def influence(scores: FloatArray, genuine: BoolArray) -> Influence:
    """Of DeLong's placements: what each pair's share of the other class is beside the mean."""
    if genuine.all() or not genuine.any():
        return Influence.none(len(scores))
    above, below = placements(scores, genuine)
    area = above.mean()
    return Influence.of_classes(genuine, (above - area) / len(above), (below - area) / len(below))


def _interval(stored: Stored, scores: FloatArray, genuine: BoolArray) -> tuple[float, float] | None:
    """By DeLong's variance, on the logit scale to stay in [0, 1]; None without any spread."""
    from scipy.special import expit, logit, ndtri

    del stored
    found = delong_variance(scores, genuine)
    if found is None or found[1] == 0 or found[0] in (0.0, 1.0):
        return None
    area, variance = found
    reach = float(ndtri(0.975)) * math.sqrt(variance) / (area * (1 - area))
    centre = float(logit(area))
    return float(expit(centre - reach)), float(expit(centre + reach))


FIGURES = (
    Figure(
        name="auc",
        label="AUC",
        title="AUC",
        words="area under the ROC curve, %",
        explanation="The chance that a genuine pair scores higher than an impostor pair.",
        shape={"auc": SHARE},
        at=("auc",),
        of=lambda pairs: {"auc": auc(pairs.sweep)},
        influence=influence,
        interval=_interval,
        digits=cosine,
        ranking_digits=Digits(100, 3),
        in_every_result=True,
    ),
)
