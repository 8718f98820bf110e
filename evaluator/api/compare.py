"""Evaluations on the bins that they share: `compare`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

from evaluator.api.evaluated import Evaluation, stored_scores
from evaluator.api.notebook import Printed
from evaluator.errors import InputError, ResultError, UnknownNameError
from evaluator.results.choice import variant_of, variant_words
from evaluator.results.names import Shown, model_labels
from evaluator.results.record import Scores
from evaluator.statistics.comparison import Comparison, Overall, tested_figure
from evaluator.statistics.duels import Duel, compare_sides
from evaluator.statistics.sides import Key, Side, nothing_shared
from evaluator.statistics.verdicts import MarginVerdict, p_text, signed


@dataclass(frozen=True, eq=False, repr=False)
class PairedComparison(Printed):
    """Model A against model B on every bin that both were evaluated on; ``print`` shows it.

    ``bins`` are the comparisons by the bin's name, with indices of that bin's pairs; ``overall``
    counts each bin the same; ``verdict`` is it in words. ``p_values`` are the bins' after Holm's
    correction for their number. ``notes`` say what was left out. ``margin`` is the verdict on the
    margin asked for (`equivalent`, `not worse`, `worse`, `cannot tell`), ``margin_words`` the same
    as a sentence.
    """

    name_a: str
    name_b: str
    bins: Mapping[str, Comparison]
    p_values: Mapping[str, float]
    overall: Overall
    verdict: str
    notes: tuple[str, ...]
    metric: str = "accuracy"
    margin: MarginVerdict | None = None
    margin_words: str = ""

    def _parts(self) -> tuple[str, list[list[str]], list[str]]:
        """Who A and B are, a row a bin with shares in percent, and the verdicts with the notes."""
        figure = tested_figure(self.metric)
        rows = [["bin", "pairs", "A", "B", "A-B", "95 %", "p"]]
        rows[0] += ["only A", "only B"] if figure.fits_threshold else []
        for name, each in self.bins.items():
            low, high = (signed(end, figure) for end in each.interval)
            values = [figure.digits(value) for value in (each.value_a, each.value_b)]
            difference = [signed(each.difference, figure), f"[{low}, {high}]"]
            rows.append(
                [name, f"{each.pairs:,}", *values, *difference, p_text(self.p_values[name])]
            )
            if figure.fits_threshold:  # what these count is no part of another figure
                rows[-1] += [str(len(only)) for only in (each.only_a, each.only_b)]
        lines = [self.verdict, *([self.margin_words] if self.margin_words else [])]
        lines += [f"note: {note}" for note in self.notes]
        return f"A = {self.name_a}, B = {self.name_b}", rows, lines


@dataclass(frozen=True, eq=False, repr=False)
class ManyComparisons:
    """The first of several models against each other one, in order; ``print`` shows them.

    Iterate over them, or take one by its place or the other model's name. P-values are corrected
    for all bins and models compared, of which there is each two: those of `zoo compare` of all.
    """

    comparisons: tuple[PairedComparison, ...]

    def __iter__(self) -> Iterator[PairedComparison]:
        """The comparisons, in the order of the models."""
        return iter(self.comparisons)

    def __len__(self) -> int:
        """How many: one fewer than models."""
        return len(self.comparisons)

    def __getitem__(self, which: int | str) -> PairedComparison:
        """That of the place, or with the model of that name. Raises IndexError, KeyError."""
        if isinstance(which, int):
            return self.comparisons[which]
        found = {each.name_b: each for each in self.comparisons}
        if which not in found:
            raise UnknownNameError(
                f"no model compared is named {which!r}; there is: {', '.join(found)}"
            )
        return found[which]

    def __repr__(self) -> str:
        """The tables, one after another."""
        return "\n\n".join(map(repr, self.comparisons))

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        return "".join(each._repr_html_() for each in self.comparisons)


@overload
def compare(
    a: Evaluation, b: Evaluation, *, metric: str = "accuracy", margin: float | None = None
) -> PairedComparison: ...


@overload
def compare(
    a: Iterable[Evaluation],
    b: None = None,
    *,
    metric: str = "accuracy",
    margin: float | None = None,
) -> ManyComparisons: ...


def compare(
    a: Evaluation | Iterable[Evaluation],
    b: Evaluation | None = None,
    *,
    metric: str = "accuracy",
    margin: float | None = None,
) -> PairedComparison | ManyComparisons:
    """Whether one of two models is better on the same pairs, by how much, and is it real; of three
    evaluations or more, given as one sequence, the first against each other one.

    What `zoo compare` computes: a figure on the bins that are equal by SHA-256, only the pairs that
    both scored. Differences are A - B as fractions. ``metric`` is the name of a figure; accuracies
    are tested by decisions at each model's best threshold, ``kfold-decisions`` by those at the
    other folds' thresholds. ``margin``, in percentage points of a share, asks whether B is as good
    as A but for that much. Raises InputError where there is no such bin or
    figure, or where it is undefined on the pairs.
    """
    two = b is not None
    given = [a, b] if two or isinstance(a, Evaluation) else list(a)
    evaluations = [each for each in given if isinstance(each, Evaluation)]
    if len(evaluations) < len(given):
        wrong = next(each for each in given if not isinstance(each, Evaluation))
        raise InputError(
            f"expected two evaluations, as evaluate gives them; got {type(wrong).__name__}"
        )
    if not two and len(given) < 3:
        raise InputError(f"expected three evaluations or more in one sequence; got {len(given)}")
    duels, apart = compare_sides(_sides(evaluations), metric=metric, margin=margin)
    if apart:
        raise InputError(nothing_shared(apart[0]))
    found = tuple(_paired(duel, metric) for duel in duels[: len(evaluations) - 1])
    return found[0] if two else ManyComparisons(found)


def _paired(duel: Duel, metric: str) -> PairedComparison:
    return PairedComparison(
        duel.a.label,
        duel.b.label,
        {each.label: each.comparison for each in duel.bins},
        {each.label: each.p_value for each in duel.bins},
        replace(duel.overall, p_value=duel.p_value),
        duel.words,
        duel.notes,
        metric,
        duel.by_margin,
        duel.margin_words,
    )


def _sides(evaluations: Sequence[Evaluation]) -> list[Side]:
    variants = [variant_of(each.bins[0].result) for each in evaluations]
    labels = model_labels(
        [
            Shown(
                each.model.name,
                each.model.identity,
                variant_words(variant, each.model.format),
                each.model.path,
                max(one.result.created for one in each.bins),
            )
            for each, variant in zip(evaluations, variants, strict=True)
        ]
    )
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({_letter(i)})" for i, label in enumerate(labels)]
    return [
        _side(each, (each.model.name, each.model.identity, variant), label)
        for each, variant, label in zip(evaluations, variants, labels, strict=True)
    ]


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else str(place + 1)


def _side(evaluation: Evaluation, key: Key, label: str) -> Side:
    of_bins = {each.result.bin.sha256: each for each in evaluation.bins}

    def scores(sha256: str) -> Scores:
        found = stored_scores(of_bins[sha256])
        if found is None:
            raise ResultError(f"{label}: no scores on {of_bins[sha256].name}")
        return found

    return Side(key, label, {sha: each.result for sha, each in of_bins.items()}, scores)
