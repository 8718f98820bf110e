"""The cosine to ship a model with, from stored scores, and what it gives on each bin; as text."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluator.conditions.pairs import PairSet
from evaluator.errors import InputError
from evaluator.metrics.deployment import (
    DeploymentThreshold,
    TooFewImpostorsError,
    deployment_threshold,
)
from evaluator.metrics.rates import Rates
from evaluator.results.names import labels
from evaluator.results.record import BinRecord, Failed
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored
from zoo.results.selection import Chosen
from zoo.terminal.blocks import Block, csv_rows, interval_text, print_as, rate_text
from zoo.terminal.table import spaceless
from zoo.terminal.words import rich_terminal


@dataclass(frozen=True)
class OnBin:
    """The rates of a threshold on one bin, and how many of its pairs ``failed``."""

    bin: BinRecord
    label: str
    rates: Rates
    failed: Failed


@dataclass(frozen=True)
class Deployment:
    """A threshold, and its rates on all bins together and bin by bin.

    ``chosen`` says how the impostors of all bins chose it, None where it was given. ``elsewhere``
    are two bins each: the one whose own impostors chose a threshold as surely, and the rates of
    that one on another. ``notes`` say which bins were left out.
    """

    model: Chosen
    chosen: DeploymentThreshold | None
    rates: Rates
    bins: tuple[OnBin, ...]
    elsewhere: tuple[tuple[OnBin, OnBin], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Scored:
    """The pairs of a bin that rates are of."""

    bin: BinRecord
    label: str
    pairs: PairSet
    failed: Failed

    def rates(self, threshold: float) -> OnBin:
        """Those of a threshold on this bin."""
        return OnBin(self.bin, self.label, self.pairs.rates_at(threshold), self.failed)


def choose_threshold(model: Chosen, far: float, confidence: float) -> Deployment:
    """The threshold that keeps ``far``, from the impostors of all the model's results.

    Raises InputError for no usable scores, a wrong rate, and where the impostors cannot tell;
    ResultError for scores that are not there.
    """
    scored, notes = _scored(model)
    try:
        chosen = _threshold(_together(scored), far, confidence)
    except TooFewImpostorsError as error:
        raise InputError(f"{model.name}: {error}") from None
    bins = tuple(each.rates(chosen.threshold) for each in scored)
    elsewhere = []
    for own in scored if len(scored) > 1 else ():
        try:
            threshold = _threshold(own.pairs, far, confidence).threshold
        except TooFewImpostorsError as error:
            takes = f"that takes about {error.needed:,} impostor pairs like its {error.impostors:,}"
            notes.append(f"{own.label}: no threshold of its own, {takes}")
            continue
        elsewhere += [
            (own.rates(threshold), other.rates(threshold)) for other in scored if other is not own
        ]
    return Deployment(model, chosen, chosen.rates, bins, tuple(elsewhere), tuple(notes))


def check_threshold(model: Chosen, threshold: float) -> Deployment:
    """What a threshold gives on all the model's results. Raises InputError for no usable scores."""
    scored, notes = _scored(model)
    bins = tuple(each.rates(threshold) for each in scored)
    rates = _together(scored).rates_at(threshold)
    return Deployment(model, None, rates, bins, (), tuple(notes))


def _threshold(pairs: PairSet, far: float, confidence: float) -> DeploymentThreshold:
    return deployment_threshold(
        pairs.scores,
        pairs.genuine,
        far,
        confidence=confidence,
        images=pairs.images,
        people=pairs.people,
    )


def _scored(model: Chosen) -> tuple[list[_Scored], list[str]]:
    """The scores of each usable result, and notes on those left out."""
    usable = {sha: each for sha, each in model.results.items() if each.result.status == "ok"}
    notes = [
        f"{each.result.bin.name}: left out, its result is {each.result.status}"
        for sha, each in model.results.items()
        if sha not in usable
    ]
    if not usable:
        raise InputError(f"{model.asked}: no usable scores ({'; '.join(notes)})")
    named = labels([(sha, each.result.bin.name) for sha, each in usable.items()])
    return [_load(each, named[sha]) for sha, each in usable.items()], notes


def _load(stored: Stored, label: str) -> _Scored:
    scores, record = load_scores(stored.path, stored.result), stored.result.bin
    images = scores.images if record.unique_images else None
    pairs = PairSet(scores.scores, scores.genuine, images, scores.people).only(scores.counted)
    return _Scored(record, label, pairs, stored.result.failed)


