"""Published figures derived again: each beside what was measured here, on which bin; as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.errors import InputError, ResultError
from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.figures.accuracy import interval_of
from evaluator.metrics.protocols import seed300
from evaluator.models.identity import model_sha256
from evaluator.results.measured import path_of
from evaluator.results.record import Result, Settings
from evaluator.results.store import load_scores
from evaluator.results.stored import Store, Stored
from evaluator.statistics.shared_pairs import Scored
from zoo.entries.lookup import resolve_models
from zoo.entries.public_bins import MOVES, UNTOLD, Likeness, likeness
from zoo.entries.registry import Entry
from zoo.evaluate.evaluation import run_request
from zoo.evaluate.request import Request
from zoo.terminal.blocks import Block, csv_rows

#: What is said of a published figure; of one measured on another bin, or not finite, these words.
AGREES, DIFFERS, NOT_MEASURED = "agrees", "differs", "not measured"


@dataclass(frozen=True)
class Check:
    """A published accuracy beside the one measured here, with its 95 % interval; None: there is
    none, and ``why`` says so in words. ``sha256`` is of the bin here, ``bin`` what it is.
    """

    entry: str
    name: str
    protocol: str
    published: float
    measured: float | None = None
    interval: tuple[float, float] | None = None
    sha256: str | None = None
    bin: Likeness = UNTOLD
    why: str = ""

    @property
    def word(self) -> str:
        """``agrees`` where the published figure lies in the interval, else what keeps it."""
        if self.sha256 is None:
            return NOT_MEASURED
        if self.bin.same is False:
            return "other bin"
        if self.interval is None or self.measured is None:
            return "not finite" if self.measured is None else "no interval"
        return AGREES if self.interval[0] <= self.published <= self.interval[1] else DIFFERS

    @property
    def difference(self) -> float | None:
        """How much more was measured than is published."""
        return None if self.measured is None else self.measured - self.published


def checks_of(
    entry: Entry, how: Request, store: Store, known: Mapping[str, Path], *, needed: bool
) -> tuple[list[Check], list[str]]:
    """A check of every published figure of an entry, and a line for each failure.

    What is in the ``store`` answers; the rest is measured, ``how`` it is asked for, where weights
    and bins are at hand, the ``known`` ones by name. ``needed``: the entry was named, and it is an
    error where nothing of it can be measured. Raises InputError, OSError.
    """
    if not entry.published:
        raise InputError(f"entry {entry.name!r} has no published figures to compare with")
    found = published_results(entry, store)
    here = entry.file.exists()
    bins = {name: known[name] for name in entry.published if name in known}
    failures: list[str] = []
    if needed and not found and not (here and bins):
        resolve_models([entry.name], {entry.name: entry})  # says where its weights should be
        raise InputError(
            f"entry {entry.name!r} has figures on {', '.join(entry.published)}, and none of these "
            "bins is here; name their folder with --data DIR"
        )
    if here and bins:
        try:
            models = resolve_models([entry.name], {entry.name: entry})
            request = replace(how, models=models, bins=[*bins.values()], flip=entry.flip)
            measured, failures = run_request(request)
        except InputError as error:
            if needed:
                raise
            measured, failures = [], [str(error)]
        found |= {each.bin.name: Stored(path_of(each, how.results), each) for each in measured}
    lacks = "its weights are not here" if not here else "the bin is not here"
    why = {name: failures[0] if failures and name in bins else lacks for name in entry.published}
    checks, damaged = _checks(entry, found, why)
    return checks, [*failures, *damaged]


def stored_checks(entry: Entry, store: Store) -> list[Check]:
    """A check of every published figure of an entry, by what is stored alone. Raises OSError."""
    why = dict.fromkeys(entry.published, "nothing of it is stored")
    return _checks(entry, published_results(entry, store), why)[0]


def _checks(
    entry: Entry, found: Mapping[str, Stored], why: Mapping[str, str]
) -> tuple[list[Check], list[str]]:
    """The checks by what was found, ``why`` nothing was; and a line for each that is damaged."""
    checks, damaged = [], []
    for name in entry.published:
        try:
            checks.append(_checked(entry, name, found.get(name), why[name]))
        except ResultError as error:
            damaged.append(str(error))
            checks.append(_checked(entry, name, None, str(error)))
    return checks, damaged


def results_of_entry(entry: Entry, store: Store) -> list[Stored]:
    """What is stored of an entry's very file, whatever it was called then; none where its SHA-256
    is neither stated nor to be had from the file. Raises OSError.
    """
    known = entry.sha256 or (model_sha256(entry.file) if entry.file.exists() else None)
    return [each for each in store.results if each.result.model.sha256 == known]


def published_results(entry: Entry, store: Store) -> dict[str, Stored]:
    """What is stored of an entry as its figures were published, by the name of the bin: of several
    the one that is likeliest the published bin, then the newest.
    """
    usual = Settings(flip=entry.flip)
    found: dict[str, Stored] = {}
    order = {True: 2, None: 1, False: 0}
    ranked = [
        (order[_likeness(entry, each.result).same], each.result.created, each)
        for each in results_of_entry(entry, store)
        if each.result.bin.name in entry.published
        and each.result.settings == usual
        and each.result.model.input.get("range") == entry.profile
        and each.result.model.input.get("channels") == entry.channels
    ]
    for _, _, each in sorted(ranked, key=lambda one: one[:2]):
        found[each.result.bin.name] = each
    return found


def _likeness(entry: Entry, result: Result) -> Likeness:
    name = result.bin.name
    return likeness(name, entry.published[name], entry.published_images, result.bin)


def _checked(entry: Entry, name: str, stored: Stored | None, why: str) -> Check:
    """A published figure beside a result, None where there is none. Raises ResultError."""
    protocol = f"{entry.protocol}, flip sum" if entry.flip == "sum" else str(entry.protocol)
    head = entry.name, name, protocol, entry.published[name].accuracy
    if stored is None:
        return Check(*head, why=why)
    found = _likeness(entry, stored.result)
    measured, interval = _accuracy(entry, stored)
    return Check(*head, measured, interval, stored.result.bin.sha256, found)


def _accuracy(entry: Entry, stored: Stored) -> tuple[float | None, tuple[float, float] | None]:
    """The accuracy under the entry's protocol and its 95 % interval; None if undefined or not
    finite.
    """
    if stored.result.figures is None:
        return None, None
    scored = Scored(stored.result, load_scores(stored.path, stored.result))
    if entry.protocol == "seed300":  # the one protocol that is no figure of results
        best = seed300(scored.sorted.pairs.scores, scored.sorted.pairs.is_genuine)
        ends = None if best is None else interval_of(best, scored.sorted, scored.sharing)
        return None if best is None else best.accuracy, ends
    protocol = entry.protocol if entry.protocol in ("kfold", "insightface") else "accuracy"
    figure = all_figures()[protocol]
    return figure.read(stored.result.figures), scored.interval_of(figure)


# ---- As text -------------------------------------------------------------------------------------


_HEADER = ("model", "bin", "published", "ours", "diff", "95 %", "word")


def blocks_of(checks: Sequence[Check]) -> list[Block]:
    """A row a published figure; under them why figures are missing, and what the bins are."""
    measured = [each for each in checks if each.sha256 is not None]
    lines = [(f"not measured, {each.why}", each.entry) for each in checks if each.why]
    lines += [
        (f"other bin, {each.bin.why}", f"{each.entry} on {each.name}")
        for each in measured
        if each.bin.same is False
    ]
    lines += [
        (each.bin.why, f"{each.name} ({(each.sha256 or '')[:8]})")
        for each in measured
        if each.bin.same is not False
    ]
    notes = _gathered(lines)
    if any(each.bin.same is not True for each in measured):
        notes.append(f"what another bin can do: {MOVES}")
    notes += _gathered((f"protocol {each.protocol}", each.entry) for each in checks)
    title = "published accuracy and ours, in %, with the 95 % interval of ours"
    return [Block(title, _HEADER, tuple(map(_cells, checks)), tuple(notes), words=2)]


def _gathered(lines: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each that is said, with all of whom it is said, each once."""
    found: dict[str, dict[str, None]] = {}
    for said, of in lines:
        found.setdefault(said, {})[of] = None
    return [f"{said}: {', '.join(of)}" for said, of in found.items() if said]


