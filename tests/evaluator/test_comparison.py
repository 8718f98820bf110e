import hashlib
import pickle

import numpy as np
import pytest
from scipy import stats

from evaluator.comparison import combine, compare_pairs, verdict
from evaluator.resampling import pair_sharing
from evaluator.statistics import delong_test
from evaluator.threshold_luck import threshold_luck


def kfold_decisions(scores, genuine):
    """Right or wrong by ten contiguous folds, each at the best threshold of the other nine."""
    pairs = len(scores)
    fold = np.repeat(np.arange(10), [len(part) for part in np.array_split(np.arange(pairs), 10)])
    order = np.argsort(-scores, kind="stable")
    descending, gain = scores[order], np.where(genuine[order], 1, -1)
    trained_on = fold[order] != np.arange(10)[:, None]
    best = np.where(trained_on, gain, 0).cumsum(axis=1).argmax(axis=1)
    threshold = (descending[best] + descending[np.minimum(best + 1, pairs - 1)]) / 2
    return (scores > threshold[fold]) == genuine


def unshared_pairs(pairs=1000):
    left = np.arange(pairs)
    genuine = left % 2 == 0
    person = np.concatenate([left, np.where(genuine, left, left + pairs)])
    return left, left + pairs, genuine, person


def reused_pairs(people, photos, pairs):
    """IJB-like: every image is in many pairs, so that all pairs hang together."""
    generator = np.random.default_rng(0)
    person = np.repeat(np.arange(people), photos)
    genuine = np.arange(pairs) % 2 == 0
    left = generator.integers(0, people * photos, pairs)
    mate = left // photos * photos + (left + generator.integers(1, photos, pairs)) % photos
    stranger = (left + generator.integers(photos, (people - 1) * photos, pairs)) % len(person)
    right = np.where(genuine, mate, stranger)
    different = (person[left] == person[right]) == genuine
    return left[different], right[different], genuine[different], person


def separate_groups(groups, photos, pairs):
    """Pairs within groups of two people, so that the groups share nothing."""
    generator = np.random.default_rng(0)
    genuine = np.arange(pairs) % 2 == 0
    group = generator.integers(0, groups, pairs)
    first, other = generator.integers(0, photos, (2, pairs))
    other = np.where(genuine & (first == other), (other + 1) % photos, other)
    left = group * 2 * photos + first
    right = group * 2 * photos + other + np.where(genuine, 0, photos)
    return left, right, genuine, np.repeat(np.arange(2 * groups), photos)


def lfw_pairs(shared):
    """The dev-test bin's own reuse of images, by equal bytes."""
    encoded, genuine = pickle.loads(
        (shared / "bins" / "lfw_devtest.bin").read_bytes(), encoding="bytes"
    )
    genuine = np.array(genuine, dtype=bool)
    digests = [hashlib.sha256(bytes(image)).hexdigest() for image in encoded]
    _, image = np.unique(digests, return_inverse=True)
    left, right = image[::2], image[1::2]
    person = np.arange(image.max() + 1)
    for one, other in zip(left[genuine], right[genuine], strict=True):
        person[person == person[other]] = person[one]
    return left, right, genuine, np.unique(person, return_inverse=True)[1]


def false_alarms(
    structure, *, photo, noise, person_noise=0.0, by="images", model_pairs=2000, size=16
):
    """Share of pairs of equally good models that are called different, and mean disagreement.

    Each pair of models is two noisy copies of a parent model of its own.
    """
    left, right, genuine, person = structure
    people, generator = person.max() + 1, np.random.default_rng(7)
    ends = (left, right) if by == "images" else (person[left], person[right])
    alarms = disagreement = 0
    for _ in range(model_pairs):
        parent = generator.normal(size=(people, size))[person]
        parent = parent + photo * generator.normal(size=parent.shape)
        scores = []
        for _ in range(2):
            copy = parent + noise * generator.normal(size=parent.shape)
            copy += person_noise * generator.normal(size=(people, size))[person]
            copy /= np.linalg.norm(copy, axis=1, keepdims=True)
            scores.append(np.einsum("nd,nd->n", copy[left], copy[right]))
        found = compare_pairs(
            *scores,
            genuine,
            correct_a=kfold_decisions(scores[0], genuine),
            correct_b=kfold_decisions(scores[1], genuine),
            replicates=1000,
            swaps=80,
            **{by: ends},
        )
        alarms += found.p_value < 0.05
        disagreement += len(found.only_a) + len(found.only_b)
    return alarms / model_pairs, disagreement / model_pairs, found.method


