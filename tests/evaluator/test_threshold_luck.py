import numpy as np
import pytest

from evaluator.statistics.threshold_luck import threshold_luck


def luck_by_definition(scores_a, scores_b, genuine, swaps, seed):
    """Swap, try every threshold of nine folds on the tenth, and count."""
    pairs = len(genuine)
    ranks = [np.array([(s > each).sum() for each in s]) for s in (scores_a, scores_b)]
    generator = np.random.default_rng(seed)
    squares = discordant = 0
    for _ in range(swaps):
        swap = generator.random(pairs) < 0.5
        right = []
        for one, other in (ranks, ranks[::-1]):
            mixed = np.where(swap, other, one)
            correct = np.empty(pairs, dtype=bool)
            for held_out in np.array_split(np.arange(pairs), 10):
                rest = np.setdiff1d(np.arange(pairs), held_out)
                accuracy = [
                    np.mean((mixed[rest] <= cut) == genuine[rest]) for cut in range(-1, pairs)
                ]
                cut = range(-1, pairs)[int(np.argmax(accuracy))]
                correct[held_out] = (mixed[held_out] <= cut) == genuine[held_out]
            right.append(correct)
        squares += (right[0].sum() - right[1].sum()) ** 2
        discordant += (right[0] != right[1]).sum()
    return max(1.0, squares / discordant)


@pytest.mark.parametrize("seed", range(4))
def test_threshold_luck_is_its_definition(seed):
    generator = np.random.default_rng(seed)
    genuine = generator.random(64) < 0.4
    parent = np.round(2 * generator.normal(size=64)) + 2 * genuine
    scores = [np.round(parent + generator.normal(size=64), 1) for _ in range(2)]
    expected = luck_by_definition(*scores, genuine, 30, seed)
    assert threshold_luck(*scores, genuine, swaps=30, seed=seed) == pytest.approx(expected)
    # Another scale changes nothing.
    stretched = threshold_luck(np.exp(scores[0]), scores[1], genuine, swaps=30, seed=seed)
    assert stretched == pytest.approx(expected)


def test_more_pairs_than_slots_cost_little_and_say_the_same():
    generator = np.random.default_rng(0)
    genuine = np.arange(45_000) % 2 == 0
    parent = generator.normal(size=45_000) + 4 * genuine
    scores = [parent + 0.3 * generator.normal(size=45_000) for _ in range(2)]
    assert 1.0 <= threshold_luck(*scores, genuine, swaps=20) < 3.0


def test_threshold_luck_is_1_where_no_threshold_can_change_a_decision():
    assert threshold_luck([0.5], [0.4], [True]) == 1.0
    assert threshold_luck([0.5, 0.1, 0.3], [0.4, 0.2, 0.9], [True, True, True]) == 1.0
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(1,\) and \(2,\)"):
        threshold_luck([0.5, 0.1], [0.4], [True, False])
