"""The sweep and the figures read off it, against brute force and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from evaluator.metrics.figures.auc import auc
from evaluator.metrics.figures.eer import eer
from evaluator.metrics.figures.tar_at_far import TarAtFar, tar_at_far
from evaluator.metrics.sweep import (
    Sweep,
    best_accuracy,
    error_rates,
    fmr_fnmr,
    sweep,
    threshold_above,
)

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


def example() -> Sweep:
    """Three genuine and four impostor pairs; worked by hand in the tests that use it."""
    scores = [0.9, 0.2, 0.8, 0.4, 0.6, 0.1, 0.3]
    genuine = [True, False, True, True, False, False, False]
    return sweep(scores, genuine)


@st.composite
def scored(draw: st.DrawFn, levels: int = 12) -> tuple[Scores, Labels]:
    """A few pairs on few score levels, so that ties within and between classes are common."""
    size = draw(st.integers(2, 40))
    values = draw(st.lists(st.integers(-levels, levels), min_size=size, max_size=size))
    labels = draw(st.lists(st.booleans(), min_size=size - 2, max_size=size - 2))
    return np.array(values) / levels, np.array([True, False, *labels])


def random_scores(seed: int, pairs: int = 500, decimals: int = 12) -> tuple[Scores, Labels]:
    rng = np.random.default_rng(seed)
    genuine = rng.random(pairs) < rng.uniform(0.1, 0.9)
    return np.round(rng.normal(np.where(genuine, 0.4, 0.0), 0.2), decimals), genuine


def brute_accuracy(scores: Scores, genuine: Labels) -> tuple[int, float]:
    """Most pairs right over every impostor score and -inf, with the highest threshold."""
    candidates = [-math.inf, *scores[~genuine].tolist()]
    return max((int(((scores > t) == genuine).sum()), t) for t in candidates)


def test_best_accuracy_of_the_worked_example_rejects_all_but_two_impostors() -> None:
    best = best_accuracy(example())
    # t=0.3 accepts 0.9 0.8 0.4 and wrongly 0.6; t=0.6 rejects 0.4: both 6 of 7, the higher wins.
    assert best is not None
    assert (best.correct, best.threshold) == (6, 0.6)
    assert best.accuracy == 6 / 7


def test_auc_of_the_worked_example_is_eleven_of_twelve() -> None:
    assert auc(example()) == 11 / 12


def test_eer_of_the_worked_example_is_where_the_lines_meet() -> None:
    # (FMR, FNMR) goes (1/4, 0) at 0.3, (1/4, 1/3) at 0.4: FNMR passes 1/4 at FMR 1/4.
    equal = eer(example())
    assert equal is not None
    assert equal.rate == pytest.approx(1 / 4, abs=1e-15)
    # At 0.4 the gap is 1/12, at 0.3 it is 1/4; the score after 0.4 is 0.6.
    assert equal.threshold == 0.5


def test_tar_at_far_of_the_worked_example_accepts_one_impostor() -> None:
    at = tar_at_far(example(), 0.25)
    assert at is not None
    assert (at.tar, at.far) == (1.0, 0.25)
    assert at.threshold == pytest.approx(0.35)  # between 0.3 and 0.4


@settings(max_examples=300, deadline=None)
@given(scored())
def test_best_accuracy_is_the_maximum_over_every_candidate(pair: tuple[Scores, Labels]) -> None:
    best = best_accuracy(sweep(*pair))
    correct, threshold = brute_accuracy(*pair)
    assert best is not None
    assert best.correct == correct
    assert ((pair[0] > best.threshold) == pair[1]).sum() == correct
    if threshold == -math.inf:
        assert best.threshold == np.nextafter(pair[0].min(), -np.inf)
    else:
        assert best.threshold == threshold


@settings(max_examples=300, deadline=None)
@given(scored())
def test_auc_counts_ties_one_half(pair: tuple[Scores, Labels]) -> None:
    scores, genuine = pair
    differences = scores[genuine][:, None] - scores[~genuine][None, :]
    assert auc(sweep(*pair)) == pytest.approx(np.mean((np.sign(differences) + 1) / 2), abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("seed", range(5))
def test_curve_auc_and_eer_agree_with_scikit_learn(seed: int, decimals: int) -> None:
    scores, genuine = random_scores(seed, decimals=decimals)
    s = sweep(scores, genuine)
    fpr, tpr, _ = roc_curve(genuine, scores, drop_intermediate=False)
    curve = fmr_fnmr(s)
    assert curve is not None
    np.testing.assert_allclose(curve.fmr[::-1], fpr, atol=1e-15)
    np.testing.assert_allclose(1 - curve.fnmr[::-1], tpr, atol=1e-15)
    assert auc(s) == pytest.approx(roc_auc_score(genuine, scores), abs=1e-12)
    # The EER is where FPR - FNR crosses 0; between points both are linear in a common parameter.
    points = np.arange(len(fpr))
    crossing = np.interp(0, fpr - (1 - tpr), points)
    equal = eer(s)
    assert equal is not None
    assert equal.rate == pytest.approx(np.interp(crossing, points, fpr), abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(scored())
def test_eer_threshold_is_the_sweep_point_with_the_smallest_gap(
    pair: tuple[Scores, Labels],
) -> None:
    scores, genuine = pair
    equal = eer(sweep(*pair))
    assert equal is not None
    thresholds = [-math.inf, *np.unique(scores).tolist()]
    gaps = [abs(np.mean(scores[~genuine] > t) - np.mean(scores[genuine] <= t)) for t in thresholds]
    t = equal.threshold
    found = abs(np.mean(scores[~genuine] > t) - np.mean(scores[genuine] <= t))
    assert found == pytest.approx(min(gaps), abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(scored(), st.sampled_from([0.05, 0.1, 0.2, 0.29, 1 / 3, 0.5, 0.9, 1.0]))
def test_tar_at_far_is_the_best_tar_of_any_threshold_within_the_far(
    pair: tuple[Scores, Labels], far: float
) -> None:
    scores, genuine = pair
    at = tar_at_far(sweep(*pair), far)
    thresholds = [-math.inf, *np.unique(scores).tolist()]
    rates = [
        (np.count_nonzero(scores[~genuine] > t) / (~genuine).sum(), np.mean(scores[genuine] > t))
        for t in thresholds
    ]
    if far < 1 / (~genuine).sum():
        assert at is None
        return
    assert at is not None
    fmr = max(rate for rate, _ in rates if rate <= far)
    assert at.far == fmr
    assert at.tar == max(tar for rate, tar in rates if rate == fmr)
    assert np.mean(scores[~genuine] > at.threshold) == at.far
    assert np.mean(scores[genuine] > at.threshold) == at.tar


def test_far_that_rounds_under_a_whole_impostor_still_allows_it() -> None:
    scores = np.concatenate([np.arange(100) / 100, [2.0]])
    at = tar_at_far(sweep(scores, np.arange(101) == 100), 0.29)  # 0.29 * 100 < 29 in floats
    assert at is not None
    assert at.far == 0.29


def test_far_below_one_impostor_is_undefined_and_at_one_impostor_is_defined() -> None:
    scores, genuine = random_scores(0, pairs=400)
    impostors = int((~genuine).sum())
    s = sweep(scores, genuine)
    assert tar_at_far(s, 0.999 / impostors) is None
    assert isinstance(tar_at_far(s, 1 / impostors), TarAtFar)


def test_impostors_tied_at_the_top_give_an_achieved_far_of_zero() -> None:
    at = tar_at_far(sweep([0.5, 0.5, 0.5, 0.9, 0.4], np.array([0, 0, 0, 1, 1], bool)), 0.5)
    assert at is not None
    assert (at.far, at.tar, at.threshold) == (0.0, 0.5, 0.7)


@pytest.mark.parametrize("far", [0.0, -0.1, 1.1, math.nan])
def test_far_outside_its_range_is_an_error(far: float) -> None:
    with pytest.raises(ValueError, match=r"far must lie in \(0, 1\]"):
        tar_at_far(example(), far)


def test_separable_scores_reach_every_ideal_figure_at_a_threshold_between_the_classes() -> None:
    scores, genuine = [0.1, 0.2, 0.8, 0.9], [False, False, True, True]
    s = sweep(scores, genuine)
    best, equal, at = best_accuracy(s), eer(s), tar_at_far(s, 0.5)
    assert best is not None
    assert equal is not None
    assert at is not None
    assert (best.accuracy, best.threshold) == (1.0, 0.2)
    assert (auc(s), equal.rate, equal.threshold) == (1.0, 0.0, 0.5)
    assert (at.tar, at.far) == (1.0, 0.5)


def test_reversed_scores_are_no_better_than_rejecting_or_accepting_all() -> None:
    s = sweep([0.1, 0.2, 0.7, 0.8, 0.9], [True, True, False, False, False])
    best, equal = best_accuracy(s), eer(s)
    assert best is not None
    assert equal is not None
    assert (best.correct, best.threshold) == (3, 0.9)
    assert (auc(s), equal.rate) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("genuine", "correct", "threshold"),
    [
        ([True, False, False], 2, 0.5),
        ([True, True, False], 2, np.nextafter(0.5, 0)),
        ([True, False], 1, 0.5),
    ],
)
def test_a_constant_score_decides_for_the_larger_class(
    genuine: list[bool], correct: int, threshold: float
) -> None:
    s = sweep(np.full(len(genuine), 0.5), genuine)
    best, equal = best_accuracy(s), eer(s)
    assert best is not None
    assert equal is not None
    assert (best.correct, best.threshold) == (correct, threshold)
    assert (auc(s), equal.rate) == (0.5, 0.5)
    assert equal.threshold == 0.5  # accepting all is as far off; the higher threshold wins


@pytest.mark.parametrize("labels", [[True], [False], [True, True], [False, False, False], []])
def test_every_figure_is_undefined_when_a_class_is_missing(labels: list[bool]) -> None:
    s = sweep(np.linspace(0, 1, len(labels)), np.array(labels, dtype=bool))
    assert best_accuracy(s) is None
    assert auc(s) is None
    assert eer(s) is None
    assert tar_at_far(s, 0.1) is None
    assert fmr_fnmr(s) is None


def test_scores_that_differ_in_the_last_bit_stay_apart() -> None:
    low = np.full(50, 0.3)
    high = np.nextafter(low, 1)
    genuine = np.repeat([False, True], 50)
    s = sweep(np.concatenate([low, high]), genuine)
    best, equal = best_accuracy(s), eer(s)
    assert best is not None
    assert equal is not None
    assert (best.accuracy, best.threshold, auc(s)) == (1.0, 0.3, 1.0)
    assert equal.threshold == 0.3  # no float lies between, so the score itself


def test_threshold_above_is_halfway_even_where_the_sum_would_overflow() -> None:
    assert threshold_above(1e308, [np.array([1e308, 1.5e308])]) == 1.25e308
    assert threshold_above(0.2, [np.array([0.2, 0.9]), np.array([0.4])]) == pytest.approx(0.3)
    assert threshold_above(0.9, [np.array([0.2, 0.9])]) == 0.9
    assert threshold_above(-math.inf, [np.array([]), np.array([0.2])]) == np.nextafter(0.2, 0)
    tiny = np.array([5e-324, 1e-323])
    assert threshold_above(5e-324, [tiny]) == 5e-324


def test_threshold_above_never_reaches_the_next_float() -> None:
    score = 0.3
    for _ in range(4):  # the midpoint of neighbours rounds to the even one, up or down in turn
        higher = float(np.nextafter(score, 1))
        assert threshold_above(score, [np.array([score, higher])]) == score
        score = higher


@settings(max_examples=100, deadline=None)
@given(scored(), st.randoms(use_true_random=False))
def test_order_of_the_pairs_changes_nothing(pair: tuple[Scores, Labels], random: object) -> None:
    order = np.random.default_rng(random.randrange(2**32)).permutation(len(pair[0]))  # type: ignore[attr-defined]
    s, shuffled = sweep(*pair), sweep(pair[0][order], pair[1][order])
    assert best_accuracy(s) == best_accuracy(shuffled)
    assert (auc(s), eer(s)) == (auc(shuffled), eer(shuffled))
    assert tar_at_far(s, 0.2) == tar_at_far(shuffled, 0.2)


@settings(max_examples=100, deadline=None)
@given(scored(), st.sampled_from([np.exp, lambda x: x**3, lambda x: 2.0**40 * x, lambda x: x - 9]))
def test_strictly_increasing_transforms_move_only_the_thresholds(
    pair: tuple[Scores, Labels], transform: np.ufunc
) -> None:
    s, moved = sweep(*pair), sweep(transform(pair[0]), pair[1])
    best, best_moved, equal, equal_moved = (
        best_accuracy(s),
        best_accuracy(moved),
        eer(s),
        eer(moved),
    )
    assert best is not None
    assert best_moved is not None
    assert equal is not None
    assert equal_moved is not None
    assert best.correct == best_moved.correct
    assert auc(s) == auc(moved)
    assert equal.rate == equal_moved.rate
    at, at_moved = tar_at_far(s, 0.5), tar_at_far(moved, 0.5)
    assert (at is None) == (at_moved is None)
    if at is not None and at_moved is not None:
        assert (at.tar, at.far) == (at_moved.tar, at_moved.far)


def test_the_curve_starts_with_all_accepted_and_ends_with_all_rejected() -> None:
    curve = fmr_fnmr(example())
    assert curve is not None
    assert len(curve.thresholds) == 8
    assert (curve.fmr[0], curve.fnmr[0]) == (1.0, 0.0)
    assert (curve.fmr[-1], curve.fnmr[-1]) == (0.0, 1.0)
    assert error_rates(example(), 0.4) == (1 / 4, 1 / 3)


def test_large_sweeps_equal_the_direct_search_across_piece_boundaries() -> None:
    rng = np.random.default_rng(3)
    scores = np.round(rng.normal(size=600_000), 5)  # more than two pieces, with ties at their ends
    genuine = rng.random(600_000) < 0.4
    s = sweep(scores, genuine)
    impostor = np.sort(scores[~genuine])
    np.testing.assert_array_equal(s.impostor, impostor)
    np.testing.assert_array_equal(s.genuine, np.sort(scores[genuine]))
    np.testing.assert_array_equal(s.impostors_below, np.searchsorted(impostor, s.genuine))
    assert auc(s) == pytest.approx(roc_auc_score(genuine, scores), abs=1e-12)


def test_counts_are_whole_numbers_and_no_pairs_at_all_are_a_sweep_too() -> None:
    for s in (example(), sweep([], [])):
        assert s.impostors_below.dtype == s.correct.dtype == np.int64
        assert s.genuine.dtype == s.impostor.dtype == np.float64
    assert sweep([], []).correct.tolist() == [0]


def test_float32_scores_keep_their_values() -> None:
    scores, genuine = random_scores(1)
    narrow = scores.astype(np.float32)
    assert best_accuracy(sweep(narrow, genuine)) == best_accuracy(
        sweep(narrow.astype(np.float64), genuine)
    )


def test_arguments_are_not_changed() -> None:
    scores, genuine = random_scores(2)
    before = scores.copy(), genuine.copy()
    sweep(scores, genuine)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(genuine, before[1])


@pytest.mark.parametrize(
    ("scores", "genuine", "message"),
    [
        ([0.1, math.nan, math.inf], [True, False, True], r"2 are not, the first is nan at pair 1"),
        ([0.1, 0.2], [True], r"^scores and genuine must be 1-d .* shapes \(2,\) and \(1,\)$"),
        ([[0.1, 0.2]], [[True, False]], r"got shapes \(1, 2\) and \(1, 2\)"),
        ([0.1, 0.2], [1, 0], r"genuine must be bool.*got int64"),
        (["a", "b"], [True, False], r"scores must be floats.*got <U1"),
        ([1, 2], [True, False], r"scores must be floats.*got int64"),
    ],
)
def test_unusable_arguments_are_named(scores: list, genuine: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep(scores, genuine)
