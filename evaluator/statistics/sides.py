"""Models to be compared: their results and scores, and how two differ besides in these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

from evaluator.metrics.figure import Figure
from evaluator.results.choice import Contestant, Variant
from evaluator.results.record import Result, Scores, cannot_have
from evaluator.results.store import load_scores
from evaluator.results.stored import UNKNOWN

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
class Apart:
    """Two models that share no bin on which they can be compared, and why."""

    a: Side
    b: Side
    notes: tuple[str, ...]


def setting_notes(a: Side, b: Side) -> list[str]:
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


def bin_notes(a: Side, b: Side) -> list[str]:
    """Lines on names that stand for bins of different content, and on bins that one model has."""
    of_a, of_b = _bins_by_name(a), _bins_by_name(b)
    notes = [
        f"{name}: not paired, the bins differ ({_short(of_a[name])} / {_short(of_b[name])})"
        for name in of_a
        if name in of_b and not of_a[name] & of_b[name]
    ]
    return [*notes, *alone_notes(a, b)]


def alone_notes(a: Side, b: Side) -> list[str]:
    """Lines on bins that one of two models alone has results on."""
    of_a, of_b = _bins_by_name(a), _bins_by_name(b)
    notes = []
    for side, own, other in ((a, of_a, of_b), (b, of_b, of_a)):
        alone = [name for name in own if name not in other]
        notes += [f"only {side.label} has a result on {', '.join(alone)}"] if alone else []
    return notes


def gathered(notes: Iterable[str]) -> list[str]:
    """Notes, those that say the same of several bins in one line, as "lfw, cfp: ..."."""
    found: dict[str, dict[str, None]] = {}
    for note in notes:
        of, _, said = note.rpartition(": ")
        found.setdefault(said, {})[of] = None
    return [f"{', '.join(of)}: {said}" if any(of) else said for said, of in found.items()]


def _bins_by_name(side: Side) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {}
    for sha256, result in side.results.items():
        named.setdefault(result.bin.name, set()).add(sha256)
    return named


def _short(hashes: set[str]) -> str:
    return ", ".join(sorted(sha256[:8] for sha256 in hashes))


def left_out(side: Side, sha256: str, figure: Figure) -> str:
    """Why a model's result on a bin cannot be compared by a figure; empty where it can."""
    result = side.results[sha256]
    if result.status != "ok":
        count = int(result.non_finite["count"])
        return (
            f"{result.bin.name}: left out, {side.label} has no scores ({count:,} images not finite)"
        )
    why = cannot_have(result.bin, figure)
    return f"{result.bin.name}: {figure.label} is undefined ({why}); left out" if why else ""


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
