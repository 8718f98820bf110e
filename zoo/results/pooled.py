"""The stored scores of models on the bins that all of them have, with what is in every slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import (
    NAMED,
    check_sidecar,
    read_pairs_csv,
    sidecar_path,
)
from evaluator.conditions.pairs import PairSet
from evaluator.conditions.table import SlotNames
from evaluator.errors import InputError, ResultError
from evaluator.results.choice import Contestant, labelled
from evaluator.results.names import labels
from evaluator.results.record import BinRecord, Scores
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OfModel:
    """A model's scores on all the bins: ``pairs`` are those that have one, ``kept`` (all pairs)
    says which. ``norms`` (2 x all pairs,) are the embeddings', None where they were not stored.
    """

    model: Contestant
    pairs: PairSet
    kept: NDArray[np.bool_]
    norms: NDArray[np.float64] | None

    @property
    def dropped(self) -> int:
        """How many pairs have no score and are left out."""
        return int((~self.kept).sum())

    @property
    def missed(self) -> int:
        """How many pairs have an image that failed, and are accepted at no threshold."""
        return int(np.isneginf(self.pairs.scores).sum())


@dataclass(frozen=True, eq=False)
class Pooled:
    """Models on the same pairs: ``labels`` and ``records`` of the bins in order, the number of the
    bin of each slot (2 x pairs,), and notes on what is left out. ``of_first`` are the first
    model's scores, a bin each.
    """

    models: tuple[OfModel, ...]
    labels: tuple[str, ...]
    records: tuple[BinRecord, ...]
    bin_of_slot: IntArray
    of_first: tuple[Scores, ...]
    notes: tuple[str, ...]

    def slot_names(self) -> SlotNames:
        """What slots are called by the pairs files beside the bins. Raises BinError, OSError."""
        images: list[str] = []
        people: list[str] = []
        slots = 2 * sum(each.pairs for each in self.records)
        for record, scores in zip(self.records, self.of_first, strict=True):
            path = sidecar_path(Path(record.path).absolute()) if record.path else None
            if path is None or not path.is_file():
                continue
            pairs = read_pairs_csv(path)
            check_sidecar(path, pairs, scores.genuine)
            images += [name for pair in pairs for name in (pair.left, pair.right)]
            people += [name for pair in pairs for name in pair.people or ()]
        return SlotNames(
            slots,
            images if len(images) == slots else None,
            people if len(people) == slots else None,
            _numbered([each.images for each in self.of_first]),
            numbered=len(self.records) == 1,
        )


def pool(models: Sequence[Contestant]) -> Pooled:
    """The scores of the models on the bins that all have usable results on; template sets, whose
    images stand in no slots, are left out.

    Bins share no image with one another, and no one but people whom their pairs files name. Raises
    InputError where no bin is shared, ResultError for scores that are not there or not of one bin.
    """
    records = {sha: each.result.bin for model in models for sha, each in model.results.items()}
    sets = {sha: record.name for sha, record in records.items() if record.kind is not None}
    usable = [
        {
            sha: each
            for sha, each in model.results.items()
            if each.result.status == "ok" and sha not in sets
        }
        for model in models
    ]
    shared = [sha for sha in usable[0] if all(sha in each for each in usable)]
    if not shared:
        names = ", ".join(dict.fromkeys(sets.values()))
        why = f"; {names}: the images of template sets have no slots"
        raise InputError(
            f"{', '.join(each.name for each in models)}: no bin with usable scores of all"
            f"{why if sets else ''}"
        )
    pooled = tuple(usable[0][sha].result.bin for sha in shared)
    named = labels([(each.sha256, each.name) for each in pooled])
    found = [[_loaded(own[sha]) for sha in shared] for own in usable]
    for i, record in enumerate(pooled):
        if any(not np.array_equal(own[i].genuine, found[0][i].genuine) for own in found):
            raise ResultError(f"{record.name}: results on it have other labels; use --fresh")
    sizes = [2 * each.pairs for each in pooled]
    left_out = {
        each.result.bin.name: None
        for model in models
        for sha, each in model.results.items()
        if sha not in shared and sha not in sets
    }
    notes = [f"{name}: left out, not every model has usable scores on it" for name in left_out]
    notes += [
        f"{name}: left out, a template set, whose images have no slots" for name in sets.values()
    ]
    return Pooled(
        tuple(_of_model(model, own) for model, own in zip(labelled(models), found, strict=True)),
        tuple(named[each.sha256] for each in pooled),
        pooled,
        np.repeat(np.arange(len(sizes)), sizes),
        tuple(found[0]),
        tuple(notes),
    )


def _loaded(stored: Stored) -> Scores:
    scores = load_scores(stored.path, stored.result)
    if stored.result.bin.unique_images:
        return scores
    return replace(scores, images=np.arange(2 * len(scores.scores)))  # all apart


def _of_model(model: Contestant, own: Sequence[Scores]) -> OfModel:
    scores = np.concatenate([each.scores for each in own])
    kept = ~np.isnan(scores)
    people = [each.people for each in own if each.people is not None]
    norms = [each.norms for each in own if each.norms is not None]
    everyone = PairSet(
        scores,
        np.concatenate([each.genuine for each in own]),
        _numbered([each.images for each in own]),
        _numbered(people) if len(people) == len(own) else None,
    )
    return OfModel(
        model,
        everyone.only(kept),
        kept,
        np.concatenate(norms).astype(np.float64) if len(norms) == len(own) else None,
    )


def _numbered(parts: Sequence[IntArray]) -> IntArray:
    """The numbers of all bins, those that mean nothing beyond their bin told apart."""
    offset, found = 0, []
    for part in parts:
        local = part < NAMED
        found.append(np.where(local, part + offset, part))
        offset += int(part[local].max(initial=-1)) + 1
    return np.concatenate(found)
