"""What a model found for every probe in a gallery: all that figures of identification rest on."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Searches:
    """Every probe searched in one gallery; arrays have shape (probes,), in the order of probes.

    ``mated`` says whether the probe's person is in the gallery. ``score`` is the highest cosine of
    a mate where there is one, else the highest in the gallery; ``rank`` the mate's, 1 the first,
    ties counted against it, and 0 without a mate. ``rival`` numbers the template with the highest
    cosine of other people and ``rival_score`` is that cosine; -1 and -inf where the gallery has
    nobody else. Cosines of a template without a vector are -inf. ``size`` is how many templates the
    gallery has.
    """

    gallery: str
    size: int
    mated: NDArray[np.bool_]
    score: NDArray[np.float64]
    rank: NDArray[np.int64]
    rival: NDArray[np.int64]
    rival_score: NDArray[np.float64]

    def only(self, kept: NDArray[np.bool_]) -> Searches:
        """The same of those probes alone that are kept, (probes,)."""
        arrays = [getattr(self, each.name)[kept] for each in fields(self)[2:]]
        return Searches(self.gallery, self.size, *arrays)
