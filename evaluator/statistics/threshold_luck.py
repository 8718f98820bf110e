"""How much the choice of thresholds changes the noise of an accuracy difference.

A k-fold accuracy rests on thresholds that were themselves fitted to a few thousand pairs. Two
copies of one model get different thresholds by luck, so their accuracies differ by more than their
discordant pairs explain, and McNemar's test or a bootstrap of the finished decisions calls equal
models different too often. What is missing is measured here by swapping.

Best accuracies differ by less: a threshold that is best for these very pairs makes up for what
they happen to hold, and of two near copies with thresholds apart most discordant pairs cancel.
What is too much is measured here on halves of the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Thresholds fall between this many groups of equally ranked pairs at most, and a call exchanges
# about this many pairs at most, so that a million pairs cost megabytes and seconds.
MAXIMUM_SLOTS = 20_000
MAXIMUM_EXCHANGES = 50_000_000
MINIMUM_SWAPS = 50

# Best thresholds: random halves, and the most pairs that are halved; more cost seconds, and leave
# thresholds little to make up for.
HALVES = 64
MOST_HALVED = 250_000
_LEAST_LUCK = 0.25  # near copies have 0.4
_PIECE = 1 << 16


def threshold_luck(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    genuine: npt.ArrayLike,
    *,
    folds: int = 10,
    swaps: int = 200,
    seed: int = 0,
) -> float:
    """Times by which fitted thresholds multiply the variance of a k-fold accuracy difference.

    At least 1; exactly 1 where swapping never changes a decision. For models that are equally good
    the two scores of a pair can be exchanged at random without changing the distribution of
    anything. Each of ``swaps`` exchanges refits both models' thresholds on every fold's complement;
    the factor is the mean square of the accuracy difference over the mean share of discordant
    pairs, which would be equal if thresholds were fixed. Scores count by their rank, so that
    models on different scales can be exchanged. ``folds`` are contiguous, as in the k-fold
    protocol; fewer pairs than folds leave one pair a fold. Above 250,000 pairs ``swaps`` is cut,
    to 50 at the least.
    """
    labels = np.asarray(genuine, dtype=bool)
    ranks = [_rank_from_top(scores) for scores in (scores_a, scores_b)]
    if any(rank.shape != labels.shape for rank in ranks):
        raise ValueError(
            "scores_a, scores_b and genuine must be one value a pair, equally many; got shapes "
            f"{np.shape(scores_a)}, {np.shape(scores_b)} and {labels.shape}"
        )
    pairs = len(labels)
    if pairs < 2:
        return 1.0
    sizes = np.full(min(folds, pairs), pairs // min(folds, pairs))
    sizes[: pairs % len(sizes)] += 1
    fold = np.repeat(np.arange(len(sizes)), sizes)
    affordable = max(MINIMUM_SWAPS, MAXIMUM_EXCHANGES // pairs)
    generator = np.random.default_rng(seed)
    squares = discordant = 0.0
    for _ in range(min(swaps, affordable)):
        swap = generator.random(pairs) < 0.5
        correct_a = _held_out_decisions(np.where(swap, ranks[1], ranks[0]), labels, fold) == labels
        correct_b = _held_out_decisions(np.where(swap, ranks[0], ranks[1]), labels, fold) == labels
        only_a = int((correct_a & ~correct_b).sum())
        only_b = int((correct_b & ~correct_a).sum())
        squares += (only_a - only_b) ** 2
        discordant += only_a + only_b
    return max(1.0, squares / discordant) if discordant else 1.0


def best_threshold_luck(
    scores: Sequence[FloatArray], genuine: BoolArray, correct: BoolArray
) -> FloatArray:
    """Times by which best thresholds multiply the variance of differences in accuracy, in
    [0.25, 1], (models, models) for finite scores (pairs,) of each model.

    ``correct`` (models, pairs) are the decisions at the best thresholds, of which as many as models
    part on would be the variance if thresholds were fixed. The pairs are halved at random `HALVES`
    times, which makes two samples without and with thresholds of their own: the ratio of the mean
    squares of what the differences in one half exceed those in the other by is that of samples half
    as large, and falls short of 1 as the cube root of pairs (Kim and Pollard 1990). 1 where halves
    have the thresholds of the whole, where nothing parts two models, and above `MOST_HALVED` pairs.
    """
    models, pairs = correct.shape
    if pairs > MOST_HALVED:
        return np.ones((models, models))
    drawn = np.random.default_rng(0).bytes(HALVES * (pairs // 8 + 1))
    bits = np.frombuffer(drawn, dtype=np.uint8).reshape(HALVES, -1)
    half = 2 * np.unpackbits(bits, axis=1, count=pairs).astype(np.int8) - 1
    fixed = np.zeros((models, HALVES))
    for start in range(0, pairs, _PIECE):
        part = slice(start, start + _PIECE)
        weights = half[:, part].astype(np.float32)  # whole numbers: every sum is exact
        fixed += np.einsum("ik,jk->ij", correct[:, part].astype(np.float32), weights)
    best = fixed + np.stack(
        [
            _made_up_for(own, genuine, half, int(np.count_nonzero(right == genuine)))
            for own, right in zip(scores, correct, strict=True)
        ]
    )
    ratio = np.ones((models, models))
    squares = [((each[:, None] - each[None, :]) ** 2).sum(axis=2) for each in (best, fixed)]
    np.divide(squares[0], squares[1], out=ratio, where=squares[1] > 0)
    luck: FloatArray = np.clip(1 - (1 - ratio) / 2 ** (1 / 3), _LEAST_LUCK, 1.0)
    return luck


def _made_up_for(
    scores: FloatArray, genuine: BoolArray, half: npt.NDArray[np.int8], accepted: int
) -> FloatArray:
    """How many more pairs each half (+1) decides rightly at its own best threshold, less the same
    of the other (-1), than at the threshold that accepts so many of all pairs: (halves,).
    """
    order = np.argsort(-scores, kind="stable")
    descending, gain = scores[order], np.where(genuine[order], 1, -1).astype(np.int8)
    lead = np.concatenate([[0], np.cumsum(gain, dtype=np.int32)])
    lead -= lead[accepted]
    is_cut = np.concatenate([[True], descending[1:] != descending[:-1], [True]])
    # A half has its best cut where all pairs lose no more than half of them can win back there,
    # which five standard deviations bound.
    away = np.abs(np.arange(len(lead)) - accepted)
    near = np.flatnonzero(is_cut & (lead + 5 * np.sqrt(away) >= 0))
    first, last = near[0], near[-1]
    won = np.zeros((len(half), last - first + 1), dtype=np.int32)
    np.cumsum(half[:, order[first:last]] * gain[first:last], axis=1, out=won[:, 1:])
    won = (won - won[:, accepted - first, None])[:, near - first]
    found: FloatArray = ((lead[near] + won).max(axis=1) - (lead[near] - won).max(axis=1)) / 2
    return found


def _held_out_decisions(rank: IntArray, genuine: BoolArray, fold: IntArray) -> BoolArray:
    """Whether each pair is accepted at the threshold that is best on all other folds."""
    slots, folds = min(len(rank), MAXIMUM_SLOTS), int(fold[-1]) + 1
    slot = rank if slots == len(rank) else rank * slots // len(rank)
    cell = fold * slots + slot
    # bincount of the two classes would allocate folds x slots twice, in 64 bits.
    gain = np.zeros((folds, slots), dtype=np.int32)
    np.add.at(gain.reshape(-1), cell, np.where(genuine, np.int32(1), np.int32(-1)))
    net = gain.sum(axis=0, dtype=np.int32) - gain
    np.cumsum(net, axis=1, out=net)
    best = net.argmax(axis=1)
    last_accepted = np.where(net[np.arange(folds), best] > 0, best, -1)
    accepted: BoolArray = slot <= last_accepted[fold]
    return accepted


def _rank_from_top(scores: npt.ArrayLike) -> IntArray:
    """Number of higher scores: 0 for the highest, equal for equal ones."""
    values = np.asarray(scores, dtype=np.float64)
    _, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts)[group].astype(np.int64)
