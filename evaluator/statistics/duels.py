"""Two models on the bins they share: which pairs, whose people, one test, and its words.

Who compares models asks here, so that `zoo compare`, `zoo report` and Python have one answer.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from evaluator.errors import InputError
from evaluator.metrics.figure import Figure
from evaluator.results.choice import Contestant, Variant, labels
from evaluator.results.overlap import Ends, Together, shared_images
from evaluator.results.record import BinRecord, Result, Scores, cannot_have
from evaluator.results.store import load_scores
from evaluator.results.stored import UNKNOWN
from evaluator.statistics.comparison import (
    KFOLD_DECISIONS,
    Comparison,
    Overall,
    combine,
    compare_pairs,
    tested_figure,
)
from evaluator.statistics.pair_tests import SIGNIFICANCE, holm_p_values
from evaluator.statistics.ranks import neighbourhood_p_values
from evaluator.statistics.shared_pairs import Scored, shared_pairs
from evaluator.statistics.verdicts import (
    MarginVerdict,
    against_margin,
    b_is_worse,
    ranking_digits,
    verdict,
)

Key = tuple[str, str, Variant]


@dataclass(frozen=True, eq=False)
class Side:
    """A model to be compared: ``results`` by the bin's SHA-256, and what reads the scores of one.

    ``key`` is its name, identity and variant, ``label`` what tells it from the others.
    """

    key: Key
    label: str
    results: Mapping[str, Result]
    scores: Callable[[str], Scores]

    @property
    def identity(self) -> str:
        """The model's, as its record states it."""
        return self.key[1]


def stored_side(model: Contestant) -> Side:
    """The side of a model whose results are stored."""

    def scores(sha256: str) -> Scores:
        stored = model.results[sha256]
        return load_scores(stored.path, stored.result)

    results = {sha256: each.result for sha256, each in model.results.items()}
    return Side(model.key, model.label, results, scores)


@dataclass(frozen=True, eq=False)
class OnBin:
    """Two models on one bin. The indices in ``comparison`` are those of the bin's pairs, of which
    ``pairs`` (n,) were compared; ``dropped`` pairs had a score from one model at most. ``p_value``
    is Holm's for all bins of all duels, and ``words`` are the verdict by it. ``failed`` are lines
    on pairs that were dropped or missed.
    """

    bin: BinRecord
    label: str
    comparison: Comparison
    pairs: npt.NDArray[np.intp]
    dropped: int
    p_value: float
    words: str = ""
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Duel:
    """Two models on all bins they share. ``p_value`` is the overall one corrected as a
    leaderboard's is (`ranks`), ``words`` the verdict by it; ``notes`` say what differs besides the
    models and what was left out. With a margin, ``by_margin`` and ``margin_words`` say whether B is
    as good as A but for that.
    """

    a: Side
    b: Side
    metric: str
    bins: tuple[OnBin, ...]
    overall: Overall
    p_value: float
    notes: tuple[str, ...]
    words: str = ""
    by_margin: MarginVerdict | None = None
    margin_words: str = ""

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


@dataclass(frozen=True, eq=False)
class Apart:
    """Two models that share no bin on which they can be compared, and why."""

    a: Side
    b: Side
    notes: tuple[str, ...]


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
    if margin is not None and not 0 < margin < math.inf:
        raise InputError(f"--margin must be above 0; got {margin:g}")
    named = labels([(sha, each.bin.name) for side in sides for sha, each in side.results.items()])
    read: dict[tuple[int, str], Scored] = {}
    couples = []
    for a, b in itertools.combinations(sides, 2):
        notes = [*_setting_notes(a, b), *_bin_notes(a, b)]
        tasks = []
        for sha256 in a.results:
            if sha256 not in b.results:
                continue
            reason = _why_not(a, b, sha256) or _cannot_be(a.results[sha256], figure)
            if reason is not None:
                notes.append(reason)
                continue
            for side in (a, b):
                if (id(side), sha256) not in read:
                    scores = side.scores(sha256)
                    read[id(side), sha256] = Scored(side.results[sha256], scores).asked(figure)
            tasks.append((read[id(a), sha256], read[id(b), sha256], named[sha256]))
        couples.append((a, b, tasks, notes))
    flat = [task for _, _, tasks, _ in couples for task in tasks]
    found = iter(_in_parallel(lambda task: _on_bin(*task, metric), flat))
    duels, apart = [], []
    for a, b, tasks, notes in couples:
        compared = [next(found) for _ in tasks]
        bins = tuple(_with_failed(each, a, b) for each in compared if isinstance(each, OnBin))
        said = (*notes, *(each for each in compared if isinstance(each, str)))
        said += tuple(f"{each.label}: {line}" for each in bins for line in each.failed)
        if bins:
            known = shared_images(
                {each.label: read[id(a), each.bin.sha256].scores for each in bins}
            )
            overall = combine(
                {each.bin.sha256: each.comparison for each in bins}, across=_across(bins, known)
            )
            if known.words:
                said = (
                    *said,
                    f"{known.words}: they are drawn together, and the mean counts each bin",
                )
            duels.append(Duel(a, b, metric, bins, overall, overall.p_value, said))
        else:
            apart.append(Apart(a, b, said))
    corrected = _corrected(duels)
    if margin is not None:
        apart_by = margin / ranking_digits(figure).scale
        corrected = [_by_margin(duel, apart_by) for duel in corrected]
    return corrected, apart


def _by_margin(duel: Duel, margin: float) -> Duel:
    names = duel.a.label, duel.b.label
    found, words = against_margin(duel.overall, names, margin, duel.figure)
    return replace(duel, by_margin=found, margin_words=words)


