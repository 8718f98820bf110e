"""minDCF and min Cllr by hand, by brute force and scikit-learn, at their edges, and as figures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

import evaluator
from evaluator.array_types import BoolArray, FloatArray
from evaluator.metrics.all_figures import all_figures, to_json
from evaluator.metrics.figure import Influence
from evaluator.metrics.figures import min_cllr as cllr
from evaluator.metrics.figures import min_dcf as dcf
from evaluator.metrics.protocols import SortedPairs, sorted_pairs
from evaluator.metrics.sweep import Sweep, sweep

Scores = st.lists(st.integers(-9, 9), min_size=1, max_size=40)
BOTH = [(dcf.min_dcf, dcf.influence), (cllr.min_cllr, cllr.influence)]


def labelled(genuine: list[float], impostor: list[float]) -> tuple[FloatArray, BoolArray]:
    scores = np.array([*genuine, *impostor], dtype=np.float64)
    return scores, np.arange(len(scores)) < len(genuine)


def normal_scores(pairs: int, *, apart: float, seed: int) -> tuple[FloatArray, BoolArray]:
    genuine = np.arange(pairs) % 2 == 0
    return np.random.default_rng(seed).normal(size=pairs) + apart * genuine, genuine


def every_cost(scores: FloatArray, genuine: BoolArray) -> float:
    """NIST's normalised cost, by every threshold there is."""
    own, others = scores[genuine], scores[~genuine]
    cost = [
        0.01 * np.mean(own <= t) + 0.99 * np.mean(others > t) for t in [-math.inf, *set(scores)]
    ]
    return float(min(cost)) / min(0.01, 0.99)


def calibrated_cost(scores: FloatArray, genuine: BoolArray) -> float:
    """Cllr of the ratios that scikit-learn's isotonic regression gives, by its definition."""
    posterior = IsotonicRegression(y_min=0, y_max=1).fit_transform(scores, genuine)
    prior = np.log(genuine.sum() / (~genuine).sum())
    with np.errstate(divide="ignore"):
        ratio = np.log(posterior) - np.log1p(-posterior) - prior
    genuines, impostors = np.logaddexp(0, -ratio[genuine]), np.logaddexp(0, ratio[~genuine])
    return float((genuines.mean() + impostors.mean()) / 2 / np.log(2))


def test_the_worked_examples() -> None:
    # Above 0.5: half the genuine pairs rejected, no impostor accepted. Above 0.1: 99 / 2.
    swept = sweep(*labelled([0.2, 0.9], [0.1, 0.5]))
    assert dcf.min_dcf(swept) == 0.5
    # One block of an impostor, one of a pair of either kind, LR 1, and one of a genuine pair: half
    # of each class costs a bit, and Cllr is half the mean of one class and half that of the other.
    assert cllr.min_cllr(swept) == pytest.approx(0.5)
    # One impostor accepted of 200 costs 99 / 200 beside the 0.6 of rejecting six genuine pairs.
    scores, genuine = labelled([0.4] * 6 + [0.9] * 4, [0.5] + [0.1] * 199)
    assert dcf.min_dcf(sweep(scores, genuine)) == pytest.approx(99 / 200)


@given(Scores, Scores)
def test_min_dcf_is_the_least_over_every_threshold_with_ties(
    genuine: list[float], impostor: list[float]
) -> None:
    scores, labels = labelled(genuine, impostor)
    assert dcf.min_dcf(sweep(scores, labels)) == pytest.approx(every_cost(scores, labels))


@given(Scores, Scores)
def test_min_cllr_is_that_of_scikit_learns_isotonic_regression_with_ties(
    genuine: list[float], impostor: list[float]
) -> None:
    scores, labels = labelled(genuine, impostor)
    expected = calibrated_cost(scores, labels)
    assert cllr.min_cllr(sweep(scores, labels)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0, -2.0])
def test_both_are_their_witnesses_on_many_pairs(apart: float) -> None:
    scores, genuine = normal_scores(60_000, apart=apart, seed=3)
    swept = sweep(scores, genuine)
    assert cllr.min_cllr(swept) == pytest.approx(calibrated_cost(scores, genuine), abs=1e-9)
    scores, genuine = scores[:2000].round(1), genuine[:2000]
    expected = every_cost(scores, genuine)
    assert dcf.min_dcf(sweep(scores, genuine)) == pytest.approx(expected, abs=1e-12)


