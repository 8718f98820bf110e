"""Stored results as a ranking: which columns, which rows, what is published, what is invalid.

`ranking.py` gives the ranks: means over different bins say nothing, so that a row that lacks a
column stands apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.errors import InputError, ResultError
from evaluator.metrics.figure import Figure
from evaluator.results.choice import Contestant, contestants, labelled, picked
from evaluator.results.names import Named, labels, meant
from evaluator.results.record import BinRecord, Failed, Result, cannot_have, reading_problem
from evaluator.results.spoilt import split_spoilt
from evaluator.results.stored import Store, Stored, outdated_line
from zoo.entries.public_bins import other_bins
from zoo.entries.registry import Entry

if TYPE_CHECKING:
    from zoo.results.costs import Costs
    from zoo.results.ranking import Place, Ranking

# Models without any figure that a note names.
_NAMED = 5


@dataclass(frozen=True)
class Column:
    """A bin or template set: ``label`` is its name, with the hash where another has that name too;
    ``pairs`` are probes for a figure of searches.
    """

    sha256: str
    name: str
    label: str
    pairs: int


@dataclass(frozen=True, eq=False)
class Row:
    """A model with one variant of settings, and its ``place`` among those that have its bins.

    ``figures`` has a value a column, None where there is none; ``lacks`` says why, for each bin
    (SHA-256) that is ranked on and has no figure of it. ``ci95`` are 95 % intervals of the figures,
    where they were asked for.
    """

    model: Contestant
    figures: Mapping[str, float | None]
    place: Place
    lacks: Mapping[str, str]
    ci95: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """The mean over all bins that are ranked on; None for a row that lacks one."""
        return None if self.lacks else self.place.mean

    @property
    def rank(self) -> int | None:
        """The best rank that it can have; None for a row that lacks a bin."""
        return None if self.lacks else self.place.best

    @property
    def kind(self) -> str:
        """``ranked``, or ``incomplete`` where a column is missing."""
        return "incomplete" if self.lacks else "ranked"

    def failed(self, column: Column) -> Failed:
        """How many of the column's pairs have no score, and what became of them."""
        stored = self.model.results.get(column.sha256)
        return stored.result.failed if stored else Failed(0, "dropped")

    def pairs_failed(self, columns: Sequence[Column], how: str) -> dict[str, int]:
        """How many pairs were "dropped", or "missed", by the bins' SHA-256 where some were."""
        there = {each.sha256: self.failed(each) for each in columns}
        return {
            sha256: each.pairs for sha256, each in there.items() if each.pairs and each.how == how
        }


@dataclass(frozen=True)
class PublishedRow:
    """An entry's published figures, by the column's SHA-256; measured by others on a bin of that
    name, whose hash nobody stated.
    """

    name: str
    protocol: str
    figures: Mapping[str, float]
    mean: float | None


@dataclass(frozen=True)
class Invalid:
    """A result that is not ranked, and why."""

    model: str
    bin: str
    reason: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.model} on {self.bin}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Rows from best to worst, then those that lack a column; ``more`` are not shown, and ranked
    all the same. ``complete`` models have all columns; ``p_values`` (tested, tested) are those of
    the best of them, in order, in their neighbourhoods. ``outdated`` results were measured by
    other reading rules, and so stand in no row. ``costs`` are there where they were asked for;
    ``models`` are all that rows could be of.
    """

    figure: Figure
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    published: tuple[PublishedRow, ...]
    invalid: tuple[Invalid, ...]
    damaged: tuple[str, ...]
    notes: tuple[str, ...]
    p_values: tuple[tuple[float, ...], ...]
    more: int
    complete: int
    outdated: tuple[Invalid, ...] = ()
    costs: Costs | None = None
    models: tuple[Contestant, ...] = ()

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The rows that have every column."""
        return tuple(row for row in self.rows if not row.lacks)

    @property
    def incomplete(self) -> tuple[Row, ...]:
        """The rows that lack one."""
        return tuple(row for row in self.rows if row.lacks)


