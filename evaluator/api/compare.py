"""Two evaluations on the bins that they share: `compare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evaluator.api.evaluated import Evaluation, stored_scores
from evaluator.errors import InputError, ResultError
from evaluator.metrics.text import columns, percent
from evaluator.results.choice import model_labels, variant_of, variant_words
from evaluator.results.record import Scores
from evaluator.statistics.comparison import Comparison, Overall, p_text
from evaluator.statistics.duels import Key, Side, compare_sides, nothing_shared


@dataclass(frozen=True, eq=False, repr=False)
class PairedComparison:
    """Model A against model B on every bin that both were evaluated on; ``print`` shows it.

    ``bins`` are the comparisons by the bin's name, with indices of that bin's pairs; ``overall``
    counts each bin the same; ``verdict`` is it in words. ``p_values`` are the bins' after Holm's
    correction for their number. ``notes`` say what was left out.
    """

    name_a: str
    name_b: str
    bins: Mapping[str, Comparison]
    p_values: Mapping[str, float]
    overall: Overall
    verdict: str
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """A row a bin, and the verdicts."""
        return comparison_table(self)


def compare(
    a: Evaluation, b: Evaluation, *, replicates: int = 10_000, seed: int = 0
) -> PairedComparison:
    """Whether one of two models is better on the same pairs, by how much, and is it real.

    What `zoo compare` computes: k-fold decisions on the bins that are equal by SHA-256, only the
    pairs that both scored. Differences are A - B as fractions: above 0, A wins. Raises InputError
    where there is no such bin, or where its pairs make no ten folds of both kinds.
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
    duels, apart = compare_sides(sides, replicates=replicates, seed=seed)
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
    """The comparison as lines of text, in percentages and percentage points."""
    rows = [("bin", "pairs", "A", "B", "A-B", "95 %", "p", "only A", "only B")]
    for name, each in found.bins.items():
        low, high = (f"{100 * end:+.2f}" for end in each.interval)
        p = found.p_values[name]
        rows.append(
            (
                name,
                f"{each.pairs:,}",
                percent(each.accuracy_a),
                percent(each.accuracy_b),
                f"{100 * each.difference:+.2f}",
                f"[{low}, {high}]",
                p_text(p),
                str(len(each.only_a)),
                str(len(each.only_b)),
            )
        )
    lines = [f"A = {found.name_a}, B = {found.name_b}", *columns(rows), found.verdict]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])
