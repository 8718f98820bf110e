"""Whether embeddings look collapsed: the sign of wrong preprocessing, or of a broken model."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Between the 5th and the 95th percentile, impostor cosines of a working model spread over 0.1 to
# 0.3, and over 0.07 for random features of 2048 dimensions.
_LEAST_SPREAD = 0.02


def impostor_spread(scores: ArrayLike, genuine: ArrayLike) -> float | None:
    """The width of the middle 90 % of impostor scores; None for fewer than 20 of them.

    Both arguments have shape (pairs,); scores that are NaN are left out.
    """
    values = np.asarray(scores, np.float64)[~np.asarray(genuine, np.bool_)]
    values = values[np.isfinite(values)]
    if len(values) < 20:
        return None
    low, high = np.percentile(values, [5, 95])
    return float(high - low)


def looks_collapsed(scores: ArrayLike, genuine: ArrayLike) -> bool:
    """Whether impostor scores are almost all alike, so that the embeddings carry little."""
    spread = impostor_spread(scores, genuine)
    return spread is not None and spread < _LEAST_SPREAD