def errors_of(
    influence: Callable[[SortedPairs], Influence], scores: FloatArray, genuine: BoolArray
) -> FloatArray:
    pairs = sorted_pairs(scores, genuine)
    return influence(pairs).contributions(pairs)


def test_min_dcf_reads_every_piece_of_many_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, genuine = normal_scores(3000, apart=3.0, seed=4)
    whole, moved = dcf.min_dcf(sweep(scores, genuine)), errors_of(dcf.influence, scores, genuine)
    monkeypatch.setattr(dcf, "_PIECE", 7)
    assert dcf.min_dcf(sweep(scores, genuine)) == whole
    np.testing.assert_array_equal(errors_of(dcf.influence, scores, genuine), moved)


def test_blocks_that_fall_one_after_another_are_walked() -> None:
    # Every score has a larger share of genuine pairs than that before, until one that pulls all of
    # them down again: rounds alone would drop one block each.
    genuine, impostor = np.repeat(np.arange(60.0), np.arange(60)), np.repeat(np.arange(60.0), 60)
    scores, labels = labelled([*genuine], [*impostor, *np.full(10**5, 60.0)])
    expected = calibrated_cost(scores, labels)
    assert cllr.min_cllr(sweep(scores, labels)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("cost", "influence"), BOTH)
def test_edges(
    cost: Callable[[Sweep], float | None],
    influence: Callable[[SortedPairs], Influence],
) -> None:
    assert cost(sweep(*labelled([0.8, 0.9], [0.1, 0.2]))) == 0
    assert cost(sweep(*labelled([0.3] * 5, [0.3] * 7))) == 1
    assert cost(sweep(*labelled([0.1] * 5, [0.3] * 7))) == 1
    for one_class in (([0.5], []), ([], [0.5]), ([], [])):
        scores, genuine = labelled(*one_class)
        assert cost(sweep(scores, genuine)) is None
        assert not errors_of(influence, scores, genuine).any()


@pytest.mark.parametrize(("cost", "influence"), BOTH)
def test_influence_spreads_as_the_difference_of_two_models_over_repeated_samples(
    cost: Callable[[Sweep], float],
    influence: Callable[[SortedPairs], Influence],
) -> None:
    # A difference, since what is fitted makes both too low alike.
    generator = np.random.default_rng(0)
    genuine = np.arange(20_000) % 2 == 0
    drawn, said = [], []
    for _ in range(150):
        shared = generator.normal(size=20_000)
        models = [0.8 * shared + 0.6 * generator.normal(size=20_000) + 3 * genuine for _ in "AB"]
        a, b = (cost(sweep(scores, genuine)) for scores in models)
        drawn.append(a - b)
        of_a, of_b = (errors_of(influence, scores, genuine) for scores in models)
        assert of_a.sum() == pytest.approx(0, abs=1e-9)
        said.append(((of_a - of_b) ** 2).sum())
    # 150 repetitions know a standard deviation within 12 % (two standard errors).
    assert np.sqrt(np.mean(said)) == pytest.approx(np.std(drawn), rel=0.2)


def test_they_are_in_the_json_and_in_print_without_an_interval() -> None:
    scores, genuine = normal_scores(2000, apart=2.0, seed=0)
    block = evaluator.figures(scores, genuine)
    stored = to_json(block)
    assert (stored["min_dcf"], stored["min_cllr"]) == (block.min_dcf, block.min_cllr)
    why = "(no interval: fitted to these very pairs, too low)"
    lines = [" ".join(line.split()) for line in repr(block).splitlines()]
    assert lines[-2:] == [
        f"minDCF 0.01 {block.min_dcf:.4f} {why}",
        f"min Cllr {block.min_cllr:.4f} {why}",
    ]
    for name in ("min-dcf", "min-cllr"):
        assert all_figures()[name].interval_of(sorted_pairs(scores, genuine)) is None
