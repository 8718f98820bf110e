"""Figures of open-set identification: who is found in a gallery, and how often a stranger is.

Of one gallery, TPIR at a FPIR is TAR at a FAR of a list whose genuine scores are those of mated
probes, below all where the mate is not first, and whose impostor scores are the highest that the
other probes have. So figure, threshold, influence and interval are those of `evaluator.metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.figure import Interval
from evaluator.metrics.figures import search, tar_at_far
from evaluator.metrics.intervals import accuracy_interval
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing, pair_sharing, spread_of
from evaluator.metrics.sweep import scored_pairs, sweep_of
from evaluator.templates.searches import Searches

# By the key in the JSON.
RANKS = {str(rank): rank for rank in search.RANKS}
FPIRS = search.FPIRS


@dataclass(frozen=True)
class TpirAtFpir:
    """TPIR (mated probes found first and above the threshold) at the FPIR reached.

    Of several galleries the means; each has its own threshold, so there is none (None) of all.
    ``tpir_ci95`` is the interval of the TPIR that new people have at the FPIR asked for.
    """

    tpir: float
    fpir: float
    threshold: float | None
    tpir_ci95: Interval | None


@dataclass(frozen=True)
class GalleryFigures:
    """The figures of one gallery of ``size`` templates; by the keys of ``RANKS`` and ``FPIRS``.

    A rank's figure is the share of mated probes whose mate is among so many. None is undefined: no
    mated probe, no other one, or an FPIR that fewer than one of these could show.
    """

    name: str
    size: int
    mated: int
    non_mated: int
    rank: Mapping[str, float | None]
    rank_ci95: Mapping[str, Interval | None]
    tpir_at_fpir: Mapping[str, TpirAtFpir | None]


@dataclass(frozen=True)
class Identification:
    """The figures of all galleries: for ranks their mated probes are added, TPIR is their mean."""

    rank: Mapping[str, float | None]
    rank_ci95: Mapping[str, Interval | None]
    tpir_at_fpir: Mapping[str, TpirAtFpir | None]
    galleries: tuple[GalleryFigures, ...]


def identification(
    searches: Sequence[Searches], probe_person: NDArray[np.int64], person: NDArray[np.int64]
) -> Identification:
    """The figures of the same probes searched in each of some galleries.

    ``probe_person`` (probes,) and ``person`` (t,) number who the probes and all templates show,
    negative where nobody says: people are what intervals draw.
    """
    lists = [search_list(each) for each in searches]
    ends = [_ends(each, probe_person, person) for each in searches]
    sharings = [pair_sharing(*each, unit="person") for each in ends]
    across = pair_sharing(
        *(np.concatenate([each[side] for each in ends]) for side in (0, 1)), unit="person"
    )
    ranks = [_ranks([each], sharing) for each, sharing in zip(searches, sharings, strict=True)]
    tpirs = [
        {key: _tpir(pairs, fpir, sharing) for key, fpir in FPIRS.items()}
        for pairs, sharing in zip(lists, sharings, strict=True)
    ]
    galleries = tuple(
        GalleryFigures(
            name=each.gallery,
            size=each.size,
            mated=int(each.mated.sum()),
            non_mated=int((~each.mated).sum()),
            rank={key: value for key, (value, _) in rank.items()},
            rank_ci95={key: interval for key, (_, interval) in rank.items()},
            tpir_at_fpir=tpir,
        )
        for each, rank, tpir in zip(searches, ranks, tpirs, strict=True)
    )
    together = _ranks(searches, across)
    return Identification(
        rank={key: value for key, (value, _) in together.items()},
        rank_ci95={key: interval for key, (_, interval) in together.items()},
        tpir_at_fpir={
            key: _mean([each[key] for each in tpirs], lists, fpir, across)
            for key, fpir in FPIRS.items()
        },
        galleries=galleries,
    )


def search_list(found: Searches) -> SortedPairs:
    """The probes as a list of pairs: genuine are the mated, with their mate's score where it is
    first and one below all where not; impostors the others, with their highest score.
    """
    score = np.where(found.rank > 1, search.NOT_FIRST, found.score)
    pairs = scored_pairs(np.maximum(score, search.NOT_FIRST), found.mated)
    return SortedPairs(pairs, sweep_of(pairs), ())


def _ends(
    found: Searches, probe_person: NDArray[np.int64], person: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who decides each search: the probe's person and the most alike other one. Whoever nobody
    names is a person apart.
    """
    last = int(max(probe_person.max(initial=0), person.max(initial=0))) + 1
    probe = np.where(probe_person < 0, last + np.arange(len(probe_person)), probe_person)
    last += len(probe_person)
    named = np.where(person < 0, last + np.arange(len(person)), person)
    return probe, np.where(found.rival < 0, probe, named[found.rival])


