"""Every two of some models, compared on the bins they share."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from evaluator.errors import InputError, ResultError
from evaluator.metrics.protocols import kfold
from evaluator.results.record import BinRecord, Scores, people_ends
from evaluator.results.store import load_scores
from evaluator.results.stored import UNKNOWN, Stored, Variant
from evaluator.statistics.comparison import Comparison, Overall, combine, compare_pairs
from evaluator.statistics.pair_tests import holm_p_values
from zoo.results.selection import Chosen

if TYPE_CHECKING:
    from evaluator.results.store import Ends


@dataclass(frozen=True, eq=False)
class OnBin:
    """Two models on one bin. The indices in ``comparison`` are those of the bin's pairs;
    ``dropped`` pairs had a score from one model at most. ``p_value`` is Holm's.
    """

    bin: BinRecord
    comparison: Comparison
    dropped: int
    p_value: float


@dataclass(frozen=True, eq=False)
class Duel:
    """Two models on all bins they share. ``p_value`` is the overall one after Holm's correction
    for the number of duels; ``notes`` say what differs besides the models and what was left out.
    """

    label_a: str
    label_b: str
    a: Chosen
    b: Chosen
    bins: tuple[OnBin, ...]
    overall: Overall
    p_value: float
    notes: tuple[str, ...]


def compare_models(
    models: Sequence[Chosen], *, replicates: int = 10_000, seed: int = 0
) -> list[Duel]:
    """All pairs of the models, in the order given, by their k-fold decisions on shared bins.

    A bin is shared where its SHA-256 is; only pairs that both models scored count. P-values of
    bins are corrected by Holm for all bins of all duels, overall ones for all duels. Raises
    InputError where two models are one or share no bin, ResultError for scores that are not there.
    """
    labels = _labels(models)
    scores: dict[str, Scores] = {}
    duels = []
    for (a, label_a), (b, label_b) in itertools.combinations(zip(models, labels, strict=True), 2):
        if a.identity == b.identity and a.variant == b.variant:
            raise InputError(
                f"{a.asked} and {b.asked} are one model with the same settings ({a.identity[:8]}); "
                "nothing to compare"
            )
        bins, notes = [], _setting_notes(a, b, label_a, label_b)
        notes += _bin_notes(a, b, label_a, label_b)
        for sha256 in a.results:
            if sha256 not in b.results:
                continue
            pair = (a.results[sha256], b.results[sha256])
            reason = _why_not(pair, (label_a, label_b))
            if reason:
                notes.append(reason)
                continue
            compared = _on_bin(pair, scores, replicates=replicates, seed=seed)
            if compared is None:
                name = pair[0].result.bin.name
                notes.append(f"{name}: too few pairs of both kinds for ten folds; left out")
            else:
                bins.append(compared)
        if not bins:
            raise InputError(_nothing_shared(a, b, notes))
        overall = combine({each.bin.sha256: each.comparison for each in bins}, seed=seed)
        duels.append(
            Duel(label_a, label_b, a, b, tuple(bins), overall, overall.p_value, tuple(notes))
        )
    return _corrected(duels)


def _corrected(duels: Sequence[Duel]) -> list[Duel]:
    of_duels = holm_p_values([duel.overall.p_value for duel in duels])
    of_bins = iter(holm_p_values([each.comparison.p_value for duel in duels for each in duel.bins]))
    return [
        replace(
            duel,
            p_value=p_value,
            bins=tuple(replace(each, p_value=next(of_bins)) for each in duel.bins),
        )
        for duel, p_value in zip(duels, of_duels, strict=True)
    ]


def _on_bin(
    pair: tuple[Stored, Stored], cache: dict[str, Scores], *, replicates: int, seed: int
) -> OnBin | None:
    """The comparison on one bin, or None where its pairs make no ten folds of both kinds."""
    a, b = (_scores(stored, cache) for stored in pair)
    if not np.array_equal(a.genuine, b.genuine):
        raise ResultError(
            f"{pair[1].path}: its labels are not those of {pair[0].path}, though the bin's hash "
            "is the same; evaluate both with --fresh"
        )
    both = np.flatnonzero(np.isfinite(a.scores) & np.isfinite(b.scores))
    genuine = a.genuine[both]
    folds = [kfold(each.scores[both], genuine) for each in (a, b)]
    if folds[0] is None or folds[1] is None:
        return None
    compared = compare_pairs(
        a.scores[both],
        b.scores[both],
        genuine,
        correct_a=folds[0].correct,
        correct_b=folds[1].correct,
        images=_ends(pair[0], a, both),
        identities=people_ends(a, both) or people_ends(b, both),
        replicates=replicates,
        seed=seed,
    )
    compared = replace(compared, only_a=both[compared.only_a], only_b=both[compared.only_b])
    return OnBin(pair[0].result.bin, compared, len(a.genuine) - len(both), compared.p_value)


def _scores(stored: Stored, cache: dict[str, Scores]) -> Scores:
    key = str(stored.path)
    if key not in cache:
        cache[key] = load_scores(stored.path, stored.result)
    return cache[key]


def _ends(
    stored: Stored, scores: Scores, pairs: np.ndarray[tuple[int], np.dtype[np.intp]]
) -> Ends | None:
    """The image numbers of either side of the pairs; None where they are not known."""
    if not stored.result.bin.unique_images:
        return None
    return scores.images[0::2][pairs], scores.images[1::2][pairs]


def _labels(models: Sequence[Chosen]) -> list[str]:
    """A name for each model, with its settings or hash where the name alone says too little."""
    names = [model.name for model in models]
    labels = []
    for model in models:
        label = model.name
        same = [other for other in models if other.name == model.name]
        if len({other.identity for other in same}) > 1:
            label += f" ({model.identity[:8]})"
        if len({other.variant for other in same}) > 1 and model.variant is not None:
            label += f" ({model.variant.words() or 'default'})"
        labels.append(label if names.count(model.name) > 1 else model.name)
    return labels


def _setting_notes(a: Chosen, b: Chosen, label_a: str, label_b: str) -> list[str]:
    """A line that says which settings differ, if any do."""
    if a.variant is None or b.variant is None:
        return []
    for label, variant in ((label_a, a.variant), (label_b, b.variant)):
        if variant.flip == UNKNOWN:
            return [f"{label} was scored elsewhere: its flip, input and precision are not known"]
    differing = [
        f"{field.name} {getattr(a.variant, field.name)} / {getattr(b.variant, field.name)}"
        for field in fields(Variant)
        if getattr(a.variant, field.name) != getattr(b.variant, field.name)
    ]
    if not differing:
        return []
    return [f"settings differ ({label_a} / {label_b}): " + ", ".join(differing)]


def _bin_notes(a: Chosen, b: Chosen, label_a: str, label_b: str) -> list[str]:
    """Lines on names that stand for bins of different content, and on bins that one model has."""
    of_a, of_b = _bins_by_name(a.results), _bins_by_name(b.results)
    notes = [
        f"{name}: not paired, the bins differ ({_short(of_a[name])} / {_short(of_b[name])})"
        for name in of_a
        if name in of_b and not of_a[name] & of_b[name]
    ]
    for label, own, other in ((label_a, of_a, of_b), (label_b, of_b, of_a)):
        alone = [name for name in own if name not in other]
        notes += [f"only {label} has a result on {', '.join(alone)}"] if alone else []
    return notes


def _bins_by_name(results: Mapping[str, Stored]) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {}
    for sha256, stored in results.items():
        named.setdefault(stored.result.bin.name, set()).add(sha256)
    return named


def _short(hashes: set[str]) -> str:
    return ", ".join(sorted(sha256[:8] for sha256 in hashes))


def _why_not(pair: tuple[Stored, Stored], labels: tuple[str, str]) -> str | None:
    for stored, label in zip(pair, labels, strict=True):
        if stored.result.status != "ok":
            count = int(stored.result.non_finite["count"])
            name = stored.result.bin.name
            return f"{name}: left out, {label} has no scores ({count:,} images not finite)"
    return None


def _nothing_shared(a: Chosen, b: Chosen, notes: Sequence[str]) -> str:
    on_a, on_b = (
        ", ".join(
            f"{stored.result.bin.name} {sha256[:8]}" for sha256, stored in each.results.items()
        )
        for each in (a, b)
    )
    why = f" ({'; '.join(notes)})" if notes else ""
    return (
        f"{a.asked} and {b.asked} share no bin that can be compared{why}: "
        f"{a.asked} has {on_a}; {b.asked} has {on_b}. Evaluate both on one bin"
    )