def _together(scored: Sequence[_Scored]) -> PairSet:
    """The pairs of all bins, as of one; bins share no one with one another."""
    if len(scored) == 1:
        return scored[0].pairs
    known = all(each.pairs.people is not None for each in scored)
    slots, numbers = [], 0
    for each in (one.pairs for one in scored):
        own = each.images if each.people is None else each.people
        own = np.arange(2 * len(each.scores)) if own is None else own
        _, renumbered = np.unique(own, return_inverse=True)
        slots.append(renumbered.astype(np.int64) + numbers)
        numbers += int(renumbered.max(initial=-1)) + 1
    together = np.concatenate(slots)
    return PairSet(
        np.concatenate([each.pairs.scores for each in scored]),
        np.concatenate([each.pairs.genuine for each in scored]),
        None if known else together,
        together if known else None,
    )


# ---- As text -------------------------------------------------------------------------------------


# With more bins, of each bin's threshold only where it is most lenient is shown.
_FULL_MATRIX = 4


def print_deployment(found: Deployment, form: str) -> None:
    """Prints the threshold and the rates on stdout by --format; a table plain in a pipe."""
    if form == "table" and rich_terminal() is None:
        sys.stdout.write(plain_deployment(found))
    else:
        print_as(form, found, blocks_of, csv=csv_deployment, json=json_deployment)


def blocks_of(found: Deployment) -> list[Block]:
    """What is printed of a threshold: it, its rates by bin, and each bin's own on the others."""
    accept = f"accept if the cosine is above {cosine_text(found.rates.threshold)}"
    title = f"{found.model.name}: {accept} {_interval(found)}".rstrip()
    heads = ("impostors", "FAR\n95 %", "genuine", "FRR\n95 %")
    rows = tuple(
        (label, f"{each.impostors:,}", far, f"{each.genuine:,}", frr)
        for label, each in _rows(found)
        for far, frr in [_cells(each)]
    )
    blocks = [Block(title, ("bin", *heads), rows, strong=True)]
    if others := _elsewhere(found):
        title = "Each bin's own threshold on the others"
        rows = tuple((*names, *_cells(rates)) for names, rates in others)
        blocks.append(Block(title, ("threshold of", "cosine", "on", *heads[1::2]), rows, words=3))
    reading = (*_caption(found), *(f"note: {note}" for note in _notes(found)))
    return [*blocks, Block("Reading it", notes=reading)]


def _rows(found: Deployment) -> list[tuple[str, Rates]]:
    rows = [(each.label, each.rates) for each in found.bins]
    return [*rows, ("all bins", found.rates)] if len(rows) > 1 else rows


def _elsewhere(found: Deployment) -> list[tuple[tuple[str, str, str], Rates]]:
    """The bin whose threshold it is, that threshold, and the other bin, with the rates there."""
    shown = found.elsewhere
    if len(found.bins) > _FULL_MATRIX:
        worst: dict[str, tuple[OnBin, OnBin]] = {}
        for own, other in found.elsewhere:
            before = worst.get(own.bin.sha256)
            if before is None or (other.rates.far or 0) > (before[1].rates.far or 0):
                worst[own.bin.sha256] = own, other
        shown = tuple(worst.values())
    return [
        ((own.label, cosine_text(own.rates.threshold), other.label), other.rates)
        for own, other in shown
    ]


def plain_deployment(found: Deployment) -> str:
    """The threshold alone on the first line that is no comment, then a line a bin."""
    lines = [
        f"# {found.model.name} {found.model.identity}",
        f"threshold {cosine_text(found.rates.threshold)} {_interval(found)}".rstrip(),
    ]
    rows = [["bin", "impostors", "FAR", "FAR_95%", "genuine", "FRR", "FRR_95%"]]
    for label, rates in _rows(found):
        far, far_95, frr, frr_95 = _plain_cells(rates)
        rows.append([label, str(rates.impostors), far, far_95, str(rates.genuine), frr, frr_95])
    lines += spaceless(rows)
    if others := _elsewhere(found):
        heads = ["threshold_of", "cosine", "on", "FAR", "FAR_95%", "FRR", "FRR_95%"]
        lines.append("# each bin's own threshold on the others")
        lines += spaceless([heads, *([*names, *_plain_cells(rates)] for names, rates in others)])
    lines += [f"# {text}" for text in (*_caption(found), *_notes(found))]
    return "\n".join(lines) + "\n"


def _cells(rates: Rates) -> tuple[str, str]:
    """FAR and FRR, each above its interval."""
    return (
        f"{rate_text(rates.far)}\n{interval_text(rates.far_ci95)}",
        f"{rate_text(rates.frr)}\n{interval_text(rates.frr_ci95)}",
    )


def _plain_cells(rates: Rates) -> list[str]:
    parts = [cell.split("\n") for cell in _cells(rates)]
    return [text for rate, ends in parts for text in (rate, f"[{ends}]")]


