"""The test of every two models: its variances, its tail, its intervals, and bins put together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.figure import Influence
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import Sharing, design_effect, pair_sharing
from evaluator.statistics.differences import (
    Differences,
    best_decisions,
    differences_of_decisions,
    differences_on_bin,
    interval,
    mean_of,
    p_values,
    parts_of,
)
from evaluator.statistics.discordance import discordance_interval, discordance_p_value

GENUINE = np.arange(2000) % 2 == 0
ONE = (0, 1)
Rows = NDArray[np.float64]


def noisy_scores(generator: np.random.Generator, models: int = 2) -> list[Rows]:
    base = generator.normal(size=len(GENUINE)) + 3 * GENUINE
    return [base + 0.5 * generator.normal(size=len(GENUINE)) for _ in range(models)]


def test_lists_stand_one_after_the_other_and_no_pair_is_in_none() -> None:
    assert parts_of(np.array([0, 0, 1, 1, 1, 2])) == [slice(0, 2), slice(2, 5), slice(5, 6)]


def decided(
    only_a: int, only_b: int, pairs: int, sharing: Sharing | None = None, luck: float = 1.0
) -> Differences:
    """Two models that part on these pairs: those that A alone gets right first."""
    place = np.arange(pairs)
    correct = [(place < only_a) | (place >= only_a + only_b), place >= only_a]
    return differences_of_decisions(np.stack(correct), sharing, luck=luck)


def of_influences(rows: Rows, sharing: Sharing | None = None) -> Differences:
    """Models to whose figure each pair adds these, all of one class but for two silent pairs."""
    given = iter(rows)

    def influence(pairs: SortedPairs) -> Influence:
        row, genuine = next(given), pairs.pairs.is_genuine
        return Influence(row[genuine], row[~genuine])

    figure = replace(all_figures()["auc"], influence=influence)
    labels = np.arange(rows.shape[1]) > 0
    return differences_on_bin(list(rows), labels, sharing, figure)


@pytest.mark.parametrize("counts", [(5, 15), (15, 5), (7, 7), (0, 5), (1, 0), (0, 24)])
def test_few_discordant_pairs_are_tested_exactly(counts: tuple[int, int]) -> None:
    witness = stats.binomtest(counts[0], sum(counts)).pvalue
    assert p_values([decided(*counts, 6000)])[ONE] == pytest.approx(witness, rel=1e-9)


@pytest.mark.parametrize("counts", [(5, 20), (30, 10), (60, 60), (300, 240), (2990, 10)])
def test_many_discordant_pairs_count_the_observed_table_half(counts: tuple[int, int]) -> None:
    fewer, coins = min(counts), sum(counts)
    tail = stats.binom.cdf(fewer, coins, 0.5) - stats.binom.pmf(fewer, coins, 0.5) / 2
    assert p_values([decided(*counts, 6000)])[ONE] == pytest.approx(min(1, 2 * tail), rel=1e-9)


def test_five_pairs_that_agree_prove_nothing_and_no_p_value_has_a_floor() -> None:
    assert p_values([decided(5, 0, 6000)])[ONE] == pytest.approx(0.0625)
    assert p_values([decided(0, 0, 6000)])[ONE] == 1
    assert 0 < p_values([decided(2900, 0, 6000)])[ONE] < 1e-300
    assert p_values([decided(200, 0, 6000)])[ONE] == pytest.approx(2.0**-200)


def test_the_tail_between_whole_counts_lies_between_theirs() -> None:
    n = np.linspace(25, 40, 61)
    found = [discordance_p_value(each, 0.4 * math.sqrt(each)) for each in n.tolist()]
    assert (np.diff(found) < 0).all()
    # Twenty pairs against ten that are each in twice are ten against five.
    halved = discordance_p_value(15, 5 / math.sqrt(15))
    assert halved == pytest.approx(p_values([decided(10, 5, 6000)])[ONE], rel=1e-9)


def test_few_degrees_of_freedom_move_the_deviate_to_students() -> None:
    whole = discordance_p_value(60, 2.5)
    deviate = stats.norm.isf(whole / 2)
    assert discordance_p_value(60, 2.5, 7) == pytest.approx(2 * stats.t.sf(deviate, 7), rel=1e-9)
    assert discordance_p_value(math.inf, 2.5, 7) == pytest.approx(2 * stats.t.sf(2.5, 7), rel=1e-9)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("freedom", [4.0, math.inf])
def test_the_interval_leaves_out_0_exactly_where_the_test_is_significant(
    confidence: float, freedom: float
) -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        effect = generator.choice([1.0, generator.uniform(1, 3)])
        only_a, only_b = generator.integers(0, 40, 2)
        found = decided(only_a, only_b, 600, luck=effect)
        found = replace(found, freedom=np.full_like(found.gaps, freedom))
        low, high = interval(found, confidence)
        assert -1 <= low <= found.gaps[ONE] <= high <= 1
        assert (p_values([found])[ONE] < 1 - confidence) == (low > 0 or high < 0)
        assert interval(found, confidence, couple=(1, 0)) == pytest.approx((-high, -low))


@pytest.mark.slow
@pytest.mark.parametrize("discordant", [0.015, 0.05])
@pytest.mark.parametrize("lead", [0.0, 0.3, 0.7, 1.0])
def test_intervals_cover_true_differences(discordant: float, lead: float) -> None:
    pairs, delta = 3000, discordant * lead
    shares = [(discordant + delta) / 2, (discordant - delta) / 2, 1 - discordant]
    drawn = np.random.default_rng(0).multinomial(pairs, shares, size=2000)
    counts, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    covered = [
        low - 1e-12 <= delta <= high + 1e-12
        for a, b in counts.tolist()
        for low, high in [discordance_interval((a - b) / pairs, a + b, 1 / pairs)]
    ]
    assert 0.935 <= np.average(covered, weights=times) <= 0.975


def test_without_discordant_pairs_the_interval_is_the_rule_of_3s() -> None:
    low, high = interval(decided(0, 0, 6000))
    assert (low, high) == pytest.approx((-3.84 / 6000, 3.84 / 6000), rel=0.01)


def test_decisions_are_widened_by_the_design_effect_of_each_couple() -> None:
    generator = np.random.default_rng(0)
    for images in (300, 20_000):  # chained into one cluster, or into thousands
        sharing = pair_sharing(*generator.integers(0, images, size=(2, 6000)))
        hard = generator.normal(size=images)[sharing.left % images]
        correct = generator.normal(size=(3, 6000)) + hard < 1
        found = differences_of_decisions(correct, sharing)
        for i, j in ((0, 1), (0, 2), (2, 1)):
            errors = correct[i].astype(float) - correct[j]
            effect = design_effect(errors, sharing)
            assert found.effect[i, j] == pytest.approx(effect, rel=1e-9)
            assert found.gaps[i, j] == pytest.approx(errors.mean())
            assert found.variances[i, j] == pytest.approx(errors @ errors * effect / 6000**2)
            assert found.discordant[i, j] == pytest.approx(errors @ errors / effect)
            assert found.only[i, j] == (errors > 0).sum()
        assert found.freedom[ONE] == sharing.freedom


def test_influences_are_widened_by_the_design_effect_of_each_couple() -> None:
    generator = np.random.default_rng(0)
    for images in (300, 20_000):
        sharing = pair_sharing(*generator.integers(0, images, size=(2, 6000)))
        rows = generator.normal(size=(3, 6000)) + generator.normal(size=images)[sharing.left % 7]
        rows[:, 0] = 0
        rows[:, 1:] -= rows[:, 1:].mean(axis=1, keepdims=True)
        found = of_influences(rows, sharing)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            errors = (rows[i] - rows[j]) * math.sqrt(5999 / 5998)
            expected = (errors @ errors) * design_effect(errors, sharing)
            assert found.variances[i, j] == pytest.approx(expected)


def test_the_area_s_variance_is_delongs() -> None:
    scores = noisy_scores(np.random.default_rng(3))
    own, others = (np.stack(scores)[:, side] for side in (GENUINE, ~GENUINE))
    wins = own[:, :, None] > others[:, None, :]
    parts = [np.cov(wins.mean(axis=axis)) / 1000 for axis in (2, 1)]
    contrast = np.array([1, -1])
    expected = contrast @ sum(parts) @ contrast
    found = differences_on_bin(scores, GENUINE, None, all_figures()["auc"])
    assert found.variances[ONE] == pytest.approx(expected)
    assert found.gaps[ONE] == pytest.approx(wins[0].mean() - wins[1].mean())
    z = found.gaps[ONE] / math.sqrt(expected)
    assert p_values([found])[ONE] == pytest.approx(2 * stats.norm.sf(abs(z)))


@pytest.mark.parametrize("name", ["auc", "eer", "tar@1e-1", "tar@1e-2", "d-prime", "accuracy"])
def test_variances_are_those_of_repeated_samples(name: str) -> None:
    generator = np.random.default_rng(0)
    found = [
        differences_on_bin(noisy_scores(generator), GENUINE, None, all_figures()[name])
        for _ in range(150)
    ]
    drawn = np.std([each.gaps[ONE] for each in found])
    said = np.sqrt(np.mean([each.variances[ONE] for each in found]))
    # 150 repetitions know a standard deviation within 12 % (two standard errors).
    assert said == pytest.approx(drawn, rel=0.25)


@pytest.mark.parametrize("name", [name for name in all_figures() if name[-1] not in "456"])
def test_two_models_differ_by_the_same_among_sixty(name: str) -> None:
    # Above fifty rows another routine adds up.
    scores = noisy_scores(np.random.default_rng(1), 60)
    sharing = pair_sharing(*np.random.default_rng(2).integers(0, 300, size=(2, 2000)))
    among = differences_on_bin(scores, GENUINE, sharing, all_figures()[name])
    alone = differences_on_bin(scores[:2], GENUINE, sharing, all_figures()[name])
    back = differences_on_bin(scores[1::-1], GENUINE, sharing, all_figures()[name])
    assert p_values([alone])[ONE] == p_values([back])[ONE]
    assert interval(alone) == tuple(-end for end in interval(back)[::-1])
    if all_figures()[name].fits_threshold:  # whole numbers add up to the bit
        assert p_values([among])[ONE] == p_values([alone])[ONE]
        assert interval(among) == interval(alone)
    else:
        assert p_values([among])[ONE] == pytest.approx(p_values([alone])[ONE], rel=1e-9)


def test_a_stretched_score_changes_no_accuracy_s_test() -> None:
    scores = noisy_scores(np.random.default_rng(1))
    bent = [np.exp(scores[0] / 3), scores[1]]
    for name in ("kfold", "insightface", "accuracy"):
        found = [
            differences_on_bin(each, GENUINE, None, all_figures()[name]) for each in (scores, bent)
        ]
        assert p_values(found[:1])[ONE] == p_values(found[1:])[ONE]
    right = best_decisions(scores, GENUINE)
    assert [each.mean() for each in right] == [
        max(((own > t) == GENUINE).mean() for t in [*own, -math.inf]) for own in scores
    ]


def test_bins_of_a_kind_are_one_bin_of_all_their_pairs() -> None:
    bins = [decided(20, 9, 600), decided(11, 13, 600), decided(25, 14, 600)]
    whole = decided(56, 36, 1800)
    mean = mean_of(bins)
    for field in ("gaps", "variances", "discordant", "step"):
        assert getattr(mean, field)[ONE] == pytest.approx(getattr(whole, field)[ONE])
    assert p_values(bins)[ONE] == pytest.approx(p_values([whole])[ONE])
    assert interval(mean) == pytest.approx(interval(whole))
    agreeing = mean_of([decided(0, 0, 600)] * 3)
    assert interval(agreeing) == pytest.approx(interval(decided(0, 0, 1800)))


def test_unequal_bins_count_the_same() -> None:
    bins = [decided(60, 20, 6000), decided(7, 12, 300)]
    weights = np.array([0.5 / 6000, 0.5 / 300])
    counts = np.array([[60, 20], [7, 12]])
    surplus = weights @ (counts[:, 0] - counts[:, 1])
    variance = weights**2 @ counts.sum(axis=1)
    worth = variance**2 / (weights**4 @ counts.sum(axis=1))
    expected = discordance_p_value(worth, surplus / math.sqrt(variance))
    assert p_values(bins)[ONE] == pytest.approx(expected)
    low, high = interval(mean_of(bins))
    assert low < surplus < high


def test_the_same_pairs_in_two_bins_say_nothing_new() -> None:
    generator = np.random.default_rng(0)
    scores = noisy_scores(generator)
    for name in ("accuracy", "auc"):
        one = differences_on_bin(scores, GENUINE, None, all_figures()[name])
        ends = np.arange(2000), np.arange(2000, 4000)
        together = mean_of([one, one], across=[ends, ends])
        assert together.variances[ONE] == pytest.approx(one.variances[ONE], rel=0.002)
        assert mean_of([one, one]).variances[ONE] == pytest.approx(one.variances[ONE] / 2)
        if name == "accuracy":
            assert together.discordant[ONE] == pytest.approx(one.discordant[ONE], rel=0.002)
        apart = mean_of([one, one], across=[ends, (ends[0] + 5000, ends[1] + 5000)])
        assert apart.variances[ONE] == mean_of([one, one]).variances[ONE]


def test_what_is_undefined_parts_no_models() -> None:
    scores = noisy_scores(np.random.default_rng(0))
    one_class = differences_on_bin(scores, np.ones(2000, bool), None, all_figures()["auc"])
    assert np.isnan(one_class.gaps).all()
    assert (p_values([one_class]) == 1).all()
    few = differences_on_bin(
        [s[:400] for s in scores], GENUINE[:400], None, all_figures()["tar@1e-4"]
    )
    assert (p_values([few]) == 1).all()
    with pytest.raises(ValueError, match="one bin at least"):
        mean_of([])
