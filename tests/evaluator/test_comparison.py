from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats

from evaluator.statistics.comparison import combine, compare_pairs, verdict
from evaluator.statistics.pair_tests import delong_test


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


def named(bins):
    return {f"bin {number}": each for number, each in enumerate(bins)}


def test_the_order_of_bins_changes_nothing_and_swapped_models_only_signs():
    bins = [decided(40, 21, 6000), decided(30, 30, 600), decided(90, 40, 7000)]
    overall = combine(named(bins))
    turned = combine(dict(reversed(named(bins).items())))
    assert turned.bin_p_values == overall.bin_p_values[::-1]
    assert asdict(replace(turned, bin_p_values=overall.bin_p_values)) == asdict(overall)
    swapped = combine(named([decided(21, 40, 6000), decided(30, 30, 600), decided(40, 90, 7000)]))
    assert swapped.difference == -overall.difference
    # The bootstraps are drawn anew, so that ends agree within their noise.
    half = (overall.interval[1] - overall.interval[0]) / 2
    ends = (-swapped.interval[1], -swapped.interval[0])
    assert ends == pytest.approx(overall.interval, abs=0.06 * half)


def test_bins_of_equal_replicates_are_still_drawn_apart():
    # The same pairs under two names: as two independent bins, their errors average.
    one = decided(40, 21, 6000)
    overall = combine({"a": one, "b": one})
    width = (overall.interval[1] - overall.interval[0]) / (one.interval[1] - one.interval[0])
    assert width == pytest.approx(1 / np.sqrt(2), abs=0.05)


def test_bins_are_combined_as_independent_even_with_one_seed():
    alarms = []
    for counts in draws(0, 0.02, 2000, 1500, seed=2).reshape(500, 3, 3):
        bins = [decided(a, b, 2000, replicates=800) for a, b, _ in counts]
        overall = combine(named(bins))
        alarms.append(overall.p_value < 0.05)
        assert alarms[-1] == (overall.interval[0] > 0 or overall.interval[1] < 0)
    assert 0.03 <= np.mean(alarms) <= 0.07


def test_combined_figures_are_means_over_bins_and_holm_over_bins():
    bins = [decided(40, 21, 6000), decided(30, 30, 600), decided(90, 40, 7000)]
    overall = combine(named(bins))
    assert overall.difference == pytest.approx((19 / 6000 + 0 + 50 / 7000) / 3)
    assert (overall.bins, overall.pairs) == (3, 13_600)
    errors = [np.std(each.replicates) for each in bins]
    half = 1.96 * np.sqrt(np.square(errors).sum()) / 3
    assert overall.interval == pytest.approx(
        (overall.difference - half, overall.difference + half), abs=0.05 * half
    )
    p = [each.p_value for each in bins]
    assert overall.bin_p_values == pytest.approx((2 * p[0], 1.0, 3 * p[2]))
    alone = combine(named(bins[:1]))
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
        combine({})
