"""The pairs that a plan names, by simulated models that are what was expected of them."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, multivariate_normal, norm, poisson

from evaluator.errors import InputError
from evaluator.metrics.figures import tar_at_far
from evaluator.metrics.protocols import sorted_pairs
from evaluator.metrics.sweep import sweep
from evaluator.statistics.planning import (
    Expected,
    Pairs,
    connor_pairs,
    discordant_share,
    pairs_to_bound,
    pairs_to_exclude,
    pairs_to_find,
    pairs_to_measure,
)
from tests.delong import delong


def drawn(
    generator: np.random.Generator, shape: tuple[int, ...], correlation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal numbers of two models, correlated so."""
    a, other = generator.normal(size=shape), generator.normal(size=shape)
    return a, correlation * a + math.sqrt(1 - correlation**2) * other


def lone_pairs(
    pairs: int, accuracies: tuple[float, float], correlation: float, *, times: int
) -> list[tuple[int, int]]:
    """Pairs that model A and model B alone gets right, in so many repetitions."""
    generator = np.random.default_rng(0)
    bounds = norm.ppf(accuracies)
    found = []
    for _ in range(times):
        a, b = drawn(generator, (pairs,), correlation)
        right_a, right_b = a < bounds[0], b < bounds[1]
        found.append((int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())))
    return found


@functools.cache
def mid_p(one: int, other: int) -> float:
    """McNemar's mid-p (Fagerland, Lydersen and Laake 2013)."""
    fewer, both = min(one, other), one + other
    return min(1.0, 2 * binom.cdf(fewer, both, 0.5) - binom.pmf(fewer, both, 0.5))


@pytest.mark.parametrize(
    ("accuracy", "difference", "correlation", "power"),
    [(0.9, 0.01, 0.7, 0.8), (0.99, 0.005, 0.7, 0.8), (0.998, 0.002, 0.7, 0.8), (0.9, 0.02, 0, 0.9)],
)
def test_mcnemar_finds_the_planned_difference_as_often_as_asked(
    accuracy: float, difference: float, correlation: float, power: float
) -> None:
    expected = Expected("accuracy", accuracy, correlation=correlation, power=power)
    found = pairs_to_find(expected, difference)
    accuracies = (accuracy, accuracy - difference)
    counts = lone_pairs(found.genuine + found.impostor, accuracies, correlation, times=2000)
    hits = sum(mid_p(*each) < 0.05 for each in counts)
    assert hits / 2000 == pytest.approx(power, abs=0.04)


@pytest.mark.parametrize(("accuracy", "margin"), [(0.9, 0.01), (0.99, 0.005), (0.998, 0.002)])
def test_equal_models_are_shown_no_worse_as_often_as_asked(accuracy: float, margin: float) -> None:
    found = pairs_to_exclude(Expected("accuracy", accuracy), margin)
    pairs = found.genuine + found.impostor
    counts = np.array(lone_pairs(pairs, (accuracy, accuracy), 0.7, times=2000))
    # Wald's 90 % interval, as Liu and others 2002.
    gap, lone = (counts[:, 0] - counts[:, 1]) / pairs, counts.sum(axis=1) / pairs
    low = gap - norm.ppf(0.95) * np.sqrt((lone - gap**2) / pairs)
    assert (low > -margin).mean() == pytest.approx(0.8, abs=0.04)


def test_delongs_test_finds_the_planned_difference_of_areas_as_often_as_asked() -> None:
    found = pairs_to_find(Expected("auc", 0.95), 0.02)
    genuine = np.arange(2 * found.genuine) < found.genuine
    apart = math.sqrt(2) * norm.ppf([0.95, 0.93])
    generator, hits = np.random.default_rng(1), 0
    for _ in range(600):
        a, b = drawn(generator, genuine.shape, 0.7)
        test = delong(a + apart[0] * genuine, b + apart[1] * genuine, genuine)
        hits += test.p_value < 0.05
    assert hits / 600 == pytest.approx(0.8, abs=0.05)  # three standard errors


def test_a_difference_of_tar_is_found_as_often_as_asked() -> None:
    found = pairs_to_find(Expected("tar", 0.9, far=0.01), 0.03)
    genuine = np.arange(found.genuine + found.impostor) < found.genuine
    apart = norm.ppf(0.99) + norm.ppf([0.9, 0.87])
    generator, hits = np.random.default_rng(2), 0
    for _ in range(400):
        models = drawn(generator, genuine.shape, 0.7)
        scores = [each + at * genuine for each, at in zip(models, apart, strict=True)]
        tars = [tar_at_far.tar_at_far(sweep(each, genuine), 0.01) for each in scores]
        errors = []
        for each in scores:
            pairs = sorted_pairs(each, genuine)
            errors.append(tar_at_far.influence(pairs, far=0.01).contributions(pairs))
        assert tars[0] is not None
        assert tars[1] is not None
        spread = math.sqrt(((errors[0] - errors[1]) ** 2).sum())
        hits += abs(tars[0].tar - tars[1].tar) > norm.ppf(0.975) * spread
    assert hits / 400 == pytest.approx(0.8, abs=0.06)  # three standard errors


