"""Identification in a report: who is found at which rank and FPIR, and who is taken for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evaluator.metrics.all_figures import search_figures
from evaluator.metrics.figures.search import NOT_FIRST
from evaluator.metrics.sweep import fmr_fnmr, scored_pairs, sweep_of
from evaluator.results.choice import Contestant
from evaluator.templates.searches import Searches
from zoo.report.charts import Chart, Curve, rank_chart, tpir_chart
from zoo.report.selection import Column, Scored, Selection

# A CMC is read at its first ranks.
_MOST_RANKS = 50


@dataclass(frozen=True, eq=False)
class GalleryCharts:
    """What is drawn of one gallery, empty-named where a set has but one; None where nobody has no
    mate, or everybody.
    """

    name: str
    size: int
    tpir: Chart | None


@dataclass(frozen=True)
class FoundWrong:
    """A probe and the template of somebody else that it came closest to; numbers of templates."""

    probe: int
    rival: int
    score: float
    rank: int


@dataclass(frozen=True, eq=False)
class WrongSearches:
    """A model's searches that would do most harm: strangers who come closest to somebody, and
    probes before whose mate somebody else comes, the closest first.
    """

    contestant: Contestant
    strangers: tuple[FoundWrong, ...]
    mistaken: tuple[FoundWrong, ...]


@dataclass(frozen=True, eq=False)
class Identified:
    """A template set with galleries: charts, a block of figures a model, and its worst searches.

    ``blocks`` are (model, gallery's name, figures), those of all galleries last.
    """

    column: Column
    cmc: Markup
    galleries: tuple[GalleryCharts, ...]
    blocks: tuple[tuple[Contestant, str, Mapping[str, Any]], ...]
    wrong: tuple[WrongSearches, ...]


def identified(
    column: Column, models: Sequence[Contestant], selection: Selection, *, shown: int
) -> Identified | None:
    """What a report has of a set's searches; None for a bin, and where no model has any."""
    scored = [
        (slot, each, own)
        for slot, each in enumerate(models)
        if (own := selection.of(each, column)) is not None and own.scores.searches
    ]
    if not scored:
        return None
    return Identified(
        column,
        rank_chart([_cmc(slot, each, own) for slot, each, own in scored], _MOST_RANKS),
        tuple(_gallery(scored, number) for number in range(len(scored[0][2].scores.searches))),
        tuple(block for _, each, own in scored for block in _blocks(each, own)),
        tuple(_wrong(each, own, shown) for _, each, own in scored),
    )


def _cmc(slot: int, model: Contestant, scored: Scored) -> Curve:
    """The share of mated searches of all galleries found at each rank."""
    figure = search_figures()["rank1"]
    listed = scored.asked(figure).scores.scores
    ranks = -listed[np.isfinite(listed)]
    found = [float((ranks <= rank).mean()) if len(ranks) else 0.0 for rank in _ranks()]
    return Curve(slot, model.label, _ranks(), _ranks(), 1 - np.array(found))


def _ranks() -> NDArray[np.float64]:
    return np.arange(1, _MOST_RANKS + 1, dtype=np.float64)


def _gallery(scored: Sequence[tuple[int, Contestant, Scored]], number: int) -> GalleryCharts:
    figure = search_figures()["tpir@0.1"]
    curves, non_mated = [], 0
    for slot, model, own in scored:
        listed = own.asked(figure).scores
        here = (listed.lists == number) & np.isfinite(listed.scores)
        found = fmr_fnmr(sweep_of(scored_pairs(listed.scores[here], listed.genuine[here])))
        if found is not None:
            # No threshold finds a mate that is not first.
            kept = found.thresholds >= NOT_FIRST
            points = found.thresholds[kept], found.fmr[kept], found.fnmr[kept]
            curves.append(Curve(slot, model.label, *points))
            non_mated = int((~listed.genuine[here]).sum())
    of = scored[0][2].scores.searches[number]
    return GalleryCharts(of.gallery, of.size, tpir_chart(curves, non_mated) if curves else None)


def _blocks(model: Contestant, scored: Scored) -> list[tuple[Contestant, str, Mapping[str, Any]]]:
    block = (scored.result.figures or {}).get("identification") or {}
    galleries = list(block.get("galleries", []))
    found = [(model, f"{each['name']} {each['size']:,}".strip(), each) for each in galleries]
    return [*found, (model, "all", block)] if len(found) > 1 else found


def _wrong(model: Contestant, scored: Scored, shown: int) -> WrongSearches:
    """The worst of all galleries together."""
    strangers: list[FoundWrong] = []
    mistaken: list[FoundWrong] = []
    facts = scored.scores.facts
    for each in scored.scores.searches if facts is not None else ():
        probes = facts.probes if facts is not None else np.zeros(0, np.int64)
        strangers += _worst(each, probes, ~each.mated, shown)
        mistaken += _worst(each, probes, each.mated & (each.rank > 1), shown)
    first = [
        tuple(sorted(found, key=lambda x: -x.score)[:shown]) for found in (strangers, mistaken)
    ]
    return WrongSearches(model, *first)


def _worst(
    found: Searches, probes: NDArray[np.int64], which: NDArray[np.bool_], shown: int
) -> list[FoundWrong]:
    there = np.flatnonzero(which & (found.rival >= 0) & np.isfinite(found.score))
    order = there[np.argsort(-found.rival_score[there], kind="stable")][:shown]
    return [
        FoundWrong(
            int(probes[i]), int(found.rival[i]), float(found.rival_score[i]), int(found.rank[i])
        )
        for i in order
    ]


def templates_shown(found: Identified) -> set[int]:
    """The templates whose faces are wanted."""
    return {
        template
        for each in found.wrong
        for one in (*each.strangers, *each.mistaken)
        for template in (one.probe, one.rival)
    }
