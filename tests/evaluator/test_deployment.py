import numpy as np
import pytest
from scipy import stats

from evaluator.errors import InputError
from evaluator.metrics.deployment import (
    TooFewImpostorsError,
    deployment_threshold,
    impostors_to_bound,
)
from evaluator.metrics.rates import rates_at_threshold


def strangers(scores):
    return np.asarray(scores, dtype=float), np.zeros(len(scores), dtype=bool)


@pytest.mark.parametrize(
    ("impostors", "far", "confidence"),
    [(3000, 1e-2, 0.95), (2995, 1e-3, 0.95), (500, 0.1, 0.99), (60, 0.5, 0.5), (7, 0.4, 0.9)],
)
def test_threshold_is_the_lowest_score_whose_upper_limit_is_the_target(impostors, far, confidence):
    scores = np.random.default_rng(0).permutation(np.arange(impostors)).astype(float)
    found = deployment_threshold(*strangers(scores), far, confidence=confidence)
    # By search, with Clopper and Pearson's limit as a quantile of the beta distribution.
    above = [int((scores > each).sum()) for each in scores]
    keeps = [stats.beta.ppf(confidence, k + 1, impostors - k) <= far for k in above]
    lowest = min(scores[keeps])
    assert found.threshold == (lowest if lowest == impostors - 1 else lowest + 0.5)
    assert found.rates.far == (scores > lowest).mean()
    allowed = [each for each in scores if (scores > each).mean() <= far]
    assert found.empirical.threshold == min(allowed)
    assert (found.target_far, found.confidence, found.effect) == (far, confidence, 1.0)


def test_rates_are_of_the_threshold_and_have_exact_intervals():
    scores = np.append(np.arange(3000) / 3000, [2.0, 0.1])
    genuine = np.arange(3002) >= 3000
    found = deployment_threshold(scores, genuine, 2e-3)
    assert found.rates.threshold == found.threshold
    assert found.rates.far == 1 / 3000
    assert found.rates.frr == 0.5
    assert found.empirical.far == 6 / 3000
    exact = stats.binomtest(1, 3000).proportion_ci(method="exact")
    assert found.rates.far_ci95 == pytest.approx(tuple(exact))
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


def test_the_rule_of_three_says_how_many_impostors_bound_a_rate():
    needed = impostors_to_bound(1e-3)
    assert needed == 2995
    assert 0.999**needed <= 0.05 < 0.999 ** (needed - 1)
    found = deployment_threshold(*strangers(np.arange(needed)), 1e-3)
    assert (found.threshold, found.interval[1]) == (needed - 1, None)
    assert found.impostors_to_bound == needed
    with pytest.raises(TooFewImpostorsError, match="takes 2,995 impostor pairs; got 2,994: bring"):
        deployment_threshold(*strangers(np.arange(needed - 1)), 1e-3)
    # The interval has two sides, so that its upper end takes more.
    both = deployment_threshold(*strangers(np.arange(3688)), 1e-3)
    assert both.interval[1] == 3687


def test_any_rate_goes_where_the_impostors_suffice():
    scores = np.random.default_rng(0).normal(size=3_000_000)
    found = deployment_threshold(*strangers(scores), 1e-6)
    assert found.rates.far == 0
    assert found.threshold == pytest.approx(scores.max(), abs=1e-4)


def test_too_few_impostors_are_refused_with_what_it_takes():
    with pytest.raises(TooFewImpostorsError, match="95 % confidence takes 29,956") as refusal:
        deployment_threshold(*strangers(np.arange(3000)), 1e-4)
    assert isinstance(refusal.value, InputError)
    assert (refusal.value.far, refusal.value.confidence) == (1e-4, 0.95)
    assert (refusal.value.impostors, refusal.value.needed) == (3000, 29_956)
    assert "or ask for FAR 0.001 or higher" in str(refusal.value)
    assert refusal.value.least == 1e-3
    assert deployment_threshold(*strangers(np.arange(3000)), 1e-3).rates.far == 0
    with pytest.raises(TooFewImpostorsError, match=r"29,956 impostor pairs; got none$"):
        deployment_threshold([1.0], [True], 1e-4)
    with pytest.raises(TooFewImpostorsError, match=r"at 99\.9 % confidence takes 69 .*; got 1: "):
        deployment_threshold([1.0], [False], 0.096, confidence=0.999)


def all_to_all(people, photos):
    """The person on either side of every pair of photos of different people."""
    person = np.repeat(np.arange(people), photos)
    left, right = np.triu_indices(people * photos, 1)
    different = person[left] != person[right]
    return person[left[different]], person[right[different]]


def test_people_in_many_pairs_are_said_and_a_refusal_says_how_many_it_takes():
    left, right = all_to_all(10, 8)
    generator = np.random.default_rng(0)
    person = generator.normal(size=10)
    scores = person[left] + person[right] + generator.normal(size=len(left))
    slots = np.stack([left, right], axis=1).ravel()
    labels = np.zeros(len(left), dtype=bool)
    with pytest.raises(TooFewImpostorsError) as refusal:
        deployment_threshold(scores, labels, 0.02, people=slots)
    said = str(refusal.value)
    assert "takes 149 independent impostor pairs; got 2,880 of 10 people, worth " in said
    worth = float(said.split("worth ")[1].split(":")[0])
    assert worth < 149
    assert refusal.value.needed == pytest.approx(2880 * 149 / worth, rel=0.01)
    least = refusal.value.least
    found = deployment_threshold(scores, labels, least, people=slots)
    assert found.effect > 2
    with pytest.raises(TooFewImpostorsError):
        deployment_threshold(scores, labels, least - 0.01, people=slots)
    # Where nobody knows what the pairs share, they count in full.
    blind = deployment_threshold(scores, labels, least)
    assert blind.effect == 1
    assert blind.threshold < found.threshold


