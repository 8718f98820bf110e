import numpy as np
import pytest
from scipy import stats

from evaluator.errors import InputError
from evaluator.metrics.deployment import (
    TooFewImpostorsError,
    deployment_threshold,
    impostors_to_bound,
    impostors_to_resolve,
    rates_at_threshold,
)


def strangers(scores):
    return np.asarray(scores, dtype=float), np.zeros(len(scores), dtype=bool)


def test_threshold_lets_exactly_the_allowed_impostors_through():
    scores = np.append(np.arange(3000) / 3000, [2.0, 0.1])
    genuine = np.arange(3002) >= 3000
    found = deployment_threshold(scores, genuine, 1e-3)
    assert found.threshold == 2996 / 3000
    assert found.rates.far == 3 / 3000
    assert found.rates.frr == 0.5
    assert found.rates.far_ci95 == pytest.approx(
        tuple(stats.binomtest(3, 3000).proportion_ci(method="exact"))
    )
    assert (found.rates.impostors, found.rates.genuine) == (3000, 2)


@pytest.mark.parametrize(("impostors", "far"), [(3000, 1e-3), (4000, 1e-3), (500, 0.1), (60, 0.5)])
def test_interval_ends_are_the_order_statistics_that_a_binomial_count_allows(impostors, far):
    found = deployment_threshold(*strangers(np.arange(impostors)), far)
    # By search: the r-th highest score is above the true threshold if at least r scores are.
    count = stats.binom(impostors, far)
    ranks = range(1, impostors + 1)
    low = min(rank for rank in ranks if 1 - count.cdf(rank - 1) <= 0.025)
    high = max((rank for rank in ranks if count.cdf(rank - 1) <= 0.025), default=None)
    expected = (impostors - low, None if high is None else impostors - high)
    assert found.interval == expected


def test_interval_covers_the_true_threshold_at_its_level():
    generator = np.random.default_rng(0)
    truth = stats.norm.isf(0.005)
    ends = [
        deployment_threshold(*strangers(generator.normal(size=2000)), 0.005).interval
        for _ in range(2000)
    ]
    below = np.mean([truth < low for low, _ in ends])
    above = np.mean([truth > high for _, high in ends])
    assert 0.005 < below <= 0.035
    assert 0.005 < above <= 0.035


def test_interval_is_close_to_the_bootstraps():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=4000)
    low, high = deployment_threshold(*strangers(scores), 0.05).interval
    drawn = [np.quantile(generator.choice(scores, 4000), 0.95) for _ in range(2000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.015)


def test_upper_end_is_open_until_there_are_enough_impostors():
    needed = impostors_to_bound(1e-3)
    assert 0.999**needed <= 0.025 < 0.999 ** (needed - 1)
    too_few = deployment_threshold(*strangers(np.arange(needed - 1)), 1e-3)
    assert too_few.interval[1] is None
    assert too_few.impostors_to_bound == needed
    enough = deployment_threshold(*strangers(np.arange(needed)), 1e-3)
    assert enough.interval[1] == needed - 1


def test_too_few_impostors_are_refused_with_the_number_it_takes():
    with pytest.raises(TooFewImpostorsError, match="at least 10,000 impostor pairs") as refusal:
        deployment_threshold(*strangers(np.arange(3000)), 1e-4)
    assert isinstance(refusal.value, InputError)
    assert (refusal.value.far, refusal.value.impostors, refusal.value.needed) == (
        1e-4,
        3000,
        10_000,
    )
    assert "or ask for FAR 0.00034 or higher" in str(refusal.value)
    assert deployment_threshold(*strangers(np.arange(3000)), 0.00034).rates.far == 1 / 3000
    with pytest.raises(TooFewImpostorsError, match="got none"):
        deployment_threshold([1.0], [True], 0.1)
    assert deployment_threshold(*strangers(np.arange(1000)), 1e-3).rates.far == 1e-3
    assert impostors_to_resolve(1e-3) == 1000


def test_ties_at_the_threshold_are_rejected():
    scores = np.repeat([0.9, 0.5, 0.1], [2, 6, 12])
    found = deployment_threshold(*strangers(scores), 0.25)
    assert (found.threshold, found.rates.far) == (0.5, 0.1)
    constant = deployment_threshold(*strangers(np.full(20, 0.3)), 0.25)
    assert (constant.threshold, constant.rates.far) == (0.3, 0.0)


def test_rates_by_hand_and_without_a_class():
    rates = rates_at_threshold([0.9, 0.5, 0.4, 0.1], [True, True, False, False], 0.5)
    assert (rates.far, rates.frr) == (0.0, 0.5)
    alone = rates_at_threshold([0.9], [True], 0.5)
    assert (alone.far, alone.far_ci95, alone.frr) == (None, None, 0.0)


def test_bad_arguments_are_refused():
    for far in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="far must lie in"):
            deployment_threshold([0.1], [False], far)
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        deployment_threshold([0.1, np.nan], [False, True], 0.5)
    with pytest.raises(ValueError, match="equally many"):
        rates_at_threshold([0.1], [False, True], 0.5)
