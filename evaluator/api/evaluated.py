"""An evaluation in memory: a model on bins, with figures, scores and a readable table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.api.frame import data_frame
from evaluator.api.notebook import Printed, html_table
from evaluator.errors import InputError, UnknownNameError
from evaluator.metrics.all_figures import Figures, all_figures, search_figures, to_json
from evaluator.metrics.standing import founding_line
from evaluator.metrics.text import columns, cosine, counted
from evaluator.results.record import ModelRecord, Result, Scores, SetFacts
from evaluator.results.store import save_result
from evaluator.templates.searches import Searches


@dataclass(frozen=True, eq=False, repr=False)
class BinEvaluation:
    """One model on one bin.

    ``scores`` (pairs,) float64 are in the bin's order, higher is more alike, NaN for a pair left
    out, -inf for one that is missed; ``genuine`` (pairs,) bool. ``figures`` and ``scores`` are None
    where embeddings were not finite and ``nan="fail"``, ``genuine`` then empty if it comes from a
    store. ``images`` (2 x pairs,) numbers the distinct image in each slot and ``people`` the
    person, None where nobody knows them. ``result`` is what is stored, ``stored_as`` where in a
    folder of results. ``folds`` (pairs,) numbers the fold of each pair, None where they are ten
    contiguous parts; ``digests`` (2 x pairs,) the bytes in each slot, alike in all bins; ``norms``
    (2 x pairs,) are the lengths of the embeddings in them. Of a template set ``facts`` are what all
    results on it share, ``searches`` one a gallery, and the figures of these stand in
    ``identification``.
    """

    result: Result
    figures: Figures | None
    scores: NDArray[np.float64] | None
    genuine: NDArray[np.bool_]
    images: NDArray[np.int64] | None
    people: NDArray[np.int64] | None
    stored_as: Path
    folds: NDArray[np.uint8] | None = None
    digests: NDArray[np.int64] | None = None
    norms: NDArray[np.float32] | None = None
    facts: SetFacts | None = None
    searches: tuple[Searches, ...] = ()

    @property
    def name(self) -> str:
        """The bin's name."""
        return self.result.bin.name

    @property
    def identification(self) -> Mapping[str, Any] | None:
        """The figures of 1:N, as results have them: rank, TPIR at FPIR, and those of galleries."""
        found: Mapping[str, Any] | None = (self.result.figures or {}).get("identification")
        return found

    def __repr__(self) -> str:
        """The figures with their bin and model."""
        counts = self.result.bin
        head = (
            f"{self.result.model.name} on {self.name}: {counts.pairs:,} pairs, "
            f"{counts.genuine:,} genuine"
        ) + (f", {self.result.failed.words}" if self.result.failed.pairs else "")
        if self.figures is None:
            return f"{head}\nnot scored: {_not_finite(self.result)}"
        lines = [f"{head}\n{self.figures!r}"]
        stored = self.result.figures or {}
        if self.identification is not None:
            found = [(each.label, each.line_of(stored)) for each in search_figures().values()]
            lines += columns(found)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        head, *lines = repr(self).split("\n")
        if self.figures is None:
            return html_table(head, [lines])
        rows = [tuple(part.strip() for part in line.split("  ", 1)) for line in lines]
        return html_table(head, [("figure", "value"), *rows], words=2)


