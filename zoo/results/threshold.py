"""The cosine to ship a model with, from its stored scores, and what it gives on each bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