@pytest.mark.slow
def test_equal_models_on_independent_pairs_are_called_different_5_percent_of_the_time():
    alarms, _, method = false_alarms(unshared_pairs(), photo=0.5, noise=0.3)
    assert method == "pairs"
    assert 0.03 <= alarms <= 0.07


@pytest.mark.slow
def test_equal_models_on_lfws_reused_images_are_called_different_5_percent_of_the_time(shared):
    alarms, _, method = false_alarms(lfw_pairs(shared), photo=0.6, noise=0.4)
    assert method == "clusters"
    assert 0.03 <= alarms <= 0.07


@pytest.mark.slow
def test_twenty_discordant_pairs_are_enough_for_the_nominal_level():
    alarms, disagreement, _ = false_alarms(unshared_pairs(), photo=0.45, noise=0.25)
    assert 15 <= disagreement <= 25
    assert 0.03 <= alarms <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize(
    ("structure", "noises", "by", "expected"),
    [
        (reused_pairs(150, 3, 1000), {"photo": 0.6, "noise": 0.4}, "images", "dyads"),
        (reused_pairs(40, 5, 1000), {"photo": 0.8, "noise": 0.5}, "images", "dyads"),
        (
            reused_pairs(60, 5, 1000),
            {"photo": 0.8, "noise": 0.3, "person_noise": 0.4},
            "identities",
            "dyads",
        ),
        (separate_groups(70, 4, 1000), {"photo": 0.7, "noise": 0.4}, "images", "clusters"),
    ],
    ids=["images used 4 times", "images used 10 times", "people used 33 times", "70 clusters"],
)
def test_heavy_reuse_keeps_the_nominal_level(structure, noises, by, expected):
    alarms, _, method = false_alarms(structure, by=by, model_pairs=1000, **noises)
    assert method == expected
    assert 0.03 <= alarms <= 0.07


def decided(only_a, only_b, pairs, **options):
    """A comparison of models with these decisions, whose scores say nothing."""
    correct_a = np.arange(pairs) >= only_b
    correct_b = (np.arange(pairs) < only_b) | (np.arange(pairs) >= only_b + only_a)
    constant = np.zeros(pairs)
    options = {"swaps": 1, **options}
    return compare_pairs(
        constant,
        constant,
        np.arange(pairs) % 2 == 0,
        correct_a=correct_a,
        correct_b=correct_b,
        **options,
    )


def test_difference_is_a_minus_b_with_the_pairs_only_one_gets_right():
    found = decided(30, 10, 6000)
    assert found.difference == pytest.approx(20 / 6000)
    assert found.difference == pytest.approx(found.accuracy_a - found.accuracy_b)
    assert found.only_b.tolist() == list(range(10))
    assert found.only_a.tolist() == list(range(10, 40))
    assert found.mcnemar_p == pytest.approx(stats.binomtest(10, 40).pvalue)
    assert 0 < found.interval[0] < found.difference < found.interval[1]
    assert found.threshold_luck == found.design_effect == 1.0


def test_bootstrap_agrees_with_the_tests_it_refines():
    for only_a, only_b in [(30, 10), (40, 25), (120, 100), (9, 3)]:
        found = decided(only_a, only_b, 6000)
        discordant = only_a + only_b
        mid_p = 2 * stats.binom.cdf(only_b, discordant, 0.5) - stats.binom.pmf(
            only_b, discordant, 0.5
        )
        assert found.p_value == pytest.approx(mid_p, rel=0.35, abs=0.002)
        half = 1.96 * np.sqrt(discordant) / 6000
        assert found.interval[1] - found.interval[0] == pytest.approx(2 * half, rel=0.06)


def test_verdict_in_words():
    better = decided(40, 21, 6000)
    low, high = (100 * end for end in better.interval)
    assert verdict(better) == f"A is better: +0.32 points [{low:.2f}, {high:.2f}]"
    worse = decided(21, 40, 6000)
    assert (
        verdict(worse, name_b="arc_8") == f"arc_8 is better: +0.32 points [{low:.2f}, {high:.2f}]"
    )
    best = f"{100 * worse.detectable_difference:.2f}"
    undecided = f"not separable: 6,000 pairs can show {best} points at best"
    assert verdict(worse, p_value=0.06) == undecided
    even = decided(20, 20, 6000)
    assert verdict(even).startswith("not separable: 6,000 pairs can show 0.3")


