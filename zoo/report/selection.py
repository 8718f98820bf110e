"""Which stored results a report shows: one row a model with its settings, one column a bin."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, ResultError, plain_name
from evaluator.metrics.protocols import KFoldAccuracy, kfold
from evaluator.results.record import (
    BinRecord,
    ModelRecord,
    Result,
    Scores,
    Settings,
    people_ends,
    reading_problem,
)
from evaluator.results.store import load_result, load_scores, stored_results

if TYPE_CHECKING:
    from evaluator.results.store import Ends

T = TypeVar("T")

# Every two models are compared: 12 are 66 comparisons a bin, and as many colours as a reader tells
# apart with dashes.
MAX_MODELS = 12
_LEAST_HASH = 6


@dataclass(frozen=True)
class Contestant:
    """A model with the settings it was measured with; ``label`` tells it from all others shown."""

    key: tuple[str, ...]
    label: str
    record: ModelRecord
    settings: Settings


@dataclass(frozen=True)
class Column:
    """A bin, known by its hash; ``label`` carries the hash where another bin has the name."""

    label: str
    record: BinRecord


@dataclass(frozen=True, eq=False)
class Scored:
    """The pairs of one result that have a score: cosines (n,), labels (n,), and their numbers.

    ``pairs`` (n,) are positions in the bin, ascending; ``left`` and ``right`` (n,) number the
    distinct image on either side, ``people`` the persons where they are known. ``kfold`` is None
    where that protocol is undefined.
    """

    result: Result
    scores: NDArray[np.float64]
    genuine: NDArray[np.bool_]
    pairs: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    kfold: KFoldAccuracy | None
    people: Ends | None = None


@dataclass(frozen=True)
class LeftOut:
    """A result that is not ranked, and why."""

    model: str
    bin: str
    reason: str


@dataclass(frozen=True, eq=False)
class Selection:
    """What a report is made of; ``scored`` is by (contestant's key, bin's SHA-256)."""

    contestants: tuple[Contestant, ...]
    columns: tuple[Column, ...]
    scored: dict[tuple[tuple[str, ...], str], Scored]
    left_out: tuple[LeftOut, ...]

    def of(self, contestant: Contestant, column: Column) -> Scored | None:
        """The scores of a model on a bin, None where there are none to show."""
        return self.scored.get((contestant.key, column.record.sha256))


def select(folder: Path, *, models: Sequence[str] = (), bins: Sequence[str] = ()) -> Selection:
    """The stored results of these models and bins (names or hash beginnings; all if none given).

    Of several results of one model, settings and bin the newest counts. Raises InputError for a
    folder without results, an unknown name, or more than MAX_MODELS models.
    """
    found, unreadable = _load_all(folder)
    found = _filtered(
        found, models, "--models", lambda each: (each.model.name, each.model.identity)
    )
    found = _filtered(found, bins, "--bins", lambda each: (each.bin.name, each.bin.sha256))
    newest = {
        (_key(result), result.bin.sha256): (path, result)
        for path, result in sorted(found, key=lambda item: item[1].created)
    }
    results = [result for _, result in newest.values()]
    contestants = _contestants(results)
    columns = _columns(results)
    if len(contestants) > MAX_MODELS:
        raise InputError(
            f"{len(contestants)} models in {folder}: a report compares every two of them, which "
            f"is readable for {MAX_MODELS} at most; choose with --models NAME..."
        )
    scored, left_out = {}, list(unreadable)
    labels = {each.key: each.label for each in contestants}
    bin_labels = {each.record.sha256: each.label for each in columns}
    for (key, sha256), (path, result) in sorted(newest.items(), key=lambda item: item[0]):
        if result.figures is None:
            reason = _non_finite(result)
        else:
            try:
                scored[key, sha256] = _scored(result, load_scores(path, result))
                continue
            except ResultError as error:
                reason = str(error)
        left_out.append(LeftOut(labels[key], bin_labels[sha256], reason))
    return Selection(contestants, columns, scored, tuple(left_out))


def shared_pairs(one: Scored, other: Scored) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the pairs that both have a score for stand in either, in the bin's order."""
    _, in_one, in_other = np.intersect1d(
        one.pairs, other.pairs, assume_unique=True, return_indices=True
    )
    return in_one, in_other


def variant_words(record: ModelRecord, settings: Settings) -> list[str]:
    """What was set for a measurement beside the defaults, in words."""
    default = Settings()
    words = [str(record.input.get("range", "unit"))]
    words = [] if words == ["unit"] else words
    words += ["bgr"] if record.input.get("channels") == "bgr" else []
    words += [f"flip {settings.flip}"] if settings.flip != default.flip else []
    words += [f"{settings.decoder} decoder"] if settings.decoder != default.decoder else []
    words += [settings.precision] if settings.precision != default.precision else []
    words += [settings.engine] if settings.engine != default.engine else []
    words += [f"nan {settings.nan}"] if settings.nan != default.nan else []
    return words