def test_design_effect_is_that_of_all_couples_that_share_a_person():
    left, right = all_to_all(12, 3)
    generator = np.random.default_rng(1)
    person = generator.normal(size=12)
    scores = person[left] + person[right] + generator.normal(size=len(left))
    threshold = float(np.quantile(scores, 0.8))
    slots = np.stack([left, right], axis=1).ravel()
    found = rates_at_threshold(scores, np.zeros(len(left), bool), threshold, people=slots)
    shares = (left[:, None] == left) | (left[:, None] == right)
    shares |= (right[:, None] == left) | (right[:, None] == right)

    def growing(share):
        density = stats.norm.pdf(stats.norm.isf(share))
        return density**2 / (share * (1 - share))

    rate = (scores > threshold).mean()
    growths = []
    for level in (rate, 2 * rate):  # four times it is more than half
        beyond = scores > np.sort(scores)[::-1][int(level * len(scores) + 1e-9)]
        error = beyond - beyond.mean()
        effect = (error @ shares @ error) / (error @ error) * 12 / (12 - 4)
        growths.append((effect - 1) / growing(beyond.mean()))
    caution = (stats.t.ppf(0.975, 11) / stats.norm.ppf(0.975)) ** 2
    assert found.far_effect == pytest.approx(caution * (1 + max(growths) * growing(rate)))

    # Either end is where as few errors, or as many, have a chance of 2.5 %.
    for end, tail in zip(found.far_ci95, (0.975, 0.025), strict=True):
        worth = caution * (1 + max(growths) * growing(end))
        errors, others = rate * len(scores) / worth, (1 - rate) * len(scores) / worth
        fewer = stats.beta(errors, others + 1) if tail > 0.5 else stats.beta(errors + 1, others)
        assert fewer.sf(end) == pytest.approx(tail)
    low, high = found.far_ci95
    assert low < rate < high


def test_ties_at_the_threshold_are_rejected():
    scores = np.repeat([0.9, 0.5, 0.1], [2, 26, 72])
    found = deployment_threshold(*strangers(scores), 0.25)
    assert (found.threshold, found.rates.far) == (0.7, 0.02)
    constant = deployment_threshold(*strangers(np.full(20, 0.3)), 0.25)
    assert (constant.threshold, constant.rates.far) == (0.3, 0.0)


def test_threshold_is_a_decimal_that_keeps_its_promise_as_it_is_printed():
    # The last digit rounds down: 0.5359 lets a stranger pass that 0.53591 does not.
    impostors = np.append(np.linspace(0, 0.4, 298), 0.535912)
    scores, genuine = np.append(impostors, 0.9), np.arange(300) == 299
    found = deployment_threshold(scores, genuine, 0.01)
    assert found.threshold == 0.718  # half way to the next higher score: a genuine one
    alone = deployment_threshold(*strangers(impostors), 0.01)
    assert alone.threshold == 0.536
    assert (impostors > float(f"{alone.threshold:.4f}")).sum() == 0 < (impostors > 0.5359).sum()
    scores[-1] = 0.5359122  # 0.536 would reject it: as many digits as it takes
    close = deployment_threshold(scores, genuine, 0.01)
    assert close.threshold == 0.5359121
    assert close.rates.frr == 0
    scores[-1] = np.nextafter(0.535912, 1)
    assert deployment_threshold(scores, genuine, 0.01).threshold == 0.535912


@pytest.mark.parametrize("scale", [1e-9, 1e9, 1e300, -1e-9, -1e300])
def test_scores_of_any_size_have_a_threshold_that_decides_as_the_score_does(scale):
    scores = scale * np.sort(np.random.default_rng(0).normal(size=400))
    found = deployment_threshold(*strangers(scores), 0.05)
    most = max(k for k in range(20) if stats.beta.ppf(0.95, k + 1, 400 - k) <= 0.05)
    accepted = scores > found.threshold
    assert np.array_equal(accepted, scores > np.sort(scores)[-1 - most])


def test_rates_by_hand_and_without_a_class():
    rates = rates_at_threshold([0.9, 0.5, 0.4, 0.1], [True, True, False, False], 0.5)
    assert (rates.far, rates.frr) == (0.0, 0.5)
    alone = rates_at_threshold([0.9], [True], 0.5)
    assert (alone.far, alone.far_ci95, alone.frr) == (None, None, 0.0)


def test_bad_arguments_are_refused():
    for far in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="far must lie in"):
            deployment_threshold([0.1], [False], far)
    for confidence in (0.4, 1.0, float("nan"), "0.95"):
        with pytest.raises(ValueError, match="confidence must lie in"):
            deployment_threshold([0.1], [False], 0.1, confidence=confidence)
    with pytest.raises(ValueError, match=r"two slots a pair; got shape \(1,\) for 1 pairs"):
        deployment_threshold([0.1], [False], 0.1, images=[1])
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        deployment_threshold([0.1, np.nan], [False, True], 0.5)
    with pytest.raises(ValueError, match="equally many"):
        rates_at_threshold([0.1], [False, True], 0.5)