def test_verdict_interval_and_p_value_never_disagree():
    for only_a in range(0, 30):
        found = decided(only_a, 8, 600, replicates=500)
        assert (found.p_value < 0.05) == (found.interval[0] > 0 or found.interval[1] < 0)


def draws(difference, disagreement, pairs, count, seed=0):
    shares = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    return np.random.default_rng(seed).multinomial(pairs, shares, size=count)


def test_detectable_difference_is_found_four_times_in_five_and_covered():
    pairs, disagreement = 3000, 0.02
    best = decided(30, 30, pairs).detectable_difference
    found = [
        decided(a, b, pairs, replicates=1000) for a, b, _ in draws(best, disagreement, pairs, 600)
    ]
    assert np.mean([each.p_value < 0.05 for each in found]) == pytest.approx(0.80, abs=0.05)
    covered = [each.interval[0] <= best <= each.interval[1] for each in found]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


def test_pairs_needed_would_find_the_difference_four_times_in_five():
    small = decided(18, 12, 1500)
    assert small.p_value > 0.05
    needed = small.pairs_needed
    found = [
        decided(a, b, needed, replicates=1000).p_value < 0.05
        for a, b, _ in draws(6 / 1500, 31 / 1501, needed, 500)
    ]
    assert np.mean(found) == pytest.approx(0.80, abs=0.06)


