"""How every two of some models differ in a figure on a bin's pairs, and whether that is noise.

One computation for two models and for forty, so that `zoo compare`, a leaderboard, a report and
Python have one answer. Accuracies (`accuracy`, `kfold`, `insightface`) are tested by one kind of
decisions: each model's at the threshold that is best for it on these very pairs. Thresholds of
folds add luck of their own to a difference; at a maximum a threshold moves no accuracy, to first
order, and to second order takes some of the noise away (`threshold_luck`). Other figures are tested
by their influences: a figure's error is a sum of what each pair adds to it, and the variance of a
difference the sum of squares of the differences of these, for AUC DeLong's. What pairs share widens
either (`design_effect`, for all couples at once).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.metrics.figure import Figure
from evaluator.metrics.protocols import seed, sorted_pairs
from evaluator.metrics.sharing import Sharing, pair_sharing
from evaluator.statistics.discordance import MANY, discordance_interval, discordance_p_value
from evaluator.statistics.tails import reach
from evaluator.statistics.threshold_luck import best_threshold_luck

Ends = tuple[npt.ArrayLike, npt.ArrayLike]
Couples = tuple[npt.NDArray[np.intp], ...]  # rows and columns, as `np.ix_` gives them

_FEW_ROWS = 50


@dataclass(frozen=True, eq=False)
class Differences:
    """The differences of a figure between every two models: arrays of shape (models, models).

    ``gaps`` are the row's figure minus the column's, NaN where one is undefined, ``variances``
    those of the gaps of equal models, with t's degrees of ``freedom`` (inf: normal).
    ``discordant`` is how many independent discordant pairs a gap is worth (inf for a figure that
    does not count them) and ``step`` what one of them moves. ``effect`` is how many times sharing
    and the ``luck`` of thresholds multiply the variance of independent pairs, ``only`` how many
    pairs the row alone decides rightly, ``pairs`` how many there are. ``errors`` (models, pairs of
    the bin) is what each pair adds to a model's figure, 0 where it has no score.
    """

    gaps: FloatArray
    variances: FloatArray
    freedom: FloatArray
    discordant: FloatArray
    step: FloatArray
    effect: FloatArray
    luck: FloatArray
    only: FloatArray
    pairs: FloatArray
    errors: FloatArray

    @classmethod
    def undefined(cls, models: int, pairs: int) -> Differences:
        """Those of models whose figures are undefined on a bin of so many pairs."""
        gaps, zeros = np.full((models, models), math.nan), np.zeros((models, models))
        endless = np.full_like(zeros, math.inf)
        return cls(
            gaps=gaps,
            variances=zeros,
            freedom=endless,
            discordant=endless.copy(),
            step=zeros.copy(),
            effect=np.ones_like(zeros),
            luck=np.ones_like(zeros),
            only=zeros.copy(),
            pairs=zeros.copy(),
            errors=np.zeros((models, pairs)),
        )

    def of(self, models: slice | npt.NDArray[np.intp]) -> Differences:
        """Those of some of the models, views of these for a slice."""
        own = {field.name: getattr(self, field.name)[models] for field in fields(self)}
        return Differences(
            **{name: each if name == "errors" else each[:, models] for name, each in own.items()}
        )

    def place(self, found: Differences, here: Couples, there: Couples) -> None:
        """Takes the couples ``here`` of others as the couples ``there``, all but ``errors``."""
        for field in fields(self):
            if field.name != "errors":
                getattr(self, field.name)[there] = getattr(found, field.name)[here]


def differences_on_bin(
    scores: Sequence[FloatArray],
    genuine: BoolArray,
    sharing: Sharing | None,
    figure: Figure,
    lists: IntArray | None = None,
) -> Differences:
    """The differences of a figure between models, from finite scores (pairs,) of each.

    Of ``kfold`` and ``insightface``, too, those of the accuracy at each model's best threshold.
    ``lists`` (pairs,), ascending, says which list each pair is of: the figure is the mean over
    lists then, whose pairs are drawn together where they show the same people.
    """
    if figure.decisions is not None:
        return differences_of_decisions(np.stack(list(map(figure.decisions, scores))), sharing)
    if lists is not None:
        return _of_lists(scores, genuine, sharing, figure, lists)
    if genuine.all() or not genuine.any():
        return Differences.undefined(len(scores), len(genuine))
    if figure.fits_threshold:
        right = best_decisions(scores, genuine)
        luck = best_threshold_luck(scores, genuine, right)
        decided = differences_of_decisions(right, sharing, luck=luck)
        nothing = np.array([np.isneginf(each).all() for each in scores])  # every pair was missed
        decided.gaps[nothing] = decided.gaps[:, nothing] = math.nan
        return decided
    found = [_error(each, genuine, figure) for each in scores]
    values = np.array([value for value, _, _ in found])
    # As DeLong has it: a class's mean was estimated from the class.
    counts = np.where(genuine, genuine.sum(), (~genuine).sum())
    errors = np.stack([own for _, own, _ in found]) * np.sqrt(counts / np.maximum(counts - 1, 1))
    events = np.array([event for _, _, event in found])
    independent = _squared_differences(_products(errors, errors))
    effect = np.ones_like(independent)
    if sharing is not None and sharing.method != "pairs":
        dependent = _squared_differences(_shared_products(errors, sharing)) * sharing.correction
        np.divide(dependent, independent, out=effect, where=independent > 0)
        effect = np.maximum(effect, 1.0)
    # A wrong decision more than there were: without it, few that agree would be called proof.
    more = np.maximum(events[:, None], events[None, :]) ** 2
    freedom = np.full_like(effect, math.inf if sharing is None else sharing.freedom)
    if events.any():
        freedom = np.minimum(freedom, _deciding_pairs(errors, independent))
    whole = np.full_like(effect, math.inf)
    return Differences(
        gaps=values[:, None] - values[None, :],
        variances=(independent + more) * effect,
        freedom=freedom,
        discordant=whole,
        step=np.zeros_like(effect),
        effect=effect,
        luck=np.ones_like(effect),
        only=np.zeros_like(effect),
        pairs=np.full_like(effect, len(genuine)),
        errors=errors,
    )


def _of_lists(
    scores: Sequence[FloatArray],
    genuine: BoolArray,
    sharing: Sharing | None,
    figure: Figure,
    lists: IntArray,
) -> Differences:
    found, across = [], []
    for of in parts_of(lists):
        own = None
        if sharing is not None:
            across.append((sharing.left[of], sharing.right[of]))
            own = pair_sharing(*across[-1], unit=sharing.unit)
        found.append(differences_on_bin([each[of] for each in scores], genuine[of], own, figure))
    return mean_of(found, across or None)


def parts_of(lists: IntArray) -> list[slice]:
    """Where the pairs of each list stand, from the list of each (pairs,), ascending."""
    starts = [0, *(np.flatnonzero(np.diff(lists)) + 1).tolist(), len(lists)]
    return [slice(*ends) for ends in itertools.pairwise(starts)]


def best_decisions(scores: Sequence[FloatArray], genuine: BoolArray) -> BoolArray:
    """Which pairs each model decides rightly at its best threshold on them: (models, pairs).

    At 0 where one kind of pairs is missing, so that no threshold is best.
    """
    found = []
    for own in scores:
        best = seed(own, genuine)
        found.append((own > (best.threshold if best else 0.0)) == genuine)
    return np.stack(found)


def differences_of_decisions(
    correct: BoolArray, sharing: Sharing | None, *, luck: float | FloatArray = 1.0
) -> Differences:
    """The differences in how many pairs models decide rightly, ``correct`` being (models, pairs).

    ``luck`` times the variance of independent pairs is what fitted thresholds leave of it
    (`threshold_luck`), of every two models or of all; less than all of it only where discordant
    pairs are not few, which are tested exactly. Every sum is of whole numbers, so that two models
    differ by the same bits alone and among forty.
    """
    models, pairs = correct.shape
    # The last row counts pairs: what is needed to take the mean difference from each.
    counted = np.vstack([correct, np.ones(pairs)])
    products = _products(counted, counted)
    only = products[:models, -1:] - products[:models, :models]
    gaps = (only - only.T) / pairs
    disagreeing = only + only.T
    effect = np.ones_like(gaps)
    if sharing is not None and sharing.method != "pairs":
        shared = _shared_products(counted, sharing)
        sums = shared[:models, -1:] - shared[:models, -1:].T
        dependent = _squared_differences(shared[:models, :models]) - 2 * gaps * sums
        dependent = (dependent + gaps**2 * shared[-1, -1]) * sharing.correction
        independent = disagreeing - pairs * gaps**2
        np.divide(dependent, independent, out=effect, where=independent > 1e-9)
        effect = np.maximum(effect, 1.0)
    few = disagreeing < MANY * effect
    luck = np.where(few, np.maximum(luck, 1.0), luck)
    effect = effect + (luck - 1)
    step = effect / pairs
    return Differences(
        gaps=gaps,
        variances=disagreeing * effect / pairs**2,
        freedom=np.full_like(gaps, math.inf if sharing is None else sharing.freedom),
        discordant=disagreeing / effect,
        step=step,
        effect=effect,
        luck=luck,
        only=only,
        pairs=np.full_like(gaps, pairs),
        errors=correct / pairs,
    )


def mean_of(bins: Sequence[Differences], across: Sequence[Ends] | None = None) -> Differences:
    """The differences of the mean over bins, each counting the same.

    Bins count as independent. ``across`` says otherwise: for each bin, what the left and right side
    of all its pairs shows, numbered alike on all bins; bins that share images (or people) then add
    up as pairs do that share some. ``ValueError`` for none.
    """
    if not bins:
        raise ValueError("expected the differences on one bin at least")
    if len(bins) == 1:
        return bins[0]
    count = len(bins)
    parts = [each.variances / count**2 for each in bins]
    variances = np.sum(parts, axis=0)

    def worth(units: list[FloatArray]) -> FloatArray:
        """Of variances that rest on so many units each (Satterthwaite 1946)."""
        shares = np.sum([part**2 / unit for part, unit in zip(parts, units, strict=True)], axis=0)
        found: FloatArray = np.divide(
            variances**2, shares, out=np.full_like(shares, math.inf), where=shares > 0
        )
        return found

    with np.errstate(divide="ignore", invalid="ignore"):
        discordant = worth([np.where(each.variances > 0, each.discordant, 1.0) for each in bins])
        step = np.sqrt(variances / discordant)
        steps = np.array([each.step for each in bins])
        none = np.sqrt((steps**3).sum(axis=0) / steps.sum(axis=0)) / count
    agreeing = (variances == 0) & np.isfinite(none)
    found = Differences(
        gaps=np.mean([each.gaps for each in bins], axis=0),
        variances=variances,
        freedom=worth([each.freedom for each in bins]),
        discordant=np.where(agreeing, 0.0, discordant),
        step=np.where(agreeing, none, step),
        effect=np.mean([each.effect for each in bins], axis=0),
        luck=np.mean([each.luck for each in bins], axis=0),
        only=np.sum([each.only for each in bins], axis=0),
        pairs=np.sum([each.pairs for each in bins], axis=0),
        errors=np.concatenate([each.errors for each in bins], axis=1) / count,
    )
    return found if across is None else _drawn_together(found, bins, across)


def _drawn_together(
    found: Differences, bins: Sequence[Differences], across: Sequence[Ends]
) -> Differences:
    """The same, with pairs of all bins that share an image drawn together."""
    sharing = pair_sharing(
        *(np.concatenate([np.asarray(ends[side]) for ends in across]) for side in (0, 1))
    )
    if sharing.method == "pairs":
        return found
    errors = np.concatenate(
        [each.errors - each.errors.mean(axis=1, keepdims=True) for each in bins], axis=1
    ) / len(bins)
    dependent = _squared_differences(_shared_products(errors, sharing)) * sharing.correction
    # Few images may hide what they share; that the same two stand in two bins, nothing can.
    sums = np.array([np.bincount(sharing.dyad, weights=row) for row in errors], np.float64)
    dependent = np.maximum(dependent, _squared_differences(_products(sums, sums)))
    # Errors are those of fixed thresholds: so is what they are compared with.
    made_up_for = [(1 - np.minimum(each.luck, 1.0)) / each.effect for each in bins]
    fixed = [each.variances * (1 + more) for each, more in zip(bins, made_up_for, strict=True)]
    apart = np.sum(fixed, axis=0) / len(bins) ** 2
    wider = np.ones_like(dependent)
    np.divide(dependent, apart, out=wider, where=apart > 0)
    wider = np.maximum(wider, 1.0)
    return replace(
        found,
        variances=found.variances * wider,
        discordant=found.discordant / wider,
        step=found.step * wider,
        effect=found.effect * wider,
        freedom=np.minimum(found.freedom, sharing.freedom),
    )


def p_values(bins: Sequence[Differences], across: Sequence[Ends] | None = None) -> FloatArray:
    """Two-sided p-values (models, models) of equal figures, each couple's own (before Holm).

    Of the mean over the bins, as `mean_of` has it. 1 on the diagonal, and for couples whose figures
    are undefined or have no variance to be judged by.
    """
    mean = mean_of(bins, across)
    found = np.ones_like(mean.gaps)
    for i, j in itertools.combinations(range(len(found)), 2):
        if mean.variances[i, j] > 0 and math.isfinite(mean.gaps[i, j]):
            z = mean.gaps[i, j] / math.sqrt(mean.variances[i, j])
            found[i, j] = found[j, i] = discordance_p_value(
                float(mean.discordant[i, j]), float(z), float(mean.freedom[i, j])
            )
    return found


def interval(
    found: Differences, confidence: float = 0.95, *, couple: tuple[int, int] = (0, 1)
) -> tuple[float, float]:
    """The interval of one couple's gap; it leaves out 0 exactly where p < 1 - ``confidence``."""
    gap, variance, freedom, discordant, step = (
        float(each[couple])
        for each in (found.gaps, found.variances, found.freedom, found.discordant, found.step)
    )
    if math.isinf(discordant):
        half = reach(confidence, freedom) * math.sqrt(variance)
        return gap - half, gap + half
    return discordance_interval(gap, discordant, step, freedom=freedom, confidence=confidence)