def test_few_false_accepts_ask_for_ten_of_them() -> None:
    assert pairs_to_find(Expected("tar", 0.9, far=1e-6), 0.5).impostor == 10**7


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("shares", [(0.9, 0.8), (0.998, 0.998), (0.4, 0.3), (0.5, 0.5)])
def test_the_discordant_share_is_scipys(shares: tuple[float, float], correlation: float) -> None:
    matrix = [[1, correlation], [correlation, 1]]
    both = multivariate_normal([0, 0], matrix).cdf(norm.ppf(shares))
    assert discordant_share(*shares, correlation) == pytest.approx(sum(shares) - 2 * both, abs=1e-8)


def test_connors_pairs_by_hand() -> None:
    # Connor 1987's formula with 1.95996 and 0.84162, for 10 % discordant and a difference of 5 %:
    # (1.95996 sqrt(0.1) + 0.84162 sqrt(0.0975))^2 / 0.0025 = (0.61979 + 0.26280)^2 / 0.0025.
    assert connor_pairs(0.1, 0.05) == pytest.approx(311.59, abs=0.02)


@pytest.mark.parametrize("far", [0.5, 0.01, 1e-4, 1e-6])
def test_no_error_in_so_many_pairs_bounds_the_rate_and_one_less_does_not(far: float) -> None:
    pairs = pairs_to_bound(far)
    assert (1 - far) ** pairs <= 0.05 < (1 - far) ** (pairs - 1)
    assert pairs == pytest.approx(3 / far, rel=0.01 if far < 0.1 else 0.2)
    # A FAR that is not below passes unseen in no more than 5 % of sets.
    unseen = np.random.default_rng(3).binomial(pairs, far, 20_000) == 0
    assert unseen.mean() < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 20_000)


@pytest.mark.parametrize(("factor", "errors"), [(2, 12), (1.5, 29)])
def test_so_many_errors_know_the_rate_within_the_factor(factor: float, errors: int) -> None:
    assert pairs_to_measure(1e-4, factor) == errors * 10_000
    # The exact interval's ends: rates at which so few, or so many, are 2.5 % likely.
    assert poisson.cdf(errors, errors * factor) < 0.025
    assert poisson.sf(errors - 1, errors / factor) < 0.025
    fewer = errors - 1
    both = poisson.cdf(fewer, fewer * factor), poisson.sf(fewer - 1, fewer / factor)
    assert max(both) > 0.025


def test_pairs_that_share_are_more_and_their_people_are_of_either_side() -> None:
    assert Pairs(100, 50).people == 200
    assert Pairs(100, 51).times(1.3) == Pairs(130, 67)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"level": 99.0}, "accuracy of 99: expected a fraction above 0.5 and below 1"),
        ({"level": 0.5}, "accuracy of 0.5"),
        ({"level": math.nan}, "accuracy of nan"),
        ({"figure": "tar", "level": 1.0}, "tar of 1: expected a fraction above 0"),
        ({"correlation": 1.0}, "correlation of 1: expected from 0 to 0.99"),
        ({"correlation": -0.1}, "correlation of -0.1"),
        ({"power": 0.5}, "power of 0.5"),
        ({"far": 1.0}, "rate of 1: expected from 1e-09 to below 1"),
    ],
)
def test_what_nobody_can_expect_is_refused(change: dict[str, float | str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(Expected("accuracy", 0.9), **change)


@pytest.mark.parametrize("difference", [0.0, -0.1, 0.4, math.nan, 1e-300])
def test_a_difference_that_cannot_be_is_refused(difference: float) -> None:
    with pytest.raises(InputError, match="difference of"):
        pairs_to_find(Expected("accuracy", 0.9), difference)
    with pytest.raises(InputError, match="margin of"):
        pairs_to_exclude(Expected("accuracy", 0.9), difference if difference != 0.4 else 1.0)


def test_a_margin_takes_the_pairs_of_a_bound_where_no_pair_is_discordant() -> None:
    found = pairs_to_exclude(Expected("accuracy", 1 - 1e-9, correlation=0.99), 0.01)
    assert found == Pairs(150, 150)