def test_shared_images_widen_the_interval_and_are_named():
    pairs = np.arange(900)
    alone = decided(30, 12, 900)
    assert alone.basis == "bootstrap over pairs, as if none shared an image"
    unshared = decided(30, 12, 900, images=(pairs, pairs + 900))
    assert unshared.basis == "bootstrap over pairs: none shares an image"
    assert unshared.interval == alone.interval
    tripled = decided(30, 12, 900, images=(pairs // 3, pairs // 3 + 900))
    assert tripled.basis == "bootstrap over 300 clusters of pairs that share images"
    chained = decided(30, 12, 900, identities=(pairs // 3, (pairs // 3 + 1) % 300))
    assert chained.method == "dyads"
    assert "for shared people (300 people chain" in chained.basis
    for wider in (tripled, chained):
        assert wider.interval[1] - wider.interval[0] > 1.4 * (alone.interval[1] - alone.interval[0])
        assert wider.pairs_needed > 1.9 * alone.pairs_needed


def test_auc_is_compared_by_delong_and_widened_for_shared_images():
    generator = np.random.default_rng(0)
    genuine = np.arange(300) % 2 == 0
    scores = generator.normal(size=(2, 300)) + 1.5 * genuine
    correct = (scores > 0.7) == genuine
    alone = compare_pairs(*scores, genuine, correct_a=correct[0], correct_b=correct[1])
    witness = delong_test(*scores, genuine)
    assert (alone.auc_difference, alone.auc_p_value) == (witness.difference, witness.p_value)
    # Every pair four times over says nothing new, and must not look as if it did.
    copies = np.tile(np.arange(300), 4)
    repeated = compare_pairs(
        *np.tile(scores, 4),
        np.tile(genuine, 4),
        correct_a=np.tile(correct[0], 4),
        correct_b=np.tile(correct[1], 4),
        images=(copies, copies + 300),
    )
    assert repeated.auc_p_value == pytest.approx(alone.auc_p_value, rel=0.02)


def test_the_same_arguments_give_the_same_numbers():
    one, same, other = (decided(30, 12, 900, seed=seed) for seed in (3, 3, 4))
    assert (one.interval, one.p_value) == (same.interval, same.p_value)
    assert (one.replicates != other.replicates).any()


@pytest.mark.parametrize("images", [None, "one", "own"])
@pytest.mark.parametrize("pairs", [1, 2, 3, 12])
@pytest.mark.parametrize("case", ["identical", "perfect", "opposite", "one class"])
def test_degenerate_comparisons_are_defined(case, pairs, images):
    genuine = np.arange(pairs) % 2 == 0
    scores_a = np.where(genuine, 1.0, 0.0) if case != "identical" else np.linspace(0, 1, pairs)
    scores_b = -scores_a if case == "opposite" else scores_a
    if case == "one class":
        genuine = np.ones(pairs, dtype=bool)
    number = np.arange(pairs) if images == "own" else np.zeros(pairs, dtype=int)
    found = compare_pairs(
        scores_a,
        scores_b,
        genuine,
        correct_a=np.ones(pairs, dtype=bool),
        correct_b=np.full(pairs, case != "opposite"),
        images=(number, number + pairs) if images else None,
        replicates=1000,
    )
    figures = [found.p_value, found.mcnemar_p, *found.interval, found.detectable_difference]
    assert np.isfinite([*figures, found.auc_p_value or 0, found.threshold_luck]).all()
    assert 0 <= found.p_value <= 1
    assert found.detectable_difference <= 1
    assert (found.auc_difference is None) == (case == "one class" or pairs == 1)
    if case != "opposite":
        assert found.p_value == 1.0
        assert found.pairs_needed is None
        assert found.interval[0] <= 0 <= found.interval[1]
        assert verdict(found).startswith("not separable")


def test_bins_are_combined_as_independent_even_with_one_seed():
    alarms = []
    for counts in draws(0, 0.02, 2000, 1500, seed=2).reshape(500, 3, 3):
        bins = [decided(a, b, 2000, replicates=800) for a, b, _ in counts]
        overall = combine(bins)
        alarms.append(overall.p_value < 0.05)
        assert alarms[-1] == (overall.interval[0] > 0 or overall.interval[1] < 0)
    assert 0.03 <= np.mean(alarms) <= 0.07


def test_combined_figures_are_means_over_bins_and_holm_over_bins():
    bins = [decided(40, 21, 6000), decided(30, 30, 600), decided(90, 40, 7000)]
    overall = combine(bins)
    assert overall.difference == pytest.approx((19 / 6000 + 0 + 50 / 7000) / 3)
    assert (overall.bins, overall.pairs) == (3, 13_600)
    errors = [np.std(each.replicates) for each in bins]
    half = 1.96 * np.sqrt(np.square(errors).sum()) / 3
    assert overall.interval == pytest.approx(
        (overall.difference - half, overall.difference + half), abs=0.05 * half
    )
    p = [each.p_value for each in bins]
    assert overall.bin_p_values == pytest.approx((2 * p[0], 1.0, 3 * p[2]))
    alone = combine(bins[:1])
    assert (alone.interval, alone.p_value) == (bins[0].interval, bins[0].p_value)
    assert "13,600 pairs can show" in verdict(overall, p_value=1.0)


def test_arrays_that_do_not_belong_together_are_refused():
    good = {"correct_a": [True, True], "correct_b": [True, True]}
    with pytest.raises(ValueError, match="one value a pair"):
        compare_pairs([1.0], [1.0], [True], **good)
    with pytest.raises(ValueError, match="at least one"):
        compare_pairs([], [], [], correct_a=[], correct_b=[])
    with pytest.raises(ValueError, match="sharing is of 1 pairs"):
        compare_pairs([1.0, 0], [1.0, 0], [True, False], **good, images=([0], [1]))
    with pytest.raises(ValueError, match="at least one"):
        combine([])


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


@pytest.mark.slow
def test_threshold_luck_is_what_the_variance_of_equal_models_shows():
    generator = np.random.default_rng(0)
    genuine = np.arange(1000) % 2 == 0
    squares, discordant, luck = [], [], []
    for _ in range(1500):
        parent = generator.normal(size=1000) + 4 * genuine
        scores = [parent + 0.5 * generator.normal(size=1000) for _ in range(2)]
        right = [kfold_decisions(each, genuine) for each in scores]
        squares.append((right[0].sum() - right[1].sum()) ** 2.0)
        discordant.append((right[0] != right[1]).sum())
        luck.append(threshold_luck(*scores, genuine, swaps=20))
    truth = np.mean(squares) / np.mean(discordant)
    assert truth > 1.2
    assert np.mean(luck) == pytest.approx(truth, rel=0.15)


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


def test_lfws_pairs_are_resampled_by_cluster(shared):
    left, right, _, _ = lfw_pairs(shared)
    sharing = pair_sharing(left, right)
    assert (sharing.nodes, len(left)) == (1549, 1000)
    assert (sharing.method, sharing.clusters) == ("clusters", 559)