def _cells(each: Check) -> tuple[str, ...]:
    interval = (
        "-" if each.interval is None else "-".join(f"{100 * end:.2f}" for end in each.interval)
    )
    ours = "-" if each.measured is None else f"{100 * each.measured:.2f}"
    apart = "-" if each.difference is None else f"{100 * each.difference:+.2f}"
    return each.entry, each.name, f"{100 * each.published:.2f}", ours, apart, interval, each.word


def _values(each: Check) -> dict[str, object]:
    low, high = each.interval or (None, None)
    return {
        "model": each.entry,
        "bin": each.name,
        "protocol": each.protocol,
        "published": each.published,
        "ours": each.measured,
        "difference": each.difference,
        "low95": low,
        "high95": high,
        "word": each.word,
        "why": each.why or each.bin.why or None,
        "bin_sha256": each.sha256,
    }


def csv_checks(checks: Sequence[Check]) -> str:
    """A row a published figure, with every digit."""
    rows = [_values(each) for each in checks]
    return csv_rows(list(rows[0]), [list(row.values()) for row in rows])


def json_checks(checks: Sequence[Check]) -> str:
    """A JSON object with ``checks``, an object a published figure; null is unknown."""
    found = {"schema": 1, "checks": [_values(each) for each in checks]}
    return json.dumps(found, indent=2, allow_nan=False) + "\n"