def cosine_text(value: float) -> str:
    """A threshold with four digits where these are all of it, else with every digit it has."""
    short = f"{value:.4f}"
    return short if float(short) == value else repr(value)


def _interval(found: Deployment) -> str:
    if found.chosen is None:
        return ""
    low, high = found.chosen.interval
    return f"[{low:.4f}, {'unknown' if high is None else f'{high:.4f}'}]"


def _caption(found: Deployment) -> list[str]:
    last = "In brackets: 95 % intervals."
    if found.chosen is None:
        return [last]
    return [*_promise(found.chosen, found.bins), last]


def _promise(chosen: DeploymentThreshold, bins: Sequence[OnBin]) -> list[str]:
    whose = f"all {len(bins)} bins together" if len(bins) > 1 else bins[0].label
    pairs, plain = chosen.rates.impostors, chosen.empirical
    worth = (
        "taken as independent"
        if chosen.effect == 1
        else f"worth {pairs / chosen.effect:,.0f} independent ones"
    )
    lines = [
        f"Chosen so that at {100 * chosen.confidence:g} % confidence at most "
        f"{chosen.target_far:g} of fresh strangers pass, people like the impostors of {whose} "
        f"({pairs:,} pairs, {worth})."
    ]
    if plain.frr is not None:
        above = math.ceil(plain.threshold * 1e4) / 1e4
        lines.append(
            f"At {above:.4f}, where at most {chosen.target_far:g} of these very pairs pass, FRR is "
            f"{rate_text(plain.frr)} [{interval_text(plain.frr_ci95)}]; of fresh strangers often "
            "more pass."
        )
    return lines


# What became of pairs that have no score -> what rates make of them.
_TAKEN = {"dropped": "left out", "missed": "accepted at no threshold"}


def _notes(found: Deployment) -> list[str]:
    notes = list(found.notes)
    if len(found.bins) > _FULL_MATRIX and found.elsewhere:
        notes.append(
            "of each bin's own threshold, where its FAR is highest; --format csv and json have all"
        )
    return notes + [
        f"{each.label}: {each.failed.words}, {_TAKEN[each.failed.how]}"
        for each in found.bins
        if each.failed.pairs
    ]


def csv_deployment(found: Deployment) -> str:
    """A row a bin, one of all bins, and one a bin's own threshold on another."""
    own = "" if found.chosen is None else "all bins" if len(found.bins) > 1 else found.bins[0].label
    rows = [_csv_row(found.model.name, own, *row) for row in _rows(found)]
    for chooser, other in found.elsewhere:
        rows.append(_csv_row(found.model.name, chooser.label, other.label, other.rates))
    header = ("model", "threshold_of", "threshold", "bin", "impostors", "far", "far_low95")
    return csv_rows((*header, "far_high95", "genuine", "frr", "frr_low95", "frr_high95"), rows)


def _csv_row(model: str, of: str, label: str, rates: Rates) -> tuple[object, ...]:
    far, frr = (ends or (None, None) for ends in (rates.far_ci95, rates.frr_ci95))
    head = (model, of, rates.threshold, label)
    return (*head, rates.impostors, rates.far, *far, rates.genuine, rates.frr, *frr)


def json_deployment(found: Deployment) -> str:
    """Everything at full precision, with hashes, as one JSON object."""
    model: dict[str, Any] = {"name": found.model.name, "sha256": found.model.identity}
    model["settings"] = None if found.model.variant is None else asdict(found.model.variant)
    value: dict[str, Any] = {"schema": 1, "model": model}
    chosen = found.chosen
    if chosen is not None:
        value |= {"target_far": chosen.target_far, "confidence": chosen.confidence}
    value["threshold"] = found.rates.threshold
    if chosen is not None:
        value |= {
            "interval95": list(chosen.interval),
            "impostors_to_bound": chosen.impostors_to_bound,
            "design_effect": chosen.effect,
            "empirical": asdict(chosen.empirical),
        }
    value |= {"pooled": asdict(found.rates), "bins": [_json_bin(each) for each in found.bins]}
    if chosen is not None:
        value["elsewhere"] = [
            {"threshold_of": {"name": own.bin.name, "sha256": own.bin.sha256}, **_json_bin(other)}
            for own, other in found.elsewhere
        ]
    return json.dumps(value | {"notes": _notes(found)}, indent=2) + "\n"


def _json_bin(on: OnBin) -> dict[str, Any]:
    failed = {how: on.failed.pairs if on.failed.how == how else 0 for how in _TAKEN}
    named = {"name": on.bin.name, "sha256": on.bin.sha256}
    return named | {f"{how}_pairs": count for how, count in failed.items()} | asdict(on.rates)
