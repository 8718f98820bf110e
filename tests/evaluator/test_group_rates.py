"""Error rates of groups: the field's measures to all digits, and chance that is chance."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from groups_level import devtest, devtest_people, made_up, rfw_like
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluator.conditions import group_measures as measures
from evaluator.conditions import groups as conditions
from evaluator.conditions.chance import dealt, equal_groups, tally_of, widened_binomial
from evaluator.conditions.groups import audit_groups, compare_fairness, differences
from evaluator.conditions.pairs import PairSet, threshold_at_far
from evaluator.errors import InputError
from evaluator.metrics.rates import rates_at_threshold

FMR = np.array([1, 2, 1.5, 8]) * 1e-3
FNMR = np.array([0.010, 0.020, 0.015, 0.012])


def test_measures_are_the_published_ones_to_all_digits() -> None:
    assert float(measures.fairness_discrepancy_rate(FMR, FNMR, 0.5)) == pytest.approx(0.9915)
    assert float(measures.inequity_rate(FMR, FNMR, 0.5)) == pytest.approx(4.0)
    assert round(float(measures.gini(FMR)), 6) == 0.573333
    assert round(float(measures.gini(FNMR)), 6) == 0.192982
    assert round(float(measures.garbe(FMR, FNMR, 0.5)), 6) == 0.383158
    assert round(float(measures.max_over_geometric_mean(FMR)), 6) == 3.614408
    assert round(float(measures.max_over_geometric_mean(FNMR)), 6) == 1.451959
    assert float(measures.max_over_min(FMR)) == pytest.approx(8)


def test_the_races_of_rfw_are_summed_up_as_papers_do() -> None:
    accuracies = np.array([99.0, 98.0, 98.5, 99.4])
    assert float(measures.standard_deviation(accuracies)) == pytest.approx(0.526189, abs=5e-7)
    assert float(measures.max_over_min(100 - accuracies)) == pytest.approx(10 / 3)


@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=12))
def test_the_gini_coefficient_is_that_of_every_two_groups(values: list[float]) -> None:
    rates = np.array(values)
    count = len(rates)
    apart = sum(abs(a - b) for a in values for b in values)
    expected = count / (count - 1) * apart / (2 * count**2 * rates.mean())
    assert float(measures.gini(rates)) == pytest.approx(expected, abs=1e-12)
    assert float(measures.gini(rates[::-1])) == pytest.approx(expected, abs=1e-12)


def test_groups_without_errors_are_equal_and_beside_others_without_bound() -> None:
    none, one = np.zeros(3), np.array([0.0, 0.1, 0.2])
    assert float(measures.gini(none)) == 0
    assert float(measures.max_over_min(none)) == float(measures.max_over_geometric_mean(none)) == 1
    assert math.isinf(float(measures.max_over_min(one)))
    assert math.isinf(float(measures.max_over_geometric_mean(one)))
    assert float(measures.gini(np.array([0.0, 0.0, 0.3]))) == pytest.approx(1)


# ---- Rates ---------------------------------------------------------------------------------------


def simulated(
    seed: int, *, people: int = 60, pairs: int = 3000
) -> tuple[PairSet, NDArray[np.int64]]:
    """Pairs of some people, and a balanced group of each slot."""
    generator = np.random.default_rng(seed)
    ends = generator.integers(0, people, (pairs, 2))
    ends[::2, 1] = ends[::2, 0]
    genuine = ends[:, 0] == ends[:, 1]
    hard = generator.normal(size=people) * 0.4
    scores = 3 * genuine + generator.normal(size=pairs) + hard[ends].sum(axis=1)
    return PairSet(scores, genuine, None, ends.ravel()), ends.ravel() % 2


def test_a_pair_is_a_groups_if_both_its_people_are() -> None:
    pairs, groups = simulated(1)
    threshold = threshold_at_far(pairs, 0.05)
    audit = audit_groups(pairs, groups, ["even", "odd"], threshold)
    left, right = groups[0::2], groups[1::2]
    for i, each in enumerate(audit.groups):
        own = (left == i) & (right == i)
        accepted = pairs.scores[own] > threshold
        assert each.rates.far == accepted[~pairs.genuine[own]].mean()
        assert each.rates.frr == (~accepted)[pairs.genuine[own]].mean()
        assert each.people == 30
        slots = np.repeat(own, 2)
        assert pairs.people is not None
        assert each.rates == rates_at_threshold(
            pairs.scores[own], pairs.genuine[own], threshold, people=pairs.people[slots]
        )
    apart = left != right
    assert audit.cross.far == (pairs.scores[apart] > threshold).mean()
    assert audit.cross.frr is None
    counted = sum(each.rates.impostors + each.rates.genuine for each in audit.groups)
    assert counted + audit.cross.impostors == len(pairs.scores)


def test_slots_without_a_group_leave_their_pairs_out() -> None:
    pairs, groups = simulated(2)
    groups = np.where(np.arange(len(groups)) < 200, -1, groups)
    audit = audit_groups(pairs, groups, ["even", "odd"], 1.5)
    assert audit.unknown == 100
    assert sum(each.rates.genuine for each in audit.groups) == pairs.genuine[100:].sum()


def test_a_group_of_which_less_than_one_error_is_to_be_expected_has_no_part() -> None:
    pairs, _ = simulated(3)
    assert pairs.people is not None
    groups = np.where(pairs.people < 3, 2, pairs.people % 2)
    audit = audit_groups(pairs, groups, ["even", "odd", "few"], threshold_at_far(pairs, 0.01))
    assert any(line.startswith("few: too few for FMR, ") for line in audit.too_few)
    found = {each.measure.key: each for each in audit.measures}
    used = [each.rates.far for each in audit.groups[:2]]
    assert found["fmr_sd"].value == pytest.approx(float(np.std(used)))
    audit = audit_groups(pairs, groups, ["even", "odd", "few"], pairs.scores.max())
    found = {each.measure.key: each for each in audit.measures}
    assert (found["garbe"].value, found["garbe"].why) == (None, "too few")
    assert audit.tested.fmr is None


def test_a_ratio_to_a_group_without_errors_is_undefined_and_not_zero() -> None:
    genuine = np.arange(4000) % 2 == 0
    groups = np.repeat(np.arange(4000) % 4 // 2, 2)
    scores = np.where(genuine, 1.0, 0.0)
    scores[1:400:4] = 2  # impostors of the first group
    audit = audit_groups(PairSet(scores, genuine), groups, ["a", "b"], 0.5)
    found = {each.measure.key: each for each in audit.measures}
    assert audit.groups[1].rates.far == 0
    for key in ("fmr_max_over_min", "fmr_max_over_geometric_mean"):
        assert (found[key].value, found[key].why) == (None, "a group without errors")
    assert found["fmr_gini"].value == pytest.approx(1)


def test_the_threshold_is_that_of_all_impostors() -> None:
    pairs, _ = simulated(4)
    for far in (0.1, 0.01):
        threshold = threshold_at_far(pairs, far)
        impostors = np.sort(pairs.scores[~pairs.genuine])
        allowed = math.floor(far * len(impostors) + 1e-9)
        assert (impostors > threshold).sum() == allowed
    with pytest.raises(InputError, match="less than one of them; ask for"):
        threshold_at_far(pairs, 1e-5)
    with pytest.raises(InputError, match="no impostor pairs"):
        threshold_at_far(pairs.only(pairs.genuine), 0.1)


# ---- Chance --------------------------------------------------------------------------------------


def test_chance_is_what_people_dealt_anew_show() -> None:
    # Restated by hand: groups dealt to people, rates counted pair by pair.
    pairs, groups = simulated(5, people=20, pairs=400)
    wrong = pairs.wrong_at(1.2)
    chance = equal_groups(pairs, groups, wrong, 2, seed=0)
    assert "people exchanged" in chance.how
    generator, expected = np.random.default_rng(1), []
    assert pairs.people is not None
    for _ in range(2000):
        dealt = generator.permutation(np.arange(20) % 2)[pairs.people]
        expected.append(tally_of(dealt, pairs.genuine, wrong, 2).fnmr)
    assert chance.tally.fnmr.mean() == pytest.approx(np.mean(expected), abs=0.003)
    assert chance.tally.fnmr.std() == pytest.approx(np.std(expected), rel=0.1)
    assert np.allclose(chance.tally.genuine.sum(axis=1), pairs.genuine.sum())


def test_groups_of_images_of_one_person_are_not_dealt_by_people() -> None:
    pairs, _ = simulated(6)
    by_image = np.random.default_rng(0).integers(0, 2, 2 * len(pairs.scores))
    chance = equal_groups(pairs, by_image, pairs.wrong_at(1), 2, seed=0)
    assert chance.how.startswith("errors drawn")
    assert "several groups" in chance.how


@pytest.mark.parametrize("effect", [1.0, 4.0])
def test_drawn_errors_have_the_variance_that_sharing_makes(effect: float) -> None:
    counts = widened_binomial(
        np.array([500.0, 2000.0]), 0.1, effect, 20_000, np.random.default_rng(0)
    )
    assert counts.mean(axis=0) == pytest.approx([50, 200], rel=0.02)
    assert counts.var(axis=0) == pytest.approx([45 * effect, 180 * effect], rel=0.05)


@pytest.mark.parametrize("effect", [1.0, 1.4, 5.0])
def test_errors_are_dealt_as_whole_numbers_that_add_up(effect: float) -> None:
    # Of the multivariate hypergeometric distribution: c (n - c) / (n - 1) m/n (1 - m/n).
    sizes, chosen = np.array([300.0, 500.0, 200.0]), 400
    found = dealt(20_000, sizes, chosen, effect, np.random.default_rng(0))
    assert (found.sum(axis=1) == chosen).all()
    assert (found == found.round()).all()
    share = sizes / 1000
    variance = 400 * 600 / 999 * share * (1 - share)
    assert found.mean(axis=0) == pytest.approx(chosen * share, rel=0.01)
    assert found.var(axis=0) == pytest.approx(effect * variance, rel=0.05)


def test_a_made_up_attribute_shows_no_difference_in_95_of_100(shared: Path) -> None:
    pairs = devtest(shared)
    people = devtest_people(shared, pairs.genuine)
    wrong = pairs.wrong_at(threshold_at_far(pairs, 0.05))
    usable = {name: np.ones(2, bool) for name in ("fmr", "fnmr", "wrong")}
    # Of one size, all attributes have one distribution of chance. tests/evaluator/groups_level.py
    # draws it for each.
    chance = equal_groups(pairs, made_up(people, 2, 0), wrong, 2, seed=0)
    assert "people exchanged" in chance.how
    tested = [
        differences(
            tally_of(made_up(people, 2, seed), pairs.genuine, wrong, 2), chance, usable
        ).verdict
        for seed in range(1000)
    ]
    calm = tested.count("no difference between groups beyond chance")
    assert 930 <= calm <= 970


def test_a_planted_difference_is_found(shared: Path) -> None:
    pairs = devtest(shared)
    groups = made_up(devtest_people(shared, pairs.genuine), 2, seed=1)
    # Genuine pairs of one group are a good deal less alike than they were.
    planted = pairs.scores - 0.15 * (groups[0::2] & groups[1::2] & pairs.genuine)
    worse = PairSet(planted, pairs.genuine, pairs.images, pairs.people)
    before, after = (
        audit_groups(each, groups, ["a", "b"], threshold_at_far(pairs, 0.05))
        for each in (pairs, worse)
    )
    assert "FNMR" not in before.tested.differ
    assert "FNMR" in after.tested.differ
    [p_value] = [each.p_value for each in after.measures if each.measure.key == "fnmr_gini"]
    assert (p_value or 1) < 0.01


def test_groups_that_pairs_were_made_within_are_told_apart_by_luck_in_one_of_twenty() -> None:
    found = []
    for seed in range(30):
        [pairs], groups = rfw_like(np.random.default_rng(seed), groups=4, people=300, pairs=600)
        audit = audit_groups(pairs, groups, [*"abcd"], threshold_at_far(pairs, 0.02), seed=seed)
        assert "made with a look at groups" in audit.how
        found.append(bool(audit.tested.differ))
    assert sum(found) <= 5  # of Binomial(30, 0.05) 0.3 % is above


# ---- Two models ----------------------------------------------------------------------------------


def fairer_share(planted: float) -> float:
    """How often B is called fairer of 60 pairs of models, of which A fails one group more."""
    found = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        (a, b), groups = rfw_like(generator, groups=2, people=300, pairs=1500, models=2)
        harder = a.scores - planted * (a.genuine & (groups[0::2] == 1))
        a = PairSet(harder, a.genuine, None, a.people)
        wrong = a.wrong_at(threshold_at_far(a, 0.02)), b.wrong_at(threshold_at_far(b, 0.02))
        differences = compare_fairness(a, groups, ["x", "y"], wrong, seed=seed)
        found += {each.measure.key: each.fairer for each in differences}["fnmr_gini"] == "b"
    return found / 60


def test_a_fairer_model_is_found_and_an_equally_fair_one_is_not() -> None:
    assert fairer_share(0) <= 0.1
    assert fairer_share(1) >= 0.9


def test_a_model_that_errs_less_everywhere_is_not_fairer_for_it() -> None:
    generator = np.random.default_rng(0)
    genuine = np.ones(20_000, bool)
    groups = np.repeat(np.arange(20_000) % 2, 2)
    rates = np.where(groups[0::2] == 0, 0.2, 0.1)
    a = generator.uniform(size=20_000) < rates
    b = a & (generator.uniform(size=20_000) < 0.5)  # half of A's errors, wherever they are
    b |= generator.uniform(size=20_000) < rates / 50  # and some of its own, as A's are
    pairs = PairSet(np.zeros(20_000), genuine)
    found = compare_fairness(pairs, groups, ["x", "y"], (a, b))
    by_key = {each.measure.key: each for each in found}
    assert by_key["fnmr_sd"].a == pytest.approx(0.05, abs=0.01)
    assert by_key["fnmr_sd"].b == pytest.approx(0.025, abs=0.01)
    assert by_key["fnmr_sd"].p_value is not None
    assert by_key["fnmr_sd"].p_value > 0.05
    assert by_key["fmr_sd"].p_value is None


def test_where_one_model_alone_errs_luck_has_nothing_to_tell() -> None:
    generator = np.random.default_rng(0)
    genuine = np.ones(2000, bool)
    groups = np.repeat(np.arange(2000) % 2, 2)
    a = generator.uniform(size=2000) < 0.1
    b = a | ((groups[0::2] == 1) & (generator.uniform(size=2000) < 0.5))
    pairs = PairSet(np.zeros(2000), genuine)
    found = {each.measure.key: each for each in compare_fairness(pairs, groups, ["x", "y"], (a, b))}
    assert found["fnmr_gini"].a != found["fnmr_gini"].b
    assert (found["fnmr_gini"].p_value, found["fnmr_gini"].fairer) == (None, None)
    [same] = [
        each
        for each in compare_fairness(pairs, groups, ["x", "y"], (a, a))
        if each.measure.key == "fnmr_gini"
    ]
    assert (same.p_value, same.fairer) == (1.0, None)


def test_a_verdict_says_which_rate_could_not_be_told() -> None:
    assert conditions.Tested(0.5, 0.5).verdict == "no difference between groups beyond chance"
    assert conditions.Tested(None, 0.5).verdict == (
        "no difference in FNMR beyond chance, too few pairs for FMR"
    )
    assert conditions.Tested(0.5, None).verdict == (
        "no difference in FMR beyond chance, too few pairs for FNMR"
    )
    assert conditions.Tested(None, 0.01).verdict == "FNMR differs between groups"
