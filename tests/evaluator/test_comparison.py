import numpy as np
import pytest
from scipy import optimize, stats

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.sharing import pair_sharing
from evaluator.statistics.comparison import compare_pairs, overall_of
from evaluator.statistics.differences import mean_of
from evaluator.statistics.pair_tests import holm_p_values
from evaluator.statistics.verdicts import against_margin, verdict
from tests.delong import delong

ACCURACY = all_figures()["accuracy"]


def decided(only_a, only_b, pairs, **options):
    """A comparison of models that part on these pairs, and are right on all others."""
    genuine, place = np.arange(pairs) % 2 == 0, np.arange(pairs)
    wrong_a = place < only_b
    wrong_b = (place >= only_b) & (place < only_b + only_a)
    scores = [np.where(wrong, ~genuine, genuine).astype(float) for wrong in (wrong_a, wrong_b)]
    return compare_pairs(*scores, genuine, **options)


def words(compared, p_value=None, names=("A", "B")):
    p_value = compared.p_value if p_value is None else p_value
    return verdict(compared, names, p_value, ACCURACY)


def test_difference_is_a_minus_b_with_the_pairs_only_one_gets_right():
    found = decided(30, 10, 6000)
    assert found.difference == pytest.approx(20 / 6000)
    assert found.difference == pytest.approx(found.accuracy_a - found.accuracy_b)
    assert found.only_b.tolist() == list(range(10))
    assert found.only_a.tolist() == list(range(10, 40))
    assert found.mcnemar_p == pytest.approx(stats.binomtest(10, 40).pvalue)
    assert 0 < found.interval[0] < found.interval90[0] < found.difference < found.interval[1]


def test_verdict_in_words():
    better, worse = decided(40, 20, 6000), decided(20, 40, 6000)
    low, high = (100 * end for end in better.interval)
    assert words(better) == f"A is better: +0.33 points [{low:.2f}, {high:.2f}]"
    assert words(worse).replace("B", "A") == words(better)
    shown = f"{100 * worse.detectable_difference:.2f}"
    undecided = f"not separable: 6,000 pairs would show {shown} points or more in 4 of 5 cases"
    assert words(worse, 0.06).startswith(f"{undecided} (p 0.0")
    assert words(decided(20, 20, 6000)).startswith("not separable: 6,000 pairs would show 0.3")


def test_a_margin_is_two_one_sided_tests():
    found = decided(25, 20, 6000)
    low, high = (-end for end in found.interval90[::-1])
    for margin, expected in (
        (max(-low, high) + 1e-6, "equivalent"),
        (-low - 1e-6, "cannot tell"),
    ):
        assert against_margin(found, ("A", "B"), margin, ACCURACY)[0] == expected
    assert against_margin(decided(10, 60, 6000), ("A", "B"), 1e-4, ACCURACY)[0] == "not worse"
    assert against_margin(decided(60, 10, 6000), ("A", "B"), 1e-4, ACCURACY)[0] == "worse"


@pytest.mark.slow
def test_what_is_detectable_is_found_four_times_in_five():
    pairs, disagreement = 3000, 0.02
    best = decided(30, 30, pairs).detectable_difference
    shares = [(disagreement + best) / 2, (disagreement - best) / 2, 1 - disagreement]
    drawn = np.random.default_rng(0).multinomial(pairs, shares, size=400)
    found = [decided(a, b, pairs).p_value < 0.05 for a, b, _ in drawn]
    assert np.mean(found) == pytest.approx(0.80, abs=0.06)


