"""Two models on the bins they share: which pairs, whose people, one test, and its words.

Who compares models asks here, so that `zoo compare`, `zoo report` and Python have one answer.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from evaluator.errors import InputError
from evaluator.metrics.figure import Figure
from evaluator.results.names import labels
from evaluator.results.overlap import shared_images
from evaluator.results.record import BinRecord
from evaluator.statistics.comparison import (
    KFOLD_DECISIONS,
    Comparison,
    Overall,
    Tested,
    compare_together,
    overall_of,
    tested_figure,
)
from evaluator.statistics.differences import Differences, mean_of
from evaluator.statistics.pair_tests import SIGNIFICANCE, holm_p_values
from evaluator.statistics.ranks import neighbourhood_p_values
from evaluator.statistics.shared_pairs import Block, Scored, SharedPairs, blocks_of
from evaluator.statistics.sides import Apart, Side, bin_notes, left_out, setting_notes
from evaluator.statistics.verdicts import (
    MarginVerdict,
    against_margin,
    b_is_worse,
    ranking_digits,
    verdict,
)


@dataclass(frozen=True, eq=False)
class OnBin:
    """Two models, called ``names``, on one bin. The indices in ``comparison`` are those of the
    bin's pairs; ``dropped`` pairs had a score from one model at most. ``p_value`` is Holm's for all
    bins of all duels. ``failed`` are lines on pairs that were dropped or missed.
    """

    bin: BinRecord
    label: str
    names: tuple[str, str]
    comparison: Comparison
    dropped: int
    p_value: float
    failed: tuple[str, ...]

    @functools.cached_property
    def words(self) -> str:
        """The verdict by the corrected p-value."""
        return verdict(self.comparison, self.names, self.p_value, self.comparison.among.figure)


@dataclass(frozen=True, eq=False)
class Duel:
    """Two models on all bins they share. ``p_value`` is the overall one corrected as a
    leaderboard's is (`ranks`); ``notes`` say what differs besides the models and what was left out.
    ``margin`` is in units of the figure, None where none was asked for.
    """

    a: Side
    b: Side
    metric: str
    bins: tuple[OnBin, ...]
    overall: Overall
    p_value: float
    notes: tuple[str, ...]
    margin: float | None = None

    @functools.cached_property
    def words(self) -> str:
        """The verdict by the corrected p-value."""
        return verdict(self.overall, self._names, self.p_value, self.figure)

    @functools.cached_property
    def by_margin(self) -> MarginVerdict | None:
        """Whether B is as good as A but for the margin; None without one."""
        return self._against_margin[0] if self._against_margin else None

    @property
    def margin_words(self) -> str:
        """The same as a sentence; empty without a margin."""
        return self._against_margin[1] if self._against_margin else ""

    @functools.cached_property
    def _against_margin(self) -> tuple[MarginVerdict, str] | None:
        if self.margin is None:
            return None
        return against_margin(self.overall, self._names, self.margin, self.figure)

    @property
    def _names(self) -> tuple[str, str]:
        return self.a.label, self.b.label

    @property
    def separable(self) -> bool:
        """Whether the difference is real at 5 %, after correction."""
        return self.p_value < SIGNIFICANCE

    @property
    def b_is_worse(self) -> bool:
        """Whether B is shown to be the worse one, after correction."""
        return self.separable and b_is_worse(self.overall, self.figure)

    @property
    def figure(self) -> Figure:
        """What the models are compared by."""
        return tested_figure(self.metric)


def compare_sides(
    sides: Sequence[Side], *, metric: str = "accuracy", margin: float | None = None
) -> tuple[list[Duel], list[Apart]]:
    """Every two of the models, in the order given, by a figure on shared bins.

    A bin is shared where its SHA-256 is; only pairs that both models scored count. ``metric`` is
    what `compare_pairs` takes, ``margin`` in percentage points of a share, else in units of the
    figure. P-values of bins are corrected by Holm for all bins of all duels, overall ones as a
    leaderboard's. Raises ResultError for scores that cannot be read, or that are not of one bin,
    InputError for an unknown metric or a margin that is not above 0.
    """
    figure = tested_figure(metric)
    if margin is not None:
        if not 0 < margin < math.inf:
            raise InputError(f"--margin must be above 0; got {margin:g}")
        margin /= ranking_digits(figure).scale
    together = _tested(sides, metric)
    means: dict[tuple[int, ...], _Mean] = {}
    duels, apart = [], []
    for i, j in itertools.combinations(range(len(sides)), 2):
        a, b = sides[i], sides[j]
        notes = [*setting_notes(a, b), *bin_notes(a, b)]
        bins, own = [], []
        for sha256 in a.results:
            if sha256 not in b.results:
                continue
            if reason := left_out(a, sha256, figure) or left_out(b, sha256, figure):
                notes.append(reason)
                continue
            block = together[sha256, i, j]
            if compared := block.compared(i, j):
                bins.append(block.on_bin(compared, a, b))
                own.append(block)
            else:
                notes.append(block.undefined(i, j, metric))
        notes += [f"{each.label}: {line}" for each in bins for line in each.failed]
        if not bins:
            apart.append(Apart(a, b, tuple(notes)))
            continue
        if (key := tuple(map(id, own))) not in means:
            means[key] = _mean_over(own)
        mean = means[key]
        overall = overall_of(mean.between(i, j), [each.comparison for each in bins])
        notes += mean.notes
        duels.append(
            Duel(a, b, metric, tuple(bins), overall, overall.p_value, tuple(notes), margin)
        )
    return _corrected(duels), apart


@dataclass(frozen=True, eq=False)
class _Block:
    """Models that share the same pairs of a bin: what was ``scored``, by their places, ascending;
    ``tested`` is None where no two have a figure there.
    """

    label: str
    sha256: str
    scored: Mapping[int, Scored]
    shared: SharedPairs
    tested: Tested | None

    def compared(self, i: int, j: int) -> Comparison | None:
        """Two of the models; None where the figure of one is undefined."""
        if self.tested is None:
            return None
        members = list(self.scored)
        return self.tested.compared(members.index(i), members.index(j))

    def undefined(self, i: int, j: int, metric: str) -> str:
        """Why that is None."""
        figure, genuine = tested_figure(metric), int(self.shared.genuine.sum())
        why = figure.lacks(genuine, len(self.shared.genuine) - genuine)
        if metric == KFOLD_DECISIONS:
            why = "too few pairs of both kinds for ten folds"
        for each in (self.scored[i], self.scored[j]):
            if np.isneginf(each.scores.scores[self.shared.pairs]).all():
                why = f"{each.result.model.name} missed every pair"
        return f"{self.label}: {figure.label} is undefined ({why}); left out"

    def on_bin(self, compared: Comparison, a: Side, b: Side) -> OnBin:
        """With lines on pairs that have no score, and a p-value that is not corrected yet."""
        dropped = len(next(iter(self.scored.values())).scores.genuine) - len(self.shared.pairs)
        lines = [f"{dropped:,} pairs left out that not both models scored"] * (dropped > 0)
        for side in (a, b):
            failed = side.results[self.sha256].failed
            if failed.pairs and failed.how == "missed":
                lines.append(f"{failed.words} by {side.label}, rejected at every threshold")
        record, names = a.results[self.sha256].bin, (a.label, b.label)
        return OnBin(record, self.label, names, compared, dropped, compared.p_value, tuple(lines))


def _tested(sides: Sequence[Side], metric: str) -> dict[tuple[str, int, int], _Block]:
    """Every two sides on each bin on which they can be compared, by its SHA-256 and their places.

    What is of one model is computed once, and what is of two for all in few operations.
    """
    figure = tested_figure(metric)
    named = labels([(sha, each.bin.name) for side in sides for sha, each in side.results.items()])
    tasks = []
    for sha256, label in named.items():
        there = [
            i
            for i, side in enumerate(sides)
            if sha256 in side.results and not left_out(side, sha256, figure)
        ]
        if len(there) < 2:
            continue
        read = [
            Scored(sides[i].results[sha256], sides[i].scores(sha256)).asked(figure) for i in there
        ]
        tasks += [
            (sha256, label, there, read, block)
            for block in blocks_of(read)
            if len(block.members) > 1
        ]

    def tested(task: tuple[str, str, list[int], list[Scored], Block]) -> _Block:
        sha256, label, there, read, block = task
        pairs, models = block.shared.pairs, [read[k] for k in block.members]
        found = compare_together(
            # Decided anew on these pairs: others would have another threshold.
            [each.scores.scores[pairs] for each in models],
            block.shared.genuine,
            metric=metric,
            sharing=block.shared.sharing,
            folds=[each.scores.folds_of(pairs) for each in models],
            lists=block.shared.lists,
            places=pairs,
        )
        scored = {there[k]: read[k] for k in block.members}
        return _Block(label, sha256, scored, block.shared, found)

    # NumPy lets go of the interpreter in what a comparison does most.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = list(pool.map(tested, tasks))
    return {
        (block.sha256, *sorted((there[row], there[column]))): block
        for (_, _, there, _, own), block in zip(tasks, blocks, strict=True)
        for row in own.rows
        for column in own.columns
        if row != column
    }


@dataclass(frozen=True, eq=False)
class _Mean:
    """The mean over bins of models, at the places of ``members``, and notes on it."""

    members: tuple[int, ...]
    found: Differences
    notes: tuple[str, ...]

    def between(self, i: int, j: int) -> Differences:
        """Of two of the models, the first place less than the second."""
        a, b = self.members.index(i), self.members.index(j)
        return self.found.of(slice(a, b + 1, b - a))


def _mean_over(blocks: Sequence[_Block]) -> _Mean:
    """Of the models that are in all of these blocks, one a bin."""
    members = tuple(i for i in blocks[0].scored if all(i in each.scored for each in blocks))
    known = shared_images({each.label: next(iter(each.scored.values())).scores for each in blocks})
    parts = {}
    for number, each in enumerate(blocks):
        if each.tested is None:
            raise ValueError("expected blocks of models that have the figure")
        found, own = each.tested.differences, list(each.scored)
        if len(members) < len(own):
            found = found.of(np.array([own.index(i) for i in members]))
        ends = None if known.across is None else known.across[number]
        pairs = each.shared.pairs
        parts[each.sha256] = found, ends and (ends[0][pairs], ends[1][pairs])
    # Sums round by their order, too.
    ordered = [parts[sha256] for sha256 in sorted(parts)]
    across = [ends for _, ends in ordered if ends is not None]
    notes = [f"{known.words}: they are drawn together, and the mean counts each bin"]
    return _Mean(
        members,
        mean_of([found for found, _ in ordered], across or None),
        tuple(notes if known.words else ()),
    )


def _corrected(duels: Sequence[Duel]) -> list[Duel]:
    of_duels = _of_neighbourhoods(duels)
    of_bins = iter(holm_p_values([each.comparison.p_value for duel in duels for each in duel.bins]))
    return [
        replace(
            duel,
            bins=tuple(replace(each, p_value=next(of_bins)) for each in duel.bins),
            p_value=p_value,
        )
        for duel, p_value in zip(duels, of_duels, strict=True)
    ]


def _of_neighbourhoods(duels: Sequence[Duel]) -> list[float]:
    """The overall p-values, corrected as a leaderboard's are (`neighbourhood_p_values`)."""
    place: dict[int, int] = {}
    for duel in duels:
        for side in (duel.a, duel.b):
            place.setdefault(id(side), len(place))
    couples = [(place[id(duel.a)], place[id(duel.b)]) for duel in duels]
    raw = np.ones((len(place), len(place)))
    for (i, j), duel in zip(couples, duels, strict=True):
        raw[i, j] = raw[j, i] = duel.overall.p_value
    corrected = neighbourhood_p_values(raw)
    return [float(corrected[couple]) for couple in couples]
