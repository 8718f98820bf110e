"""DeLong's test of two areas under the ROC curve, as it is defined: a witness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Delong:
    """Areas of two models on the same pairs, and the test of their difference, A - B."""

    areas: tuple[float, float]
    variance: float

    @property
    def difference(self) -> float:
        return self.areas[0] - self.areas[1]

    @property
    def p_value(self) -> float:
        """Two-sided, of the normal distribution."""
        return float(2 * stats.norm.sf(abs(self.difference) / math.sqrt(self.variance)))


def delong(scores_a: Any, scores_b: Any, genuine: NDArray[np.bool_]) -> Delong:
    """DeLong 1988, equations 3 to 6, with every genuine score held against every impostor score."""
    above, below = [], []
    for scores in (scores_a, scores_b):
        couples = scores[genuine][:, None] - scores[~genuine][None, :]
        wins = (couples > 0) + 0.5 * (couples == 0)
        above.append(wins.mean(axis=1))
        below.append(wins.mean(axis=0))
    first, second = (float(each.mean()) for each in above)
    covariance = np.cov(above) / genuine.sum() + np.cov(below) / (~genuine).sum()
    contrast = np.array([1, -1])
    return Delong((first, second), float(contrast @ covariance @ contrast))
