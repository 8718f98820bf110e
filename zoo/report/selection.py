"""What a report shows of a folder of results: `evaluator.results.choice` picks, here is read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, ResultError, plain_name
from evaluator.files import natural
from evaluator.results.choice import Contestant, contestants, labelled, picked
from evaluator.results.names import labels
from evaluator.results.record import BinRecord, Result, reading_problem
from evaluator.results.spoilt import split_spoilt
from evaluator.results.store import load_scores
from evaluator.results.stored import Store, no_results, read_store
from evaluator.statistics import shared_pairs
from evaluator.statistics.sides import Key
from zoo.results.leaderboard import Invalid

# So many notes that say the same of different models are one; names in it.
_ALIKE = 5


@dataclass(frozen=True)
class Column:
    """A bin, known by its hash; ``label`` carries the hash where another bin has the name."""

    label: str
    record: BinRecord


@dataclass(frozen=True, eq=False)
class Scored(shared_pairs.Scored):
    """A result and its scores, and of these the pairs that figures are of."""

    @functools.cached_property
    def pairs(self) -> NDArray[np.intp]:
        """Their positions in the bin (n,), ascending."""
        return np.flatnonzero(self.scores.counted)

    @functools.cached_property
    def cosines(self) -> NDArray[np.float64]:
        """Their scores (n,), -inf for a missed pair."""
        return self.scores.scores[self.pairs]

    @functools.cached_property
    def genuine(self) -> NDArray[np.bool_]:
        """Their labels (n,)."""
        return self.scores.genuine[self.pairs]


@dataclass(frozen=True, eq=False)
class Selection:
    """What a report is made of; ``scored`` is by (contestant's key, bin's SHA-256). ``all_bins``:
    whether the columns were asked for, and so all are to be ranked on. ``spoilt`` are the models
    with their results on bins made of the columns', which are ranked on nothing; ``older`` lines
    on models whose file was overwritten.
    """

    contestants: tuple[Contestant, ...]
    columns: tuple[Column, ...]
    scored: dict[tuple[Key, str], Scored]
    left_out: tuple[Invalid, ...]
    all_bins: bool = False
    spoilt: tuple[Contestant, ...] = ()
    older: tuple[str, ...] = ()

    def on(self, column: Column, models: Sequence[Contestant]) -> dict[Key, Scored]:
        """The scores on a bin of those of the models that have some, by key, in their order."""
        found = {each.key: self.of(each, column) for each in models}
        return {key: scored for key, scored in found.items() if scored is not None}

    def of(self, contestant: Contestant, column: Column) -> Scored | None:
        """The scores of a model on a bin, None where there are none to show."""
        return self.scored.get((contestant.key, column.record.sha256))


def select(*folders: Path, models: Sequence[str] = (), bins: Sequence[str] = ()) -> Selection:
    """The stored results of these models and bins, as `choice.meant` has it; all if none given.

    Raises InputError for a folder without results, and a value that means none.
    """
    store = read_store(*folders)
    where = ", ".join(map(str, folders))
    left_out = _no_answers(store)
    if not store.results:
        if not left_out:
            raise InputError(no_results(*folders))
        raise InputError(f"{where}: none of its results can be used; {left_out[0].reason}")
    chosen = picked(store.results, models=models, bins=bins)
    ranked, spoilt = split_spoilt(chosen.results)
    found = labelled(contestants(ranked))
    records = {sha256: each.result.bin for model in found for sha256, each in model.results.items()}
    named = labels([(sha256, record.name) for sha256, record in records.items()])
    columns = [Column(named[sha256], record) for sha256, record in records.items()]
    scored, unusable = _read(found, named)
    return Selection(
        tuple(found),
        tuple(sorted(columns, key=lambda column: natural(column.label))),
        scored,
        _together([*left_out, *unusable]),
        all_bins=bool(bins),
        spoilt=tuple(contestants(spoilt)),
        older=chosen.older,
    )


def _together(left_out: Sequence[Invalid]) -> tuple[Invalid, ...]:
    """The same, many models of one bin and reason in one."""
    alike: dict[tuple[str, str], list[Invalid]] = {}
    for each in left_out:
        alike.setdefault((each.bin, each.reason), []).append(each)
    found: list[Invalid] = []
    for (bin, reason), own in alike.items():
        if len(own) < _ALIKE:
            found += own
        else:
            names = ", ".join(each.model for each in own[:_ALIKE])
            more = ", ..." * (len(own) > _ALIKE)
            found.append(Invalid(f"{len(own):,} models ({names}{more})", bin, reason))
    return tuple(found)


def _no_answers(store: Store) -> list[Invalid]:
    """What lies in the store and is no result, or none that still stands."""
    found = [
        Invalid(plain_name(path.parent.name), plain_name(path.stem), line)
        for path, line in store.unreadable
    ]
    for each in store.outdated:
        result = each.result
        found.append(Invalid(result.model.name, result.bin.name, reading_problem(result) or ""))
    return found


def _read(
    models: Sequence[Contestant], bins: dict[str, str]
) -> tuple[dict[tuple[Key, str], Scored], list[Invalid]]:
    """The scores of every result that has some, and which have none; ``bins`` are labels."""
    scored: dict[tuple[Key, str], Scored] = {}
    left_out = []
    for model in models:
        for sha256, stored in model.results.items():
            if stored.result.status != "ok":
                reason = _non_finite(stored.result)
            else:
                try:
                    scores = load_scores(stored.path, stored.result)
                    scored[model.key, sha256] = Scored(stored.result, scores)
                    continue
                except ResultError as error:
                    reason = str(error)
            left_out.append(Invalid(model.label, bins[sha256], reason))
    for sha256, label in bins.items():
        own = [scored.get((model.key, sha256)) for model in models]
        for i in shared_pairs.unlike_the_others(
            [None if each is None else each.scores for each in own]
        ):
            del scored[models[i].key, sha256]
            reason = "its pairs are not those of the other results on that bin; use --fresh"
            left_out.append(Invalid(models[i].label, label, reason))
    return scored, left_out


def _non_finite(result: Result) -> str:
    count = int(result.non_finite["count"])
    images = ", ".join(str(each) for each in list(result.non_finite["images"])[:8])
    more = ", …" if count > 8 else ""
    return (
        f"invalid: {count:,} image{'s' if count != 1 else ''} without a finite embedding "
        f"({images}{more}); nothing was scored"
    )