def test_shared_images_widen_the_interval_and_are_named():
    pairs = np.arange(900)
    alone = decided(30, 12, 900)
    assert alone.basis == "pairs count as independent: what they share is not known"
    unshared = decided(30, 12, 900, sharing=pair_sharing(pairs, pairs + 900))
    assert unshared.basis == "pairs are independent: none shares an image with another"
    assert unshared.interval == alone.interval
    tripled = decided(30, 12, 900, sharing=pair_sharing(pairs // 3, pairs // 3 + 900))
    assert "for shared images (300 clusters of pairs" in tripled.basis
    chain = pair_sharing(pairs // 3, (pairs // 3 + 1) % 300, unit="person")
    chained = decided(30, 12, 900, sharing=chain)
    assert chained.basis.endswith("for shared people (300 people)")
    for wider in (tripled, chained):
        assert np.diff(wider.interval) > 1.4 * np.diff(alone.interval)
        assert wider.pairs_needed > 1.9 * alone.pairs_needed


def test_auc_is_delongs_whatever_is_asked():
    generator = np.random.default_rng(0)
    genuine = np.arange(300) % 2 == 0
    scores = generator.normal(size=(2, 300)) + 1.5 * genuine
    witness = delong(*scores, genuine)
    for metric in ("accuracy", "eer", "kfold-decisions"):
        found = compare_pairs(*scores, genuine, metric=metric)
        assert found.auc_difference == pytest.approx(witness.difference)
        assert found.auc_p_value == pytest.approx(witness.p_value)


@pytest.mark.parametrize("metric", [*all_figures(), "kfold-decisions"])
@pytest.mark.parametrize("pairs", [1, 2, 3, 12, 40])
@pytest.mark.parametrize("case", ["identical", "perfect", "opposite", "one class"])
def test_degenerate_comparisons_are_defined(case, pairs, metric):
    genuine = np.arange(pairs) % 2 == 0
    scores_a = np.where(genuine, 1.0, 0.0) if case != "identical" else np.linspace(0, 1, pairs)
    scores_b = -scores_a if case == "opposite" else scores_a
    if case == "one class":
        genuine = np.ones(pairs, dtype=bool)
    found = compare_pairs(scores_a, scores_b, genuine, metric=metric)
    if found is None:
        return
    assert case != "one class"
    figures = [found.p_value, found.mcnemar_p, *found.interval, found.detectable_difference]
    assert np.isfinite(figures).all()
    assert 0 < found.p_value <= 1
    if case != "opposite":
        assert (found.p_value, found.pairs_needed) == (1.0, None)
        assert found.interval[0] <= 0 <= found.interval[1]


def together(*bins):
    """Several bins as one."""
    return overall_of(mean_of([each.differences for each in bins]), bins)


def test_p_values_of_bins_are_holms_and_one_bin_is_itself():
    bins = [decided(30, 10, 600), decided(12, 9, 300), decided(2, 2, 1000)]
    assert list(together(*bins).bin_p_values) == holm_p_values([each.p_value for each in bins])
    alone = together(bins[0])
    assert (alone.interval, alone.p_value) == (bins[0].interval, bins[0].p_value)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="one value a pair"):
        compare_pairs([0.1, 0.2], [0.1], [True, False])


def test_pairs_needed_are_as_many_as_the_figure_takes():
    """However large the difference: 1e-3 takes 1,000 impostors, a half of these pairs."""
    rng = np.random.default_rng(0)
    genuine = np.arange(6000) % 2 == 0
    good, poor = (rng.normal(size=6000) + gap * genuine for gap in (8, 1))
    found = compare_pairs(good, poor, genuine, metric="tar@1e-3")
    assert found.pairs_needed == 2000
    lists = np.repeat([0, 1], 3000)
    searched = compare_pairs(good, poor, genuine, metric="tpir@0.01", lists=lists)
    assert searched.pairs_needed == 400  # 100 without a mate in either gallery
    assert compare_pairs(good, poor, genuine).pairs_needed < 100


@pytest.mark.parametrize(("only_a", "only_b", "pairs"), [(30, 30, 3000), (40, 10, 900), (3, 1, 60)])
def test_a_detectable_difference_has_the_power_by_connors_formula(only_a, only_b, pairs):
    found = decided(only_a, only_b, pairs)
    worth = pairs / found.differences.effect[0, 1]
    critical, margin = stats.norm.ppf([0.975, 0.8])
    rate = max((only_a + only_b + 1) / (pairs + 1), (critical + margin) ** 2 / worth)

    def excess(difference):
        power = critical * np.sqrt(rate) + margin * np.sqrt(rate - difference**2)
        return difference * np.sqrt(worth) - power

    expected = optimize.brentq(excess, 0, np.sqrt(rate) - 1e-12)
    assert found.detectable_difference == pytest.approx(
        max(expected, np.diff(found.interval)[0] / 2)
    )


def test_nothing_shown_is_worth_less_than_the_interval_says():
    """Few pairs: what is detectable never lies within the interval's half-width, nor above 1."""
    for only_a, only_b, pairs in ((0, 0, 2), (1, 1, 4), (2, 0, 3), (5, 5, 12)):
        found = decided(only_a, only_b, pairs)
        assert np.diff(found.interval)[0] / 2 <= found.detectable_difference + 1e-12
        assert found.detectable_difference <= 1


@pytest.mark.parametrize("metric", ["auc", "eer", "d-prime"])
def test_a_figure_of_influences_is_planned_by_its_own_standard_error(metric):
    rng = np.random.default_rng(1)
    genuine = np.arange(1200) % 2 == 0
    scores = rng.normal(size=(2, 1200)) + np.array([[2.0], [1.8]]) * genuine
    found = compare_pairs(*scores, genuine, metric=metric)
    variance = found.differences.variances[0, 1]
    power = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    half = np.diff(found.interval)[0] / 2
    assert found.detectable_difference == pytest.approx(half / stats.norm.ppf(0.975) * power)
    needed = 1200 * variance * (power / found.difference) ** 2
    assert found.pairs_needed == pytest.approx(needed, abs=1)
    assert found.design_effect == pytest.approx(1)


def test_what_several_bins_detect_is_what_their_mean_does():
    bins = decided(30, 10, 600), decided(12, 9, 300)
    overall = together(*bins)
    single = [each.detectable_difference for each in bins]
    assert overall.detectable_difference == pytest.approx(np.hypot(*single) / 2)
    assert (overall.bins, overall.pairs) == (2, 900)
    assert overall.difference == pytest.approx((20 / 600 + 3 / 300) / 2)
    assert overall.interval[0] < overall.interval90[0] < overall.difference < overall.interval90[1]


def test_pairs_that_share_nothing_have_a_design_effect_of_one():
    numbers = np.arange(900)
    for sharing in (None, pair_sharing(numbers, numbers + 900)):
        found = decided(30, 12, 900, sharing=sharing)
        assert found.design_effect == pytest.approx(1)
        assert 0 < found.threshold_luck <= 1
    tripled = decided(30, 12, 900, sharing=pair_sharing(numbers // 3, numbers // 3 + 900))
    assert tripled.basis.startswith(f"variance times {tripled.design_effect:.2f} for shared images")
    # 30 and 12 pairs in a row that share in threes: 14 runs of three errors of one sign.
    assert 2 < tripled.design_effect < 4