def build_leaderboard(
    store: Store,
    figure: Figure,
    *,
    entries: Mapping[str, Entry],
    models: Sequence[str] = (),
    bins: Sequence[str] = (),
    top: int = 20,
    intervals: bool = False,
) -> Leaderboard:
    """The ranking of the stored results whose model and bin match the patterns (none: all).

    Without ``bins``, the columns are those bins that make the most of the table: the set of one
    model that covers most figures of models that have them all. Raises InputError for a pattern
    that matches nothing, and for no results at all.
    """
    asked = picked([*store.results, *store.outdated], models=models, bins=bins)
    chosen, spoilt = (asked.results, []) if bins else split_spoilt(asked.results)
    outdated = [each for each in chosen if reading_problem(each.result) is not None]
    if len(outdated) == len(chosen):
        raise InputError(_nothing_to_rank(store, outdated))
    from zoo.results.ranking import bins_ranked_on, rank_models  # NumPy: errors do without

    found = labelled(contestants(chosen[: len(chosen) - len(outdated)]), with_settings=True)
    records = {
        sha256: stored.result.bin for model in found for sha256, stored in model.results.items()
    }
    all_columns = _columns(records, figure)
    shown = set(all_columns) if bins else bins_ranked_on(found, figure, every=False)
    columns = tuple(column for sha256, column in all_columns.items() if sha256 in shown)
    columns = columns or tuple(all_columns.values())
    ranking = rank_models(found, [column.sha256 for column in columns], figure)
    rows = _rows(ranking, found, columns, figure, outdated, top)
    if intervals:
        rows = tuple(replace(row, ci95=_intervals(row, columns, figure)) for row in rows)
    possible = {
        sha256: column
        for sha256, column in all_columns.items()
        if not cannot_have(records[sha256], figure)
    }
    notes = _column_notes(possible, columns, found, figure, ranking.bins)
    notes += _undefined_notes(records, all_columns, figure)
    notes += _without_notes([each for i, each in enumerate(found) if i not in ranking.places])
    notes += _failed_notes(rows, columns)
    notes += list(asked.older)
    if spoilt:
        count = len({each.result.bin.sha256 for each in spoilt})
        notes += (
            f"{count:,} bin{'s' * (count > 1)} of spoilt images left out: name them with --bins, or"
            " see zoo report",
        )
    published, published_notes = _published(entries, figure, columns, models)
    if other := {
        name
        for row in published
        for name in other_bins(entries[row.name], [records[each] for each in row.figures])
    }:
        names = ", ".join(sorted(other))
        published_notes.append(f"published figures are of other bins than {names}: zoo verify")
    return Leaderboard(
        figure=figure,
        columns=columns,
        rows=rows,
        published=tuple(published),
        invalid=tuple(
            Invalid(each.model.name, each.bin.name, _why_invalid(each))
            for each in (stored.result for model in found for stored in model.results.values())
            if each.status != "ok"
        ),
        damaged=store.damaged,
        notes=(*notes, *ranking.notes, *published_notes),
        p_values=ranking.p_values,
        more=len(ranking.places) - len(rows),
        complete=len(ranking.order),
        models=tuple(found),
        outdated=tuple(
            Invalid(each.model.name, each.bin.name, reading_problem(each) or "")
            for each in (stored.result for stored in outdated)
        ),
    )


def with_costs(board: Leaderboard, folders: Sequence[Path]) -> Leaderboard:
    """The ranking with the costs that are stored of its rows in folders of results."""
    from zoo.results.costs import read_costs_of  # NumPy: errors do without

    models = [row.model for row in board.rows]
    places = [None if row.lacks else row.place for row in board.rows]
    return replace(board, costs=read_costs_of(folders, models, places, board.p_values))


def _intervals(
    row: Row, columns: Sequence[Column], figure: Figure
) -> dict[str, tuple[float, float]]:
    """The 95 % intervals of a row's figures, by the bin's SHA-256."""
    from evaluator.results.store import load_scores
    from evaluator.statistics.shared_pairs import Scored

    found = {}
    for column in columns:
        if row.figures.get(column.sha256) is None:
            continue
        stored = row.model.results[column.sha256]
        try:
            scores = load_scores(stored.path, stored.result)
        except ResultError:
            continue  # which the ranking's note says
        if ends := Scored(stored.result, scores).interval_of(figure):
            found[column.sha256] = ends
    return found


def _nothing_to_rank(store: Store, outdated: Sequence[Stored]) -> str:
    if outdated:
        more = f" (and {len(outdated) - 1:,} more)" if len(outdated) > 1 else ""
        return f"no stored results to rank: {outdated_line(outdated[0])}{more}"
    if store.damaged and not store.results:
        return f"no stored results to rank: none can be read; {store.damaged[0]}"
    return "no stored results to rank; zoo eval stores them, --results says where"


def _columns(records: Mapping[str, BinRecord], figure: Figure) -> dict[str, Column]:
    """SHA-256 -> column, in the order in which the store has them."""
    named = labels([(sha256, record.name) for sha256, record in records.items()])
    return {
        sha256: Column(
            sha256,
            record.name,
            named[sha256],
            (record.probes or 0) if figure.searches else record.pairs,
        )
        for sha256, record in records.items()
    }


def _rows(
    ranking: Ranking,
    models: Sequence[Contestant],
    columns: Sequence[Column],
    figure: Figure,
    outdated: Sequence[Stored],
    top: int,
) -> tuple[Row, ...]:
    """The first rows of those that have every column, and of those that lack one."""
    old = {(each.result.model.identity, each.result.bin.sha256) for each in outdated}
    rows = []
    for i in (*ranking.order[:top], *ranking.others[:top]):
        figures = {each.sha256: _figure(models[i], each, figure) for each in columns}
        without = [sha256 for sha256 in ranking.bins if figures[sha256] is None]
        lacks = {sha256: _why_none(models[i], sha256, old) for sha256 in without}
        rows.append(Row(models[i], figures, ranking.places[i], lacks))
    return tuple(rows)


