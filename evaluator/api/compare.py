"""Two evaluations on the bins that they share: `compare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evaluator.api.evaluated import Evaluation, stored_scores
from evaluator.errors import InputError, ResultError
from evaluator.metrics.text import columns
from evaluator.results.choice import model_labels, variant_of, variant_words
from evaluator.results.record import Scores
from evaluator.statistics.comparison import Comparison, Overall, tested_figure
from evaluator.statistics.duels import Key, Side, compare_sides, nothing_shared
from evaluator.statistics.verdicts import MarginVerdict, p_text, signed


@dataclass(frozen=True, eq=False, repr=False)
class PairedComparison:
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

    def __repr__(self) -> str:
        """A row a bin, and the verdicts."""
        return comparison_table(self)


def compare(
    a: Evaluation, b: Evaluation, *, metric: str = "accuracy", margin: float | None = None
) -> PairedComparison:
    """Whether one of two models is better on the same pairs, by how much, and is it real.

    What `zoo compare` computes: a figure on the bins that are equal by SHA-256, only the pairs that
    both scored. Differences are A - B as fractions. ``metric`` is the name of a figure; accuracies
    are tested by decisions at each model's best threshold, ``kfold-decisions`` by those at the
    other folds' thresholds. ``margin``, in percentage points of a share, asks whether B is as good
    as A but for that much. Raises InputError where there is no such bin or
    figure, or where it is undefined on the pairs.
    """
    for side in (a, b):
        if not isinstance(side, Evaluation):
            raise InputError(
                f"expected two evaluations, as evaluate gives them; got {type(side).__name__}"
            )
    variants = [variant_of(each.bins[0].result) for each in (a, b)]
    labels = model_labels(
        [
            (each.model.name, each.model.identity, variant_words(variant, each.model.format))
            for each, variant in zip((a, b), variants, strict=True)
        ]
    )
    if labels[0] == labels[1]:
        labels = [f"{label} ({letter})" for label, letter in zip(labels, "AB", strict=True)]
    sides = [
        _side(each, (each.model.name, each.model.identity, variant), label)
        for each, variant, label in zip((a, b), variants, labels, strict=True)
    ]
    duels, apart = compare_sides(sides, metric=metric, margin=margin)
    if apart:
        raise InputError(nothing_shared(apart[0]))
    [duel] = duels
    return PairedComparison(
        labels[0],
        labels[1],
        {each.label: each.comparison for each in duel.bins},
        {each.label: each.p_value for each in duel.bins},
        duel.overall,
        duel.words,
        duel.notes,
        metric,
        duel.by_margin,
        duel.margin_words,
    )


def _side(evaluation: Evaluation, key: Key, label: str) -> Side:
    of_bins = {each.result.bin.sha256: each for each in evaluation.bins}

    def scores(sha256: str) -> Scores:
        found = stored_scores(of_bins[sha256])
        if found is None:
            raise ResultError(f"{label}: no scores on {of_bins[sha256].name}")
        return found

    return Side(key, label, {sha: each.result for sha, each in of_bins.items()}, scores)


def comparison_table(found: PairedComparison) -> str:
    """The comparison as lines of text, shares in percentages and percentage points."""
    figure = tested_figure(found.metric)
    rows = [["bin", "pairs", "A", "B", "A-B", "95 %", "p"]]
    rows[0] += ["only A", "only B"] if figure.fits_threshold else []
    for name, each in found.bins.items():
        low, high = (signed(end, figure) for end in each.interval)
        p = found.p_values[name]
        values = [figure.digits(value) for value in (each.value_a, each.value_b)]
        difference = [signed(each.difference, figure), f"[{low}, {high}]", p_text(p)]
        rows.append([name, f"{each.pairs:,}", *values, *difference])
        if figure.fits_threshold:  # what these count is no part of another figure
            rows[-1] += [str(len(only)) for only in (each.only_a, each.only_b)]
    lines = [f"A = {found.name_a}, B = {found.name_b}", *columns(rows), found.verdict]
    lines += [found.margin_words] if found.margin_words else []
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])
