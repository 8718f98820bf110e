"""Stored results as a ranking: which columns, which rows, what is published, what is invalid.

Only rows that have every column are ranked (`ranking.py`): means over different bins say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluator.errors import InputError
from evaluator.metrics.figure import Figure
from evaluator.results.choice import (
    Contestant,
    Named,
    contestants,
    core_bins,
    labelled,
    labels,
    meant,
    picked,
)
from evaluator.results.record import Result, reading_problem
from evaluator.results.stored import Store, Stored, outdated_line
from zoo.entries.registry import Entry


@dataclass(frozen=True)
class Column:
    """A bin: ``label`` is its name, with the hash where another bin has that name too."""

    sha256: str
    name: str
    label: str
    pairs: int


@dataclass(frozen=True, eq=False)
class Row:
    """A model with one variant of settings. ``figures`` has a value a column, None where there is
    none; ``mean`` and ``rank`` are None for a row that lacks one.
    """

    model: Contestant
    figures: Mapping[str, float | None]
    mean: float | None
    rank: int | None = None

    @property
    def present(self) -> int:
        """On how many columns there is a figure."""
        return sum(value is not None for value in self.figures.values())

    @property
    def kind(self) -> str:
        """``ranked``, or ``incomplete`` where a column is missing."""
        return "incomplete" if self.rank is None else "ranked"


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
    """Rows from best to worst, those that lack a column last. ``p_values`` (ranked, ranked) are
    Holm's, in the order of the ranked rows; ``more`` rows are not shown. ``outdated`` results were
    measured by other reading rules, and so stand in no row.
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
    outdated: tuple[Invalid, ...] = ()

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The rows that have every column."""
        return tuple(row for row in self.rows if row.mean is not None)


def build_leaderboard(
    store: Store,
    figure: Figure,
    *,
    entries: Mapping[str, Entry],
    models: Sequence[str] = (),
    bins: Sequence[str] = (),
    top: int = 20,
) -> Leaderboard:
    """The ranking of the stored results whose model and bin match the patterns (none: all).

    Without ``bins``, the columns are those bins that make the most of the table: the set of one
    model that covers most figures of models that have them all. Raises InputError for a pattern
    that matches nothing, and for no results at all.
    """
    chosen = picked([*store.results, *store.outdated], models=models, bins=bins)
    outdated = [each for each in chosen if reading_problem(each.result) is not None]
    if len(outdated) == len(chosen):
        raise InputError(_nothing_to_rank(store, outdated))
    found = contestants(chosen[: len(chosen) - len(outdated)])
    figures_of = [
        {sha256: figure.read(each.result.figures) for sha256, each in model.results.items()}
        for model in found
    ]
    all_columns = _columns([stored for model in found for stored in model.results.values()])
    shown = set(all_columns) if bins else core_bins(figures_of)
    columns = tuple(column for sha256, column in all_columns.items() if sha256 in shown)
    if not columns:
        columns = tuple(all_columns.values())
    measured = [
        _row(model, figures, columns) for model, figures in zip(found, figures_of, strict=True)
    ]
    notes = _column_notes(all_columns, columns, figures_of)
    visible = _ordered([row for row in measured if row.present], figure)
    if without := len(measured) - len(visible):
        notes.append(f"{without:,} model{'s' * (without > 1)} without a figure on these bins")
    named = labelled([row.model for row in visible[:top]], with_settings=True)
    rows = [replace(row, model=model) for row, model in zip(visible, named, strict=False)]
    notes += _dropped_notes(rows, columns)
    complete = [row for row in rows if row.mean is not None]
    from zoo.results.ranking import rank_means  # imports NumPy, which an error does without

    ranking = rank_means(
        [row.mean for row in complete if row.mean is not None],
        [row.model for row in complete],
        [column.sha256 for column in columns],
        figure,
    )
    published, published_notes = _published(entries, figure, columns, models)
    return Leaderboard(
        figure=figure,
        columns=columns,
        rows=tuple(_with_ranks(rows, ranking.ranks)),
        published=tuple(published),
        invalid=tuple(
            Invalid(each.model.name, each.bin.name, _why_invalid(each))
            for each in (stored.result for model in found for stored in model.results.values())
            if each.status != "ok"
        ),
        damaged=store.damaged,
        notes=(*notes, *ranking.notes, *published_notes),
        p_values=ranking.p_values,
        more=max(0, len(visible) - top),
        outdated=tuple(
            Invalid(each.model.name, each.bin.name, reading_problem(each) or "")
            for each in (stored.result for stored in outdated)
        ),
    )


def _nothing_to_rank(store: Store, outdated: Sequence[Stored]) -> str:
    if outdated:
        more = f" (and {len(outdated) - 1:,} more)" if len(outdated) > 1 else ""
        return f"no stored results to rank: {outdated_line(outdated[0])}{more}"
    if store.damaged and not store.results:
        return f"no stored results to rank: none can be read; {store.damaged[0]}"
    return "no stored results to rank; zoo eval stores them, --results says where"


def _columns(results: Sequence[Stored]) -> dict[str, Column]:
    """SHA-256 -> column, in the order in which the store has them."""
    records = {stored.result.bin.sha256: stored.result.bin for stored in results}
    named = labels([(sha256, record.name) for sha256, record in records.items()])
    return {
        sha256: Column(sha256, record.name, named[sha256], record.pairs)
        for sha256, record in records.items()
    }


def _row(model: Contestant, figures: Mapping[str, float | None], columns: Sequence[Column]) -> Row:
    shown = {column.sha256: figures.get(column.sha256) for column in columns}
    return Row(model, shown, _mean(list(shown.values()), len(columns)))


def _mean(values: Sequence[float | None], columns: int) -> float | None:
    """The mean of figures on so many columns; None where one lacks."""
    there = [value for value in values if value is not None]
    return sum(there) / columns if there and len(there) == columns else None


def _ordered(rows: Sequence[Row], figure: Figure) -> list[Row]:
    """Complete rows by mean, best first, then the others by how much they have; then by name."""
    sign = -1 if figure.higher_is_better else 1

    def place(row: Row) -> tuple[bool, float, str, str]:
        value = -float(row.present) if row.mean is None else sign * row.mean
        return row.mean is None, value, row.model.name, row.model.identity

    return sorted(rows, key=place)


def _with_ranks(rows: Sequence[Row], ranks: Sequence[int]) -> list[Row]:
    remaining = iter(ranks)
    return [row if row.mean is None else replace(row, rank=next(remaining)) for row in rows]


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
    known: Sequence[Mapping[str, float | None]],
) -> list[str]:
    """Which bins are stored but no column, and on how many models."""
    left = []
    for sha256, column in all_columns.items():
        if column not in shown:
            count = sum(figures.get(sha256) is not None for figures in known)
            left.append(f"{column.label} ({count:,} model{'s' * (count != 1)})")
    return [f"not all models are on {', '.join(left)}: --bins shows them"] if left else []


def _dropped_notes(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Figures that rest on fewer pairs than their bin has."""
    found = []
    for row in rows:
        for column in columns:
            stored = row.model.results.get(column.sha256)
            dropped = int(stored.result.non_finite["dropped_pairs"]) if stored else 0
            if dropped:
                found.append(
                    f"{row.model.label} on {column.label}: {dropped:,} of {column.pairs:,} pairs "
                    "dropped; tested on those that both models scored"
                )
    return found