def _across(bins: Sequence[OnBin], known: Together) -> dict[str, Ends] | None:
    """What either side of each compared pair shows, numbered alike on all bins, by SHA-256."""
    if known.across is None:
        return None
    return {
        each.bin.sha256: (ends[0][each.pairs], ends[1][each.pairs])
        for each, ends in zip(bins, known.across, strict=True)
    }


def _in_parallel(
    compare: Callable[[tuple[Scored, Scored, str]], OnBin | str],
    tasks: Sequence[tuple[Scored, Scored, str]],
) -> list[OnBin | str]:
    if len(tasks) == 1:
        return [compare(tasks[0])]
    # NumPy lets go of the interpreter in what a comparison does most.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compare, tasks))


def _on_bin(a: Scored, b: Scored, label: str, metric: str) -> OnBin | str:
    """The comparison on one bin, or why there is none."""
    shared = shared_pairs(a, b)
    # Decided anew on these pairs: others would have another threshold.
    compared = compare_pairs(
        a.scores.scores[shared.pairs],
        b.scores.scores[shared.pairs],
        shared.genuine,
        metric=metric,
        sharing=shared.sharing,
        folds=[each.scores.folds_of(shared.pairs) for each in (a, b)],
        lists=shared.lists,
    )
    if compared is None:
        figure, genuine = tested_figure(metric), int(shared.genuine.sum())
        why = figure.lacks(genuine, len(shared.genuine) - genuine)
        if metric == KFOLD_DECISIONS:
            why = "too few pairs of both kinds for ten folds"
        return f"{label}: {figure.label} is undefined ({why}); left out"
    compared = replace(
        compared, only_a=shared.pairs[compared.only_a], only_b=shared.pairs[compared.only_b]
    )
    dropped = len(a.scores.genuine) - len(shared.pairs)
    return OnBin(a.result.bin, label, compared, shared.pairs, dropped, compared.p_value)


def _corrected(duels: Sequence[Duel]) -> list[Duel]:
    of_duels = _of_neighbourhoods(duels)
    of_bins = iter(holm_p_values([each.comparison.p_value for duel in duels for each in duel.bins]))
    found = []
    for duel, p_value in zip(duels, of_duels, strict=True):
        names = duel.a.label, duel.b.label
        bins = []
        for each in duel.bins:
            p = next(of_bins)
            words = verdict(each.comparison, names, p, duel.figure)
            bins.append(replace(each, p_value=p, words=words))
        words = verdict(duel.overall, names, p_value, duel.figure)
        found.append(replace(duel, bins=tuple(bins), p_value=p_value, words=words))
    return found


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


def _setting_notes(a: Side, b: Side) -> list[str]:
    """A line that says which settings differ, if any do."""
    variants = a.key[2], b.key[2]
    for side, variant in zip((a, b), variants, strict=True):
        if variant.flip == UNKNOWN:
            return [
                f"{side.label} was scored elsewhere: its flip, input and precision are not known"
            ]
    differing = [
        f"{field.name.replace('_', ' ')} {getattr(variants[0], field.name)} / "
        f"{getattr(variants[1], field.name)}"
        for field in fields(Variant)
        if getattr(variants[0], field.name) != getattr(variants[1], field.name)
    ]
    if not differing:
        return []
    return [f"settings differ ({a.label} / {b.label}): " + ", ".join(differing)]


def _bin_notes(a: Side, b: Side) -> list[str]:
    """Lines on names that stand for bins of different content, and on bins that one model has."""
    of_a, of_b = _bins_by_name(a), _bins_by_name(b)
    notes = [
        f"{name}: not paired, the bins differ ({_short(of_a[name])} / {_short(of_b[name])})"
        for name in of_a
        if name in of_b and not of_a[name] & of_b[name]
    ]
    for side, own, other in ((a, of_a, of_b), (b, of_b, of_a)):
        alone = [name for name in own if name not in other]
        notes += [f"only {side.label} has a result on {', '.join(alone)}"] if alone else []
    return notes


def _with_failed(found: OnBin, a: Side, b: Side) -> OnBin:
    """The same with lines on pairs that have no score."""
    lines = [f"{found.dropped:,} pairs left out that not both models scored"] * (found.dropped > 0)
    for side in (a, b):
        failed = side.results[found.bin.sha256].failed
        if failed.pairs and failed.how == "missed":
            lines.append(f"{failed.words} by {side.label}, rejected at every threshold")
    return replace(found, failed=tuple(lines))


def _bins_by_name(side: Side) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {}
    for sha256, result in side.results.items():
        named.setdefault(result.bin.name, set()).add(sha256)
    return named


def _short(hashes: set[str]) -> str:
    return ", ".join(sorted(sha256[:8] for sha256 in hashes))


def _why_not(a: Side, b: Side, sha256: str) -> str | None:
    for side in (a, b):
        result = side.results[sha256]
        if result.status != "ok":
            count = int(result.non_finite["count"])
            return (
                f"{result.bin.name}: left out, {side.label} has no scores ({count:,} images not "
                "finite)"
            )
    return None


def _cannot_be(result: Result, figure: Figure) -> str | None:
    why = cannot_have(result.bin, figure)
    return f"{result.bin.name}: {figure.label} is undefined ({why}); left out" if why else None


def nothing_shared(apart: Apart) -> str:
    """Why two models cannot be compared, and what to do."""
    a, b = apart.a, apart.b
    on_a, on_b = (
        ", ".join(f"{result.bin.name} {sha256[:8]}" for sha256, result in side.results.items())
        for side in (a, b)
    )
    why = f" ({'; '.join(apart.notes)})" if apart.notes else ""
    return (
        f"{a.label} and {b.label} share no bin that can be compared{why}: "
        f"{a.label} has {on_a}; {b.label} has {on_b}. Evaluate both on one bin"
    )
