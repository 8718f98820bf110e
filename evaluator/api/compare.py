"""Two evaluations on the bins that they share: `compare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evaluator.api.evaluated import BinEvaluation, Evaluation
from evaluator.errors import InputError
from evaluator.metrics.protocols import kfold
from evaluator.metrics.text import columns, percent
from evaluator.statistics.comparison import Comparison, Overall, combine, compare_pairs, verdict
from evaluator.statistics.pair_tests import holm_p_values

if TYPE_CHECKING:
    from evaluator.results.store import Ends


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
    name_a, name_b = a.model.name, b.model.name
    if name_a == name_b:
        name_a, name_b = f"{name_a} (A)", f"{name_b} (B)"
    of_b = {each.result.bin.sha256: each for each in b.bins}
    found: dict[str, Comparison] = {}
    by_hash: dict[str, Comparison] = {}
    notes: list[str] = []
    for each in a.bins:
        other = of_b.get(each.result.bin.sha256)
        if other is None:
            notes.append(f"{each.name}: only {name_a} was evaluated on it; left out")
            continue
        compared = _compared(each, other, replicates=replicates, seed=seed)
        if isinstance(compared, str):
            notes.append(f"{each.name}: {compared}; left out")
            continue
        label = each.name
        if label in found:  # two bins of one name, told apart by their hash
            label = f"{each.name} ({each.result.bin.sha256[:8]})"
        found[label] = by_hash[each.result.bin.sha256] = compared
    if not found:
        names = [", ".join(each.name for each in side.bins) for side in (a, b)]
        raise InputError(
            f"{name_a} and {name_b} share no bin that can be compared "
            f"({'; '.join(notes)}): {name_a} has {names[0]}; {name_b} has {names[1]}. "
            "Evaluate both on one bin"
        )
    overall = combine(by_hash, seed=seed)
    corrected = holm_p_values([each.p_value for each in found.values()])
    return PairedComparison(
        name_a,
        name_b,
        found,
        dict(zip(found, corrected, strict=True)),
        overall,
        verdict(overall, name_a=name_a, name_b=name_b),
        tuple(notes),
    )


def _compared(
    a: BinEvaluation, b: BinEvaluation, *, replicates: int, seed: int
) -> Comparison | str:
    """The comparison on one bin, or why there is none."""
    if a.scores is None or b.scores is None:
        which = a if a.scores is None else b
        return f"{which.result.model.name} has no scores (embeddings not finite)"
    if not np.array_equal(a.genuine, b.genuine):
        raise InputError(f"{a.name}: the labels of the two evaluations differ, the bin does not")
    both = np.flatnonzero(np.isfinite(a.scores) & np.isfinite(b.scores))
    genuine = a.genuine[both]
    folds = [kfold(scores[both], genuine) for scores in (a.scores, b.scores)]
    if folds[0] is None or folds[1] is None:
        return "too few pairs of both kinds for ten folds"
    compared = compare_pairs(
        a.scores[both],
        b.scores[both],
        genuine,
        correct_a=folds[0].correct,
        correct_b=folds[1].correct,
        images=_ends(a.images if a.images is not None else b.images, both),
        identities=_ends(a.people if a.people is not None else b.people, both),
        replicates=replicates,
        seed=seed,
    )
    return replace(compared, only_a=both[compared.only_a], only_b=both[compared.only_b])


def _ends(slots: np.ndarray | None, pairs: np.ndarray) -> Ends | None:
    """What is on either side of the pairs."""
    return None if slots is None else (slots[0::2][pairs], slots[1::2][pairs])


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
                "<0.001" if p < 0.001 else f"{p:.3f}",
                str(len(each.only_a)),
                str(len(each.only_b)),
            )
        )
    lines = [f"A = {found.name_a}, B = {found.name_b}", *columns(rows), found.verdict]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])
