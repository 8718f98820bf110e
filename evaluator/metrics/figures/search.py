"""Open-set identification: probes found in a gallery, and strangers who are taken for someone.

TPIR at an FPIR of one gallery is TAR at a FAR of a list: a mated search is a genuine pair, its
score that of the mate where it comes first, else ``NOT_FIRST``; one without a mate is an impostor
pair with the highest score of the gallery. So the rule, its ties and its errors are those of
``tar_at_far``. Several galleries count the same each. A rank counts mated searches alone, all
galleries' together: the list is of these, and their scores are ranks, turned so that 1 is highest.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from evaluator.array_types import BoolArray, FloatArray
from evaluator.metrics.figure import (
    COUNT,
    INTERVAL,
    MAYBE,
    SHARE,
    TEXT,
    Each,
    Figure,
    Influence,
    Listed,
    Shape,
    Stored,
)
from evaluator.metrics.figures import tar_at_far
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing
from evaluator.metrics.text import interval_after, percent

FPIRS = {"0.1": 0.1, "0.01": 0.01}
RANKS = (1, 5, 10, 20)

#: The score of a mated search whose mate does not come first, or has no vector: below every cosine.
NOT_FIRST = -2.0

_RATES: dict[str, Shape] = {
    "rank": Each(SHARE),
    "rank_ci95": Each(INTERVAL),
    "tpir_at_fpir": Each({"tpir": SHARE, "fpir": SHARE, "threshold": MAYBE, "tpir_ci95": INTERVAL}),
}
SHAPE: dict[str, Shape] = {
    "identification": {
        **_RATES,
        "galleries": Listed(
            {"name": TEXT, "size": COUNT, "mated": COUNT, "non_mated": COUNT, **_RATES}
        ),
    }
}
#: Of what a result states of smaller galleries, where that was asked for.
SIZES_SHAPE = Listed(
    {
        "name": TEXT,
        "threshold": MAYBE,
        "sizes": Listed({"size": COUNT, "fpir": MAYBE, "tpir": MAYBE}),
    }
)


def _no_fields(_pairs: SortedPairs, _sharing: Sharing | None) -> dict[str, Any]:
    """None of `Figures`: these are computed with the searches (`templates.identification`)."""
    return {}


def _lacks(fpir: float, mated: int, non_mated: int) -> str:
    needed = math.ceil(1 / fpir - 1e-9)
    if not mated or not non_mated:
        return "no search with a mate" if not mated else "no search without a mate"
    few = f"{non_mated:,} searches without a mate in a gallery, {needed:,} needed"
    return few if non_mated < needed else ""


def _tpir_line(key: str, stored: Stored) -> str:
    found = stored["identification"]["tpir_at_fpir"][key]
    return f"{percent(found['tpir'])}{interval_after(found.get('tpir_ci95'))} {_achieved(found)}"


def _achieved(found: Stored) -> str:
    return f"FPIR {found['fpir']:.3g}"


def tpir_at(fpir: float, key: str | None = None) -> Figure:
    """TPIR at any FPIR in (0, 1), mate first; ``key`` is that of its JSON."""
    key = key or f"{fpir:g}"
    return Figure(
        name=f"tpir@{key}",
        label=f"TPIR at FPIR {key}",
        title=f"TPIR @ FPIR {key}",
        words=f"TPIR at FPIR {fpir:g}, mean of galleries, %",
        explanation="Mated probes found first and above the threshold, in %, when at most one "
        f"stranger in {round(1 / fpir):,} is taken for somebody; the mean of galleries."
        if key in FPIRS
        else "",
        shape=SHAPE,
        at=("identification", "tpir_at_fpir", key, "tpir"),
        ci95_at=("identification", "tpir_at_fpir", key, "tpir_ci95"),
        of=_no_fields,
        value=functools.partial(tar_at_far.value, far=fpir),
        influence=functools.partial(tar_at_far.influence, far=fpir),
        line=functools.partial(_tpir_line, key),
        note=lambda stored: _achieved(stored["identification"]["tpir_at_fpir"][key]),
        lacks=functools.partial(_lacks, fpir),
        searches="open",
    )


def _found(scores: FloatArray, *, rank: int) -> BoolArray:
    return scores >= -rank


def _share(pairs: SortedPairs, *, rank: int) -> float | None:
    return float(_found(pairs.pairs.scores, rank=rank).mean()) if len(pairs.pairs) else None


def _rank_influence(pairs: SortedPairs, *, rank: int) -> Influence:
    return Influence.of_decisions(
        _found(pairs.pairs.scores, rank=rank), np.ones(len(pairs.pairs), np.bool_)
    )


def _rank_line(key: str, stored: Stored) -> str:
    found = stored["identification"]
    return f"{percent(found['rank'][key])}{interval_after(found.get('rank_ci95', {}).get(key))}"


def found_at(rank: int) -> Figure:
    """The share of mated searches whose mate has that rank or a better one."""
    key = str(rank)
    return Figure(
        name=f"rank{rank}",
        label=f"rank-{rank}",
        title=f"rank-{rank}",
        words=f"rank-{rank} of mated searches, %",
        explanation="Mated probes whose mate comes first, in %: no threshold, and no strangers."
        if rank == 1
        else "",
        shape=SHAPE,
        at=("identification", "rank", key),
        ci95_at=("identification", "rank_ci95", key),
        of=_no_fields,
        value=functools.partial(_share, rank=rank),
        influence=functools.partial(_rank_influence, rank=rank),
        line=functools.partial(_rank_line, key),
        lacks=lambda mated, _: "" if mated else "no search with a mate",
        searches="mated",
        decisions=functools.partial(_found, rank=rank),
    )


FIGURES = (
    *(tpir_at(fpir, key) for key, fpir in FPIRS.items()),
    *(found_at(rank) for rank in RANKS),
)
