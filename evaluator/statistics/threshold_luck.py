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

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluator.array_types import BoolArray, FloatArray, IntArray

# Thresholds fall between this many groups of equally ranked pairs at most, and a call exchanges
# about this many pairs at most, so that a million pairs cost megabytes and seconds.
MAXIMUM_SLOTS = 20_000
MAXIMUM_EXCHANGES = 50_000_000
MINIMUM_SWAPS = 50

# Best thresholds: the most pairs that are halved; more cost seconds, and leave thresholds little to
# make up for.
MOST_HALVED = 250_000
_LEAST_LUCK = 0.25  # near copies have 0.4


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
    part on would be the variance if thresholds were fixed. The pairs are halved 64 times,
    which makes two samples without and with thresholds of their own: the ratio of the mean
    squares of what the differences in one half exceed those in the other by is that of samples half
    as large, and falls short of 1 as the cube root of pairs (Kim and Pollard 1990). 1 where halves
    have the thresholds of the whole, where nothing parts two models, and above `MOST_HALVED` pairs.
    Which half a pair is in, its label and places in both models' orders say: pairs in any order
    give the same, and two models the same alone and among others, whichever is first.
    """
    models, pairs = correct.shape
    ratio = np.ones((models, models))
    if pairs > MOST_HALVED:
        return ratio
    known = [
        _around_best(own, genuine, int(np.count_nonzero(right == genuine)))
        for own, right in zip(scores, correct, strict=True)
    ]
    for a, b in itertools.combinations(range(models), 2):
        apart = np.flatnonzero(correct[a] != correct[b])
        one, other = known[a], known[b]
        half = _halves(one, other, np.concatenate([one.near, other.near, apart]))
        ends = len(one.near), len(one.near) + len(other.near)
        sign = np.where(correct[a, apart], 1, -1).astype(np.int32)
        fixed = sign @ half[ends[1] :]
        best = fixed + _made_up_for(one, half[: ends[0]])
        best -= _made_up_for(other, half[ends[0] : ends[1]])
        if fixed.any():
            ratio[a, b] = ratio[b, a] = (best**2).sum() / (fixed**2).sum()
    return np.clip(1 - (1 - ratio) / 2 ** (1 / 3), _LEAST_LUCK, 1.0)


@dataclass(frozen=True, eq=False)
class _AroundBest:
    """A model's pairs around its best threshold, those that halves may accept otherwise.

    ``near`` (n,) are their places, by descending score, ``gain`` (n,) 1 for genuine pairs and -1
    for impostors, of which ``accepted`` are accepted. ``cuts`` are how many of them a threshold may
    accept, and ``lead`` what all pairs gain there. ``place`` (pairs,) mixes the label and the place
    of the score of each pair of the bin, ``tied`` is whether some have the same.
    """

    near: IntArray
    gain: npt.NDArray[np.int8]
    accepted: int
    cuts: IntArray
    lead: IntArray
    place: npt.NDArray[np.uint64]
    tied: bool


def _around_best(scores: FloatArray, genuine: BoolArray, accepted: int) -> _AroundBest:
    """From the scores (pairs,) and the number that the best threshold accepts."""
    order = np.argsort(-scores, kind="stable")
    descending, gain = scores[order], np.where(genuine[order], 1, -1).astype(np.int8)
    lead = np.concatenate([[0], np.cumsum(gain, dtype=np.int64)])
    lead -= lead[accepted]
    is_cut = np.concatenate([[True], descending[1:] != descending[:-1], [True]])
    # A half has its best cut where all pairs lose no more than half of them can win back there,
    # which five standard deviations bound.
    away = np.abs(np.arange(len(lead)) - accepted)
    cuts = np.flatnonzero(is_cut & (lead + 5 * np.sqrt(away) >= 0))
    first, last = cuts[0], cuts[-1]
    place = np.empty(len(order), np.uint64)
    place[order] = 2 * np.cumsum(is_cut[:-1]) + (gain > 0)
    return _AroundBest(
        near=order[first:last],
        gain=gain[first:last],
        accepted=int(accepted - first),
        cuts=cuts - first,
        lead=lead[cuts],
        place=_mixed(place),
        tied=not is_cut.all(),
    )


def _halves(one: _AroundBest, other: _AroundBest, pairs: IntArray) -> npt.NDArray[np.int8]:
    """In which half (1 or -1) each of some pairs (n,) is, (n, 64)."""
    places = [each.place for each in (one, other)]
    if one.tied and other.tied:
        places = [each + _count_among_equals(places[0] + 3 * places[1]) for each in places]
    a, b = (each[pairs] for each in places)
    # Halves of one order of the models, and as many of the other.
    drawn = np.stack([_mixed(a + 3 * b), _mixed(b + 3 * a)], axis=1).astype(np.uint32)
    bits = np.unpackbits(drawn.view(np.uint8), axis=1).view(np.int8)
    bits *= 2
    bits -= 1
    return bits


def _made_up_for(model: _AroundBest, half: npt.NDArray[np.int8]) -> IntArray:
    """How many more pairs each half (+1) decides rightly at its own best threshold, less the same
    of the other (-1), than at the threshold that is best for all pairs: (halves,).
    """
    kind = np.int16 if len(half) < 1 << 14 else np.int32  # half as wide, twice as fast
    won = np.zeros((len(half) + 1, half.shape[1]), kind)
    np.cumsum(half * model.gain[:, None], axis=0, dtype=kind, out=won[1:])
    won = won[model.cuts] - won[model.accepted]
    lead = model.lead.astype(kind)[:, None]
    made_up_for: IntArray = np.max(lead + won, axis=0).astype(np.int64)
    made_up_for -= np.max(lead - won, axis=0)
    return made_up_for // 2


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Bits as good as random for each number, the same for the same (SplitMix64's finish)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _count_among_equals(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """How many equal values precede each."""
    order = np.argsort(values, kind="stable")
    differs = np.concatenate([[True], values[order[1:]] != values[order[:-1]]])
    at = np.arange(len(order))
    found = np.empty(len(order), np.uint64)
    found[order] = at - np.maximum.accumulate(np.where(differs, at, 0))
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
    return slot <= last_accepted[fold]


def _rank_from_top(scores: npt.ArrayLike) -> IntArray:
    """Number of higher scores: 0 for the highest, equal for equal ones."""
    values = np.asarray(scores, dtype=np.float64)
    _, group, counts = np.unique(-values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts)[group].astype(np.int64)