def figure_value(
    scores: FloatArray, genuine: BoolArray, figure: Figure, lists: IntArray | None = None
) -> float | None:
    """The figure of these pairs, or its mean over lists; None where it is undefined."""
    parts = [slice(None)] if lists is None else parts_of(lists)
    found = [figure.value(sorted_pairs(scores[of], genuine[of])) for of in parts]
    known = [each for each in found if each is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def _error(
    scores: FloatArray, genuine: BoolArray, figure: Figure
) -> tuple[float, FloatArray, float]:
    """The figure of these pairs, NaN if it is undefined, what each adds, and what one decision."""
    pairs = sorted_pairs(scores, genuine)
    value, influence = figure.value(pairs), figure.influence(pairs)
    return math.nan if value is None else value, influence.contributions(pairs), influence.event


def _deciding_pairs(errors: FloatArray, squares: FloatArray) -> FloatArray:
    """How many pairs that weigh the same would know a variance as these do, at least 1.

    A TAR at a low FAR turns on a handful of impostors: what their squares add up to is a guess.
    """
    squared = errors * errors  # as powers, they take a hundred times as long
    halves = _products(squared, squared)
    thirds = _products(squared * errors, errors)
    own = np.diag(halves)
    fourths = np.maximum(own[:, None] + own + 6 * halves - 4 * (thirds + thirds.T), 0.0)
    pairs = np.full_like(squares, math.inf)
    np.divide(squares**2, fourths, out=pairs, where=fourths > 0)
    return np.maximum(pairs, 1.0)


def _squared_differences(products: FloatArray) -> FloatArray:
    """Squared distances of vectors from their products, never below 0."""
    own = np.diag(products)
    return np.maximum(0.0, own[:, None] + own[None, :] - 2 * products)


def _shared_products(matrix: FloatArray, sharing: Sharing) -> FloatArray:
    """Products of rows over all couples of pairs that hang together, as `design_effect` sums."""
    sums, twice = (np.stack(each) for each in zip(*map(sharing.sums, matrix), strict=True))
    return _products(sums, sums) - _products(twice, twice)


def _products(one: FloatArray, other: FloatArray) -> FloatArray:
    """Every product of a row of one matrix and a row of the other."""
    # For few rows BLAS starts threads that take longer to meet than to work: on a machine whose
    # two cores are busy 60 ms of processor time instead of 1.
    products: FloatArray
    products = np.einsum("ik,jk->ij", one, other) if len(one) <= _FEW_ROWS else one @ other.T
    return products
