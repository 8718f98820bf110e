"""Two models on the bins they share: which pairs, whose people, one test, and its words.

Who compares models asks here, so that `zoo compare`, `zoo report` and Python have one answer.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from evaluator.metrics.protocols import kfold
from evaluator.results.choice import Contestant, Variant, labels
from evaluator.results.overlap import Together, shared_images, variance_together
from evaluator.results.record import BinRecord, Result, Scores
from evaluator.results.store import load_scores
from evaluator.results.stored import UNKNOWN
from evaluator.statistics.comparison import (
    Comparison,
    Overall,
    combine,
    compare_pairs,
    verdict_among,
)
from evaluator.statistics.pair_tests import SIGNIFICANCE, holm_p_values
from evaluator.statistics.shared_pairs import Scored, shared_pairs

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Ends = tuple[IntArray, IntArray]
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
    """Two models on one bin. The indices in ``comparison`` are those of the bin's pairs;
    ``dropped`` pairs had a score from one model at most. ``p_value`` is Holm's for all bins of all
    duels, and ``words`` are the verdict by it.
    """

    bin: BinRecord
    label: str
    comparison: Comparison
    dropped: int
    p_value: float
    words: str = ""


@dataclass(frozen=True, eq=False)
class Duel:
    """Two models on all bins they share. ``p_value`` is the overall one after Holm's correction
    for the number of duels, ``words`` the verdict by it; ``notes`` say what differs besides the
    models and what was left out.
    """

    a: Side
    b: Side
    bins: tuple[OnBin, ...]
    overall: Overall
    p_value: float
    notes: tuple[str, ...]
    words: str = ""

    @property
    def separable(self) -> bool:
        """Whether the difference is real at 5 %, after correction."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True, eq=False)
class Apart:
    """Two models that share no bin on which they can be compared, and why."""

    a: Side
    b: Side
    notes: tuple[str, ...]


def compare_sides(
    sides: Sequence[Side], *, replicates: int = 10_000, seed: int = 0
) -> tuple[list[Duel], list[Apart]]:
    """Every two of the models, in the order given, by their k-fold decisions on shared bins.

    A bin is shared where its SHA-256 is; only pairs that both models scored count. P-values of
    bins are corrected by Holm for all bins of all duels, overall ones for all duels. The same
    scores give the same numbers. Raises ResultError for scores that cannot be read, or that are
    not of one bin.
    """
    named = labels([(sha, each.bin.name) for side in sides for sha, each in side.results.items()])
    read: dict[tuple[int, str], Scored] = {}
    couples = []
    for a, b in itertools.combinations(sides, 2):
        notes = [*_setting_notes(a, b), *_bin_notes(a, b)]
        tasks = []
        for sha256 in a.results:
            if sha256 not in b.results:
                continue
            reason = _why_not(a, b, sha256)
            if reason is not None:
                notes.append(reason)
                continue
            for side in (a, b):
                if (id(side), sha256) not in read:
                    scores = side.scores(sha256)
                    read[id(side), sha256] = Scored(side.results[sha256], scores)
            tasks.append((read[id(a), sha256], read[id(b), sha256], named[sha256]))
        couples.append((a, b, tasks, notes))
    flat = [task for _, _, tasks, _ in couples for task in tasks]
    found = iter(_in_parallel(lambda task: _on_bin(*task, replicates, seed), flat))
    duels, apart = [], []
    for a, b, tasks, notes in couples:
        compared = [next(found) for _ in tasks]
        bins = tuple(each for each in compared if isinstance(each, OnBin))
        said = (*notes, *(each for each in compared if isinstance(each, str)))
        if bins:
            of_bins = {each.bin.sha256: each.comparison for each in bins}
            known = shared_images(
                {each.label: read[id(a), each.bin.sha256].scores for each in bins}
            )
            together = _together(bins, known)
            overall = combine(of_bins, seed=seed, together=together)
            if known.words:
                said = (
                    *said,
                    f"{known.words}: they are drawn together, and the mean counts each bin",
                )
            duels.append(Duel(a, b, bins, overall, overall.p_value, said))
        else:
            apart.append(Apart(a, b, said))
    return _corrected(duels), apart


def _together(bins: Sequence[OnBin], known: Together) -> float:
    """Times by which what the bins share multiplies the variance of the mean difference."""
    if known.across is None:
        return 1.0
    errors = []
    for each in bins:
        own = np.zeros(each.bin.pairs)
        own[each.comparison.only_a], own[each.comparison.only_b] = 1.0, -1.0
        errors.append(own / each.comparison.pairs)
    return variance_together(errors, known.across)


def _in_parallel(
    compare: Callable[[tuple[Scored, Scored, str]], OnBin | str],
    tasks: Sequence[tuple[Scored, Scored, str]],
) -> list[OnBin | str]:
    if len(tasks) == 1:
        return [compare(tasks[0])]
    # NumPy lets go of the interpreter in what a comparison does most.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compare, tasks))


def _on_bin(a: Scored, b: Scored, label: str, replicates: int, seed: int) -> OnBin | str:
    """The comparison on one bin, or why there is none."""
    shared = shared_pairs(a, b)
    scores = [each.scores.scores[shared.pairs] for each in (a, b)]
    # Decided anew on these pairs: folds of other pairs would have other thresholds.
    # Of a list, each model has the folds that its own figure has.
    numbers = [each.scores.folds_of(shared.pairs) for each in (a, b)]
    folds = [
        kfold(own, shared.genuine, 10 if of_own is None else of_own)
        for own, of_own in zip(scores, numbers, strict=True)
    ]
    if folds[0] is None or folds[1] is None:
        return f"{label}: too few pairs of both kinds for ten folds; left out"
    compared = compare_pairs(
        scores[0],
        scores[1],
        shared.genuine,
        correct_a=folds[0].correct,
        correct_b=folds[1].correct,
        images=shared.images,
        identities=shared.people,
        replicates=replicates,
        seed=seed,
    )
    compared = replace(
        compared, only_a=shared.pairs[compared.only_a], only_b=shared.pairs[compared.only_b]
    )
    dropped = len(a.scores.genuine) - len(shared.pairs)
    return OnBin(a.result.bin, label, compared, dropped, compared.p_value)


def _corrected(duels: Sequence[Duel]) -> list[Duel]:
    of_duels = holm_p_values([duel.overall.p_value for duel in duels])
    of_bins = iter(holm_p_values([each.comparison.p_value for duel in duels for each in duel.bins]))
    found = []
    for duel, p_value in zip(duels, of_duels, strict=True):
        names = duel.a.label, duel.b.label
        bins = []
        for each in duel.bins:
            p = next(of_bins)
            words = verdict_among(each.comparison, names, p)
            bins.append(replace(each, p_value=p, words=words))
        words = verdict_among(duel.overall, names, p_value)
        found.append(replace(duel, bins=tuple(bins), p_value=p_value, words=words))
    return found


def _setting_notes(a: Side, b: Side) -> list[str]:
    """A line that says which settings differ, if any do."""
    variants = a.key[2], b.key[2]
    for side, variant in zip((a, b), variants, strict=True):
        if variant.flip == UNKNOWN:
            return [
                f"{side.label} was scored elsewhere: its flip, input and precision are not known"
            ]
    differing = [
        f"{field.name} {getattr(variants[0], field.name)} / {getattr(variants[1], field.name)}"
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
