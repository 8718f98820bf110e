"""Stored results as evaluations: `load_results`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.api.evaluated import BinEvaluation, Evaluation, evaluated_on, to_dataframe
from evaluator.api.notebook import html_table
from evaluator.errors import InputError, UnknownNameError
from evaluator.metrics.all_figures import scored_figures
from evaluator.metrics.text import counted
from evaluator.results.choice import Contestant, Wanted, contestants, labelled, picked, variant_of
from evaluator.results.names import meant, model_named
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored, read_store


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """Stored evaluations, one a model with its settings, each read when it is asked for.

    Iterate over them, or take one by its place or by name, pattern or hash: ``results["arc"]``.
    ``notes`` name what was passed over: files that are no results, and results that no longer
    stand.
    """

    models: tuple[Contestant, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """How many models, each of its settings counted."""
        return len(self.models)

    def __iter__(self) -> Iterator[Evaluation]:
        """The evaluations, in the order of the folder. Raises ResultError for damaged scores."""
        return map(_evaluation, self.models)

    def __getitem__(self, which: int | str) -> Evaluation:
        """The evaluation of that place or name. Raises KeyError unless it is one, IndexError."""
        if isinstance(which, int):
            return _evaluation(self.models[which])
        named = [model_named(each.record) for each in self.models]
        of_name = meant(which, named)
        found = [
            each
            for each, name in zip(self.models, named, strict=True)
            if name in of_name or each.label == which
        ]
        if len(found) != 1:
            there = ", ".join(each.label for each in found or self.models)
            raise UnknownNameError(f"{len(found)} stored models are meant by {which!r}: {there}")
        return _evaluation(found[0])

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row a model, settings and bin; see `evaluator.to_dataframe`."""
        return to_dataframe(self)

    def __repr__(self) -> str:
        """A line a model with its bins, and the notes."""
        lines = [f"{model}: {bins}" for model, bins in self._rows()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        notes = [f"note: {note}" for note in self.notes]
        title = counted(len(self.models), "model")
        return html_table(title, [("model", "bins"), *self._rows()], notes, words=2)

    def _rows(self) -> list[tuple[str, str]]:
        return [
            (each.label, ", ".join(own.result.bin.name for own in each.results.values()))
            for each in self.models
        ]


def load_results(
    folder: str | Path | Sequence[str | Path] = "results",
    *,
    models: str | Sequence[str] = (),
    bins: str | Sequence[str] = (),
    flip: str | None = None,
    input: str | None = None,
    channels: str | None = None,
    decoder: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    norm: str | None = None,
    detector_score: str | None = None,
) -> Results:
    """The stored results of a folder, or of several, as `evaluate` gave them, for `compare`.

    ``models`` and ``bins`` are names, patterns of names (``"arc*"``), or beginnings of SHA-256 of
    four hexadecimal digits or more, a bin's also its path; all if none is given. The settings pick
    results that were measured with them, None any. As in `zoo compare` and `zoo leaderboard`, a
    whole result stands before one whose embeddings were not finite, and then the newest. Raises
    InputError for a folder without results, and for a value that means none of them.
    """
    wanted = Wanted(
        flip=flip,
        decoder=decoder,
        precision=precision,
        engine=engine,
        profile=input,
        channels=channels,
        norm=norm,
        detector_score=detector_score,
    )
    wanted.check("")
    folders = (folder,) if isinstance(folder, str | Path) else tuple(folder)
    store = read_store(*map(Path, folders))
    where = ", ".join(map(str, folders))
    if not store.results:
        why = store.remarks[0] if store.remarks else "zoo eval and save_results put them there"
        raise InputError(f"{where}: no stored results; {why}")
    chosen = picked(
        store.results, models=_values(models), bins=_values(bins), options=("models", "bins")
    )
    found = [each for each in chosen.results if wanted.admits(variant_of(each.result))]
    if not found:
        there = dict.fromkeys(
            variant_of(each.result).words() or "the defaults" for each in chosen.results
        )
        raise InputError(f"{where}: no result with these settings; there is: {'; '.join(there)}")
    return Results(tuple(labelled(contestants(found))), (*chosen.older, *store.remarks))


def _values(given: str | Sequence[str]) -> Sequence[str]:
    return (given,) if isinstance(given, str) else given


def _evaluation(model: Contestant) -> Evaluation:
    return Evaluation(model.record, tuple(_on_bin(each) for each in model.results.values()))


def _on_bin(stored: Stored) -> BinEvaluation:
    result = stored.result
    stored_as = Path(stored.path.parent.name) / stored.path.name
    if result.status != "ok":
        return evaluated_on(result, None, None, stored_as)
    scores = load_scores(stored.path, result)
    block = scored_figures(
        scores.scores,
        scores.genuine,
        images=scores.images if result.bin.unique_images else None,
        people=scores.people,
        folds=scores.folds,
    )
    return evaluated_on(result, block, scores, stored_as)
