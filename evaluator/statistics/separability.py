"""Which of many models differ in a figure beyond noise: all couples at once, on shared pairs.

`zoo compare` draws a bootstrap for one couple of models. A leaderboard of 20 has 190, so here the
same variance is computed in closed form: a figure's error is, to first order, a sum of what each
pair adds to it, and the variance of a difference is the sum of squares of the differences of these
contributions. It is widened as `comparison.py` widens it: half a discordant pair on either
side, pairs that share images, and the luck of fitted thresholds. The p-values agree with compare's
up to the noise of its draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.metrics.figure import Influence
from evaluator.metrics.sharing import Sharing, dyads
from evaluator.results.record import Scores
from evaluator.statistics.pair_tests import holm_p_values, student_p_values
from evaluator.statistics.threshold_luck import threshold_luck

FloatArray = npt.NDArray[np.float64]

_FEW_ROWS = 50
# The luck of fitted thresholds is sampled on neighbours in the ranking, whose order is in question.
_LUCK_COUPLES = 3
_LUCK_SWAPS = 120


@dataclass(frozen=True, eq=False)
class Differences:
    """Variance of the difference of every two models' figures on a bin, and its t distribution's
    degrees of freedom (inf: normal), one for all or each couple's own.
    """

    variances: FloatArray
    freedom: float | FloatArray


def neighbours_luck(scores: Sequence[Scores]) -> float:
    """Times by which fitted thresholds multiply the variance of independent pairs, at least 1.

    The mean over a few couples of neighbours; ``scores`` are of models in the order of the ranking.
    """
    couples = len(scores) - 1
    if couples < 1:
        return 1.0
    starts = np.unique(np.linspace(0, couples - 1, min(couples, _LUCK_COUPLES)).astype(int))
    found = []
    for start in starts:
        a, b = scores[start], scores[start + 1]
        both = np.isfinite(a.scores) & np.isfinite(b.scores)
        luck = threshold_luck(
            a.scores[both],
            b.scores[both],
            a.genuine[both],
            swaps=_LUCK_SWAPS // len(starts),
            seed=int(start),
        )
        found.append(luck)
    return float(np.mean(found))


def differences_on_bin(
    influences: Sequence[Influence], sharing: Sharing | None, luck: float
) -> Differences:
    """The variance (models, models) of every difference between models, on one bin."""
    matrix = np.stack([each.contributions for each in influences])
    decisions = np.array([each.decision for each in influences])
    independent = _squared_differences(_products(matrix))
    effect = np.ones_like(independent)
    freedom = math.inf
    if sharing is not None and sharing.method != "pairs":
        clustered = sharing.method == "clusters"
        gram = _cluster_gram(matrix, sharing.cluster) if clustered else _dyad_gram(matrix, sharing)
        dependent = _squared_differences(gram) * sharing.correction
        np.divide(dependent, independent, out=effect, where=independent > 0)
        effect = np.maximum(effect, 1.0)
        freedom = sharing.freedom
    more = np.maximum(decisions[:, None], decisions[None, :]) ** 2
    return Differences((independent + more) * (effect + luck - 1), freedom)


def corrected_p_values(gaps: FloatArray, bins: Sequence[Differences]) -> FloatArray:
    """Two-sided p-values (models, models) of equal figures, by Holm over all couples.

    ``gaps`` (models, models) are the differences of the figures, averaged over the bins, which
    count as independent. The diagonal is 1, as are couples whose difference has no variance, or no
    finite one, to be judged by.
    """
    variance = np.sum([each.variances for each in bins], axis=0) / len(bins) ** 2
    gap = np.abs(gaps)
    z = np.divide(gap, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 0)
    freedom = np.min([np.broadcast_to(each.freedom, gap.shape) for each in bins], axis=0)
    p = np.ones_like(z)
    for each in np.unique(freedom):
        p[freedom == each] = student_p_values(z[freedom == each], float(each))
    rows, columns = np.triu_indices(len(gap), 1)
    corrected = np.ones_like(p)
    corrected[rows, columns] = holm_p_values(p[rows, columns])
    symmetric: FloatArray = np.minimum(corrected, corrected.T)
    return symmetric


def _squared_differences(gram: FloatArray) -> FloatArray:
    """Squared distances of vectors from their products, never below 0."""
    own = np.diag(gram)
    return np.maximum(0.0, own[:, None] + own[None, :] - 2 * gram)


def _cluster_gram(matrix: FloatArray, group: npt.NDArray[np.int64]) -> FloatArray:
    return _products(np.stack([np.bincount(group, weights=row) for row in matrix]))


def _dyad_gram(matrix: FloatArray, sharing: Sharing) -> FloatArray:
    """As `resampling.py` sums products over couples of pairs that share an end or both."""
    two, ends, dyad = dyads(sharing)
    by_end = _cluster_gram(np.concatenate([matrix, matrix[:, two]], axis=1), ends)
    return by_end - _cluster_gram(matrix[:, two], dyad)


def _products(matrix: FloatArray) -> FloatArray:
    """Every product of two rows."""
    # For few rows BLAS starts threads that take longer to meet than to work: on a machine whose
    # two cores are busy 60 ms of processor time instead of 1.
    products: FloatArray
    if len(matrix) <= _FEW_ROWS:
        products = np.einsum("ik,jk->ij", matrix, matrix)
    else:
        products = matrix @ matrix.T
    return products