def _figure(model: Contestant, column: Column, figure: Figure) -> float | None:
    stored = model.results.get(column.sha256)
    return None if stored is None else figure.read(stored.result.figures)


def _why_none(model: Contestant, sha256: str, outdated: set[tuple[str, str]]) -> str:
    """Why a model has no figure on a bin."""
    stored = model.results.get(sha256)
    if stored is None and (model.identity, sha256) not in outdated:
        return "not measured"
    return "undefined" if stored and stored.result.status == "ok" else "no valid result"


def _mean(values: Sequence[float | None], columns: int) -> float | None:
    """The mean of figures on so many columns; None where one lacks."""
    there = [value for value in values if value is not None]
    return sum(there) / columns if there and len(there) == columns else None


def _published(
    entries: Mapping[str, Entry],
    figure: Figure,
    columns: Sequence[Column],
    models: Sequence[str],
) -> tuple[list[PublishedRow], list[str]]:
    """Published rows of the figure's protocol, and what is published under other protocols."""
    sha256_of: dict[str, list[str]] = {}
    for column in columns:
        sha256_of.setdefault(column.name, []).append(column.sha256)
    rows, others = [], []
    ambiguous: set[str] = set()
    for entry in entries.values():
        names = [name for name in entry.published if name in sha256_of]
        if not names or entry.protocol is None or not _is_meant(entry, models):
            continue
        if entry.protocol != figure.protocol:
            others.append(entry)
            continue
        ambiguous.update(name for name in names if len(sha256_of[name]) > 1)
        figures = {
            sha256_of[name][0]: entry.published[name].accuracy
            for name in names
            if len(sha256_of[name]) == 1
        }
        if figures:
            mean = _mean(list(figures.values()), len(columns))
            rows.append(PublishedRow(entry.name, entry.protocol, figures, mean))
    notes = [
        f"published figures on {name} are left out: two bins have that name"
        for name in sorted(ambiguous)
    ]
    if others:
        protocols = ", ".join(dict.fromkeys(str(entry.protocol) for entry in others))
        notes.append(
            f"{len(others)} published row{'s' * (len(others) > 1)} left out: protocol "
            f"{protocols}, not comparable with {figure.name}"
        )
    return rows, notes


def _is_meant(entry: Entry, models: Sequence[str]) -> bool:
    return not models or any(meant(value, [Named(entry.name, "", "")]) for value in models)


def _why_invalid(result: Result) -> str:
    count = int(result.non_finite["count"])
    return f"{result.status}: {count:,} image{'s' * (count != 1)}"


def _column_notes(
    all_columns: Mapping[str, Column],
    shown: Sequence[Column],
    models: Sequence[Contestant],
    figure: Figure,
    ranked_on: Sequence[str],
) -> list[str]:
    """Which bins are stored and no column, on how many models; and which have no figure at all."""
    left, none = [], [column.label for column in shown if column.sha256 not in ranked_on]
    for column in all_columns.values():
        if column not in shown:
            count = sum(_figure(model, column, figure) is not None for model in models)
            if count:
                left.append(f"{column.label} ({count:,} model{'s' * (count != 1)})")
            else:
                none.append(column.label)
    notes = [f"not all models are on {', '.join(left)}: --bins shows them"] if left else []
    if none and ranked_on:
        notes.append(f"no model has this figure on {', '.join(none)}: not ranked on it")
    return notes


def _undefined_notes(
    records: Mapping[str, BinRecord], columns: Mapping[str, Column], figure: Figure
) -> list[str]:
    """Why bins have no such figure at all, the bins of one reason in one line."""
    found: dict[str, list[str]] = {}
    for sha256, record in records.items():
        if why := cannot_have(record, figure):
            found.setdefault(why, []).append(columns[sha256].label)
    return [f"{figure.name} is undefined on {', '.join(own)}: {why}" for why, own in found.items()]


def _without_notes(models: Sequence[Contestant]) -> list[str]:
    """Models that have no figure on the columns."""
    if not models:
        return []
    names = ", ".join(model.label for model in models[:_NAMED])
    more = f" and {len(models) - _NAMED:,} more" if len(models) > _NAMED else ""
    return [
        f"{len(models):,} model{'s' * (len(models) > 1)} without a figure on these bins: "
        f"{names}{more}"
    ]


# What became of pairs that have no score -> what figures and tests make of them.
_TAKEN = {
    "dropped": "tested on those that both models scored",
    "missed": "rejected at every threshold",
}


def _failed_notes(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Figures that rest on fewer scores than their bin has pairs."""
    return [
        f"{row.model.label} on {column.label}: {failed.pairs:,} of {column.pairs:,} pairs "
        f"{failed.how}; {_TAKEN[failed.how]}"
        for row in rows
        for column in columns
        if (failed := row.failed(column)).pairs
    ]