def _load_all(folder: Path) -> tuple[list[tuple[Path, Result]], list[LeftOut]]:
    paths = list(stored_results(folder))
    if not paths:
        raise InputError(
            f"{folder}: no stored results there; make some with zoo eval, or name their folder "
            "with --results DIR"
        )
    found, unreadable = [], []
    for path in paths:
        try:
            result = load_result(path)
        except ResultError as error:
            names = plain_name(path.parent.name), plain_name(path.stem)
            unreadable.append(LeftOut(*names, str(error)))
            continue
        except FileNotFoundError:
            continue  # replaced or removed by another process since the folder was listed
        problem = reading_problem(result)
        if problem is None:
            found.append((path, result))
        else:
            unreadable.append(LeftOut(result.model.name, result.bin.name, problem))
    if not found:
        reasons = [each.reason for each in unreadable] or ["they are gone"]
        raise InputError(f"{folder}: none of its results can be used; {reasons[0]}")
    return found, unreadable


def _filtered(
    found: list[tuple[Path, Result]],
    wanted: Sequence[str],
    option: str,
    identity: Callable[[Result], tuple[str, str]],
) -> list[tuple[Path, Result]]:
    if not wanted:
        return found
    kept: dict[Path, Result] = {}
    for value in wanted:
        matches = [(path, each) for path, each in found if _matches(value, *identity(each))]
        if not matches:
            names = sorted({identity(each)[0] for _, each in found})
            near = difflib.get_close_matches(value, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"{option} {value}: no stored result of that name or hash; {hint}"
                f"there is: {', '.join(names) or 'none'}"
            )
        kept.update(matches)
    return list(kept.items())


def _matches(value: str, name: str, sha256: str) -> bool:
    return value == name or (len(value) >= _LEAST_HASH and sha256.startswith(value.lower()))


def _key(result: Result) -> tuple[str, ...]:
    model, settings = result.model, result.settings
    return (
        model.name,
        model.identity,
        str(model.input.get("range")),
        str(model.input.get("channels")),
        settings.flip,
        settings.decoder,
        settings.precision,
        settings.engine,
        settings.nan,
    )


def _contestants(results: Sequence[Result]) -> tuple[Contestant, ...]:
    by_key = {_key(each): (each.model, each.settings) for each in results}
    forms = {key: _forms(model, settings) for key, (model, settings) in by_key.items()}
    labels = {key: _first_unique(own, forms.values()) for key, own in forms.items()}
    return tuple(Contestant(key, labels[key], *by_key[key]) for key in sorted(by_key))


def _forms(model: ModelRecord, settings: Settings) -> tuple[str, ...]:
    words = variant_words(model, settings)
    return (
        model.name,
        f"{model.name} ({', '.join(words) or 'default settings'})",
        f"{model.name} ({', '.join([*words, model.identity[:8]])})",
    )


def _columns(results: Sequence[Result]) -> tuple[Column, ...]:
    records = {each.bin.sha256: each.bin for each in results}
    forms = {key: (each.name, f"{each.name} ({key[:8]})") for key, each in records.items()}
    columns = [
        Column(_first_unique(own, forms.values()), records[key]) for key, own in forms.items()
    ]
    return tuple(sorted(columns, key=lambda column: column.label))


def _first_unique(own: tuple[str, ...], everyone: Iterable[tuple[str, ...]]) -> str:
    """The shortest of a thing's names that no other thing has; the longest where all are shared."""
    others = list(everyone)
    unique = [name for i, name in enumerate(own) if sum(each[i] == name for each in others) == 1]
    return unique[0] if unique else own[-1]


def _scored(result: Result, scores: Scores) -> Scored:
    pairs = np.flatnonzero(np.isfinite(scores.scores)).astype(np.int64)
    values, genuine = scores.scores[pairs], scores.genuine[pairs]
    return Scored(
        result=result,
        scores=values,
        genuine=genuine,
        pairs=pairs,
        left=scores.images[0::2][pairs],
        right=scores.images[1::2][pairs],
        people=people_ends(scores, pairs),
        kfold=kfold(values, genuine),
    )


def _non_finite(result: Result) -> str:
    count = int(result.non_finite["count"])
    images = ", ".join(str(each) for each in list(result.non_finite["images"])[:8])
    more = ", …" if count > 8 else ""
    return (
        f"invalid: {count:,} image{'s' if count != 1 else ''} without a finite embedding "
        f"({images}{more}); nothing was scored"
    )