def _tpir(pairs: SortedPairs, fpir: float, sharing: Sharing) -> TpirAtFpir | None:
    found = tar_at_far.tar_at_far(pairs.sweep, fpir)
    if found is None:
        return None
    ends = tar_at_far.interval(pairs, fpir, sharing)
    return TpirAtFpir(found.tar, found.far, found.threshold, ends)


def _mean(
    found: Sequence[TpirAtFpir | None],
    lists: Sequence[SortedPairs],
    fpir: float,
    across: Sharing,
) -> TpirAtFpir | None:
    """The mean over galleries, whose intervals are put together by the distances of their ends in
    square, wider by what the same people in several galleries add to the variance.
    """
    known = [each for each in found if each is not None]
    if len(known) < len(found) or not known:
        return None
    if len(known) == 1:
        return known[0]
    count = len(known)
    tpir, far = (
        float(np.mean(each)) for each in zip(*((x.tpir, x.fpir) for x in known), strict=True)
    )
    reaches = [
        (each.tpir - each.tpir_ci95[0], each.tpir_ci95[1] - each.tpir)
        for each in known
        if each.tpir_ci95 is not None
    ]
    if len(reaches) < count:
        return TpirAtFpir(tpir, far, None, None)
    wider = math.sqrt(_together(lists, fpir, across)) / count
    below, above = (wider * math.hypot(*side) for side in zip(*reaches, strict=True))
    return TpirAtFpir(tpir, far, None, (max(0.0, tpir - below), min(1.0, tpir + above)))


def _together(lists: Sequence[SortedPairs], fpir: float, across: Sharing) -> float:
    """Times by which people who are searched in several galleries multiply the variance of a sum
    over galleries, at least 1.
    """
    errors = [tar_at_far.influence(pairs, far=fpir).contributions(pairs) for pairs in lists]
    genuine = np.concatenate([pairs.pairs.is_genuine for pairs in lists])
    whole = spread_of(np.concatenate(errors), genuine, across).variance
    apart = np.zeros(len(genuine))
    total, start = 0.0, 0
    for own in errors:
        alone = apart.copy()
        alone[start : start + len(own)] = own
        total += spread_of(alone, genuine, across).variance
        start += len(own)
    return max(1.0, whole / total) if total > 0 else 1.0


def _ranks(
    searches: Sequence[Searches], sharing: Sharing
) -> dict[str, tuple[float | None, Interval | None]]:
    """The share of mated probes found among so many, and its interval, by key of ``RANKS``."""
    mated = np.concatenate([each.mated for each in searches])
    rank = np.concatenate([each.rank for each in searches])
    known = mated & (np.concatenate([each.score for each in searches]) > -np.inf)
    if not mated.any():
        return dict.fromkeys(RANKS, (None, None))
    found: dict[str, tuple[float | None, Interval | None]] = {}
    for key, highest in RANKS.items():
        right = known & (rank <= highest)
        share = float(right.sum() / mated.sum())
        errors = np.where(mated, right - share, 0.0) / mated.sum()
        spread = spread_of(errors, mated, sharing)
        found[key] = share, accuracy_interval(share, spread, 1 / int(mated.sum()))
    return found