def evaluated_on(
    result: Result, figures: Figures | None, scores: Scores | None, stored_as: Path
) -> BinEvaluation:
    """A model on a bin by what is stored of it, ``scores`` None where nothing was scored."""
    if scores is None:
        return BinEvaluation(result, None, None, np.zeros(0, np.bool_), None, None, stored_as)
    return BinEvaluation(
        result,
        figures,
        scores.scores,
        scores.genuine,
        scores.images if result.bin.unique_images else None,
        scores.people,
        stored_as,
        scores.folds,
        scores.digests,
        scores.norms,
        scores.facts,
        scores.searches,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Printed):
    """One model on one or more bins, in the order asked for; ``print`` shows it as a table.

    Iterate over it, or take a bin by name: ``evaluation["lfw"].figures``. With one bin,
    ``evaluation.figures`` and ``evaluation.scores`` are that bin's. ``notes`` say what was assumed.
    ``savable`` is False for a function without a name.
    """

    model: ModelRecord
    bins: tuple[BinEvaluation, ...]
    notes: tuple[str, ...] = ()
    savable: bool = True

    def __iter__(self) -> Iterator[BinEvaluation]:
        """The bins, in the order asked for."""
        return iter(self.bins)

    def __len__(self) -> int:
        """How many bins."""
        return len(self.bins)

    def __getitem__(self, name: str) -> BinEvaluation:
        """The bin of that name. Raises UnknownNameError, a KeyError, with the names there are."""
        found = [each for each in self.bins if each.name == name]
        if len(found) != 1:
            there = ", ".join(each.name for each in self.bins)
            raise UnknownNameError(f"{len(found)} bins are named {name!r}; there is: {there}")
        return found[0]

    @property
    def figures(self) -> Figures | None:
        """The figures on the only bin. Raises InputError where there are several."""
        return self._only("figures").figures

    @property
    def scores(self) -> NDArray[np.float64] | None:
        """The scores on the only bin. Raises InputError where there are several."""
        return self._only("scores").scores

    @property
    def genuine(self) -> NDArray[np.bool_]:
        """The labels of the only bin. Raises InputError where there are several."""
        return self._only("genuine").genuine

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row a bin; see `evaluator.to_dataframe`."""
        return to_dataframe(self)

    def _only(self, what: str) -> BinEvaluation:
        if len(self.bins) != 1:
            names = ", ".join(each.name for each in self.bins)
            raise InputError(
                f"{what} are a bin's, and this evaluation has {len(self.bins)} ({names}); "
                f"take one: evaluation[{self.bins[0].name!r}].{what}"
            )
        return self.bins[0]

    def _parts(self) -> tuple[str, list[list[str]], list[str]]:
        """What is said of the model, a row a bin, shares in percent, and the notes."""
        model = self.model
        size = f"{model.embedding_size}-d, " if model.embedding_size else ""
        rows = [["bin", "pairs", "10-fold", "best", "threshold", "AUC", "TAR@FAR 1e-3"]]
        shown = [all_figures()[name] for name in ("kfold", "accuracy", "auc", "tar@1e-3")]
        for each in self.bins:
            start = [each.name, f"{each.result.bin.pairs:,}"]
            if each.figures is None:
                rows.append([*start, _not_finite(each.result), "", "", "", ""])
                continue
            stored = to_json(each.figures)
            kfold, best, auc, tar = (figure.cell_of(stored) for figure in shown)
            rows.append([*start, kfold, best, cosine(each.figures.threshold), auc, tar])
        notes = [
            f"note: {each.name}: {each.result.failed.words}"
            for each in self.bins
            if each.result.failed.pairs
        ]
        notes += [f"note: {note}" for note in self.notes]
        return f"{model.name} ({size}{model.format})", rows, notes


def to_dataframe(
    evaluations: Evaluation | Iterable[Evaluation] | Iterable[tuple[Any, Evaluation]],
    *,
    index: str | None = None,
) -> Any:
    """A pandas DataFrame with a row for each bin of each evaluation.

    Columns are ``model``, ``bin``, ``pairs``; the figures as log.csv calls them, fractions and
    scores, NaN where undefined; those of searches where a template set has some; ``settings``
    (what is no default, in words) and the model's ``sha256``. ``index`` names one more, the first:
    of what stands before the evaluations in pairs ``(value, evaluation)``, an epoch, say. Raises
    InputError without pandas, and for anything else.
    """
    rows = []
    for each in [evaluations] if isinstance(evaluations, Evaluation) else evaluations:
        value, evaluation = each if isinstance(each, tuple) and len(each) == 2 else (None, each)
        if not isinstance(evaluation, Evaluation):
            raise InputError(
                "expected evaluations, or pairs (value, evaluation); "
                f"got {type(evaluation).__name__}"
            )
        if isinstance(each, tuple) is (index is None):
            raise InputError("index= names the values of pairs (value, evaluation): give both")
        rows += [(value, of_bin.result) for of_bin in evaluation]
    return data_frame(rows, index=index)


def verification_line(evaluation: BinEvaluation, best: float = 0.0) -> str:
    """The founding system's log line of an evaluation on one bin, to the character. ``best`` is the
    highest accuracy before it, as a fraction, 0 where there was none.
    """
    unusable = int(evaluation.result.non_finite["count"])
    return founding_line(evaluation.name, evaluation.figures, best, unusable=unusable)


def _not_finite(result: Result) -> str:
    return f"{counted(int(result.non_finite['count']), 'image')} without a usable embedding"


def save_results(evaluation: Evaluation, folder: str | Path = "results") -> tuple[Path, ...]:
    """Stores an evaluation where `zoo leaderboard`, `compare`, `report` and `threshold` look.

    The paths of the JSON files, one a bin; each replaces an earlier one of the same model, bin and
    settings, as `zoo eval` would. Raises InputError for a function without a name, OSError.
    """
    if not isinstance(evaluation, Evaluation):
        raise InputError(
            f"expected an evaluation, as evaluate gives it; got {type(evaluation).__name__}"
        )
    if not evaluation.savable:
        raise InputError(
            "a function without a name cannot be stored: results are found by it; "
            "evaluate it again with name='...'"
        )
    written = []
    for each in evaluation.bins:
        path = Path(folder) / each.stored_as
        save_result(path, each.result, stored_scores(each))
        written.append(path)
    return tuple(written)


def stored_scores(evaluation: BinEvaluation) -> Scores | None:
    """The scores as they are stored; None where there are none."""
    if evaluation.scores is None:
        return None
    images = evaluation.images
    if images is None:
        # All different, which claims no more than that pairs are independent.
        images = np.arange(2 * len(evaluation.genuine))
    return Scores(
        evaluation.scores,
        evaluation.genuine,
        images,
        evaluation.people,
        evaluation.folds,
        evaluation.digests,
        norms=evaluation.norms,
        facts=evaluation.facts,
        searches=evaluation.searches,
    )
