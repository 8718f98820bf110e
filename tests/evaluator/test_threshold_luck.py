import numpy as np
import pytest

from evaluator.statistics.differences import best_decisions
from evaluator.statistics.threshold_luck import best_threshold_luck, threshold_luck

HALVES = 64


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


def best_count(scores, genuine):
    cuts = [-np.inf, *np.unique(scores)]
    return max(int(((scores > cut) == genuine).sum()) for cut in cuts)


def mixed(value):
    """SplitMix64's finish, by whole numbers without end."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ value >> shift) * factor % 2**64
    return value ^ value >> 31


def halves_of(scores_a, scores_b, genuine):
    """The halves by the places of both scores among those there are, the highest 1."""
    keys, seen = [], {}
    tied = all(len(set(own)) < len(own) for own in (scores_a, scores_b))
    order = [sorted(set(own), reverse=True) for own in (scores_a, scores_b)]
    for pair, label in enumerate(genuine):
        a, b = (
            mixed(2 * (places.index(own[pair]) + 1) + int(label))
            for places, own in zip(order, (scores_a, scores_b), strict=True)
        )
        count = seen[a, b] = seen.get((a, b), -1) + 1
        a, b = a + count * tied, b + count * tied
        bits = [mixed((a + 3 * b) % 2**64), mixed((b + 3 * a) % 2**64)]
        keys.append([each >> i & 1 for each in bits for i in range(HALVES // 2)])
    return np.array(keys, dtype=bool).T


@pytest.mark.parametrize("seed", range(4))
def test_luck_of_best_thresholds_is_its_definition(seed):
    generator = np.random.default_rng(seed)
    genuine = generator.random(301) < 0.4
    parent = generator.normal(size=301) + 2 * genuine
    scores = [np.round(parent + 0.5 * generator.normal(size=301), 1 + seed % 2) for _ in range(3)]
    correct = best_decisions(scores, genuine)
    found = best_threshold_luck(scores, genuine, correct)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        halves = halves_of(scores[a], scores[b], genuine)
        leads = [
            [
                (best_count(own[half], genuine[half]) - best_count(own[~half], genuine[~half]))
                for half in halves
            ]
            for own in (scores[a], scores[b])
        ]
        fixed = [
            [int(own[half].sum()) - int(own[~half].sum()) for half in halves]
            for own in (correct[a], correct[b])
        ]
        ratio = np.square(np.subtract(*leads)).sum() / np.square(np.subtract(*fixed)).sum()
        expected = min(1.0, max(0.25, 1 - (1 - ratio) / 2 ** (1 / 3)))
        assert found[a, b] == found[b, a] == pytest.approx(expected)
    assert (np.diag(found) == 1).all()


@pytest.mark.parametrize("decimals", [1, 2, 16])
def test_luck_of_best_thresholds_knows_no_order_of_pairs_or_models(decimals):
    generator = np.random.default_rng(0)
    genuine = generator.random(1000) < 0.4
    parent = generator.normal(size=1000) + 2 * genuine
    scores = np.round(parent + 0.3 * generator.normal(size=(4, 1000)), decimals)
    scores[:2, ::50] = -np.inf  # missed by two
    found = best_threshold_luck(list(scores), genuine, best_decisions(list(scores), genuine))
    assert len(np.unique(found)) > 5
    for order in (np.argsort(scores[0]), generator.permutation(1000), np.argsort(genuine)):
        for models in ([0, 1, 2, 3], [2, 0], [1, 3], [0, 1], [3, 2]):
            some = [scores[i][order] for i in models]
            again = best_threshold_luck(some, genuine[order], best_decisions(some, genuine[order]))
            np.testing.assert_array_equal(again, found[np.ix_(models, models)])
    # Another scale changes nothing.
    stretched = [np.exp(scores[0]), *scores[1:]]
    again = best_threshold_luck(stretched, genuine, best_decisions(stretched, genuine))
    np.testing.assert_array_equal(again, found)


def test_luck_of_scores_that_are_much_alike_is_that_of_others():
    # Pairs of equal places are halved apart: together, they would be fewer and larger pairs.
    generator = np.random.default_rng(3)
    genuine = np.arange(6000) % 2 == 0
    luck = []
    for _ in range(20):
        parent = generator.normal(size=6000) + 3 * genuine
        scores = [np.round(parent + 0.4 * generator.normal(size=6000), 1) for _ in range(2)]
        apart = [own + 1e-9 * generator.random(6000) for own in scores]
        for each in (scores, apart):
            luck.append(best_threshold_luck(each, genuine, best_decisions(scores, genuine))[0, 1])
    coarse, fine = np.mean(np.reshape(luck, (20, 2)), axis=0)
    assert coarse == pytest.approx(fine, abs=0.12)


def test_luck_of_best_thresholds_is_1_where_they_make_up_for_nothing():
    genuine = np.arange(200) % 2 == 0
    right = np.stack([np.arange(200) >= wrong for wrong in (10, 40)])
    scores = list(np.where(right, genuine, ~genuine).astype(float))
    assert best_threshold_luck(scores, genuine, right)[0, 1] == 1
    constant = [np.zeros(200), np.zeros(200)]
    assert (best_threshold_luck(constant, genuine, best_decisions(constant, genuine)) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.1, 0.4, 1.0])
def test_luck_of_best_thresholds_is_what_the_variance_of_equal_models_shows(noise):
    generator = np.random.default_rng(0)
    genuine = np.arange(1000) % 2 == 0
    squares, discordant, luck = [], [], []
    for draw in range(1500):
        parent = generator.normal(size=1000) + 3 * genuine
        scores = [parent + noise * generator.normal(size=1000) for _ in range(2)]
        right = best_decisions(scores, genuine)
        squares.append((int(right[0].sum()) - int(right[1].sum())) ** 2)
        discordant.append((right[0] != right[1]).sum())
        if draw % 5 == 0:  # its mean is known from fewer
            luck.append(best_threshold_luck(scores, genuine, right)[0, 1])
    truth = np.mean(squares) / np.mean(discordant)
    assert truth < (0.7 if noise == 0.1 else 0.97)
    # The cube root leaves a little too much where halves have thresholds as their wholes have.
    assert truth - 0.05 < np.mean(luck) < truth + 0.12
