"""Intervals of single figures: how often they hold the truth, on scores whose truth is known.

Scores are Gaussian of variance 1 in either class, 0 for impostors and ``shift`` for genuine pairs,
with parts of people, of images and of pairs that add up; so every figure's true value is a formula.
The nominal coverage is 95 %. Of 300 draws its share has a standard deviation of 1.3 %: a figure
that is covered 84 times in 100 is found 98 times in 100.
"""

import math

import numpy as np
import pytest
from scipy.stats import binom, gamma, norm, t

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.figures import auc, tar_at_far
from evaluator.metrics.intervals import error_interval
from evaluator.metrics.protocols import sorted_pairs
from evaluator.metrics.sharing import Spread, pair_sharing

DRAWS = 300
NAMES = ("kfold", "accuracy", "auc", "eer", "tar@1e-1", "tar@1e-2", "tar@1e-3", "d-prime")


def independent(pairs):
    genuine = np.random.default_rng(0).permutation(np.arange(pairs) % 2 == 0)
    left = np.arange(pairs)
    people = np.concatenate([left, np.where(genuine, left, left + pairs)])
    return left, left + pairs, genuine, people


def reused(people, pairs):
    """Pairs as LFW's: people of 1 to 60 photographs, within ten sets of people, so that images are
    in several pairs and people in more.
    """
    generator = np.random.default_rng(0)
    counts = np.minimum(60, generator.zipf(1.7, people))
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    left, right, genuine = [], [], []
    for group in np.array_split(np.arange(people), 10):
        several = group[counts[group] > 1]
        for number in range(pairs // 10):
            if same := number % 2 == 0:
                one = other = generator.choice(several)
                i, j = generator.choice(counts[one], 2, replace=False)
            else:
                one, other = generator.choice(group, 2, replace=False)
                i, j = generator.integers(counts[one]), generator.integers(counts[other])
            left.append(first[one] + i)
            right.append(first[other] + j)
            genuine.append(same)
    return np.array(left), np.array(right), np.array(genuine), np.repeat(np.arange(people), counts)


def all_to_all(people, photos, impostors):
    person = np.repeat(np.arange(people), photos)
    left, right = np.triu_indices(len(person), 1)
    genuine = person[left] == person[right]
    generator = np.random.default_rng(0)
    strangers = generator.choice(np.flatnonzero(~genuine), impostors, replace=False)
    order = generator.permutation(np.concatenate([np.flatnonzero(genuine), strangers]))
    return left[order], right[order], genuine[order], person


def drawn(structure, shift, generator):
    return shift * structure[2] + parts_of(structure, generator)


def parts_of(structure, generator):
    """What is added to a pair's shift: parts of its people, of its images and its own."""
    left, right, genuine, person = structure
    of_people = generator.normal(size=(2, person.max() + 1))
    strangers = (of_people[0][person[left]] + of_people[0][person[right]]) / math.sqrt(2)
    by_person = np.where(genuine, of_people[1][person[left]], strangers)
    of_images = generator.normal(size=len(person) + 2 * len(left))
    by_image = (of_images[left] + of_images[right]) / math.sqrt(2)
    by_pair = generator.normal(size=len(left))
    return math.sqrt(0.2) * by_person + math.sqrt(0.3) * by_image + math.sqrt(0.5) * by_pair


def truths(shift, share):
    """The figures of endless scores, a share of them genuine."""
    cuts = np.linspace(-6, 12, 20_001)
    found = {
        "accuracy": (share * norm.cdf(shift - cuts) + (1 - share) * norm.cdf(cuts)).max(),
        "auc": norm.cdf(shift / math.sqrt(2)),
        "eer": norm.cdf(-shift / 2),
        "d-prime": shift,
    }
    return found | {f"tar@1e-{n}": norm.cdf(shift - norm.isf(10.0**-n)) for n in (1, 2, 3)}


def coverage(structure, accuracies, *, by, draws):
    """Share of intervals that hold the truth, by figure, for each accuracy on the same draws; a
    figure without an interval holds nothing.
    """
    left, right, genuine, person = structure
    sharing = {
        "pairs": lambda: None,
        "images": lambda: pair_sharing(left, right),
        "people": lambda: pair_sharing(person[left], person[right], unit="person"),
    }[by]()
    generator = np.random.default_rng(1)
    parts = [parts_of(structure, generator) for _ in range(draws)]
    return [held(parts, genuine, 2 * norm.ppf(each), sharing) for each in accuracies]


def held(parts, genuine, shift, sharing):
    """Share of intervals that hold the truth, by figure, of scores with this shift."""
    share = genuine.mean()
    true = truths(shift, share)
    hits, of_folds, expected = dict.fromkeys(NAMES, 0), [], []
    for own in parts:
        pairs = sorted_pairs(shift * genuine + own, genuine)
        for name in NAMES:
            ends = all_figures()[name].interval_of(pairs, sharing)
            if name == "kfold":
                of_folds.append(ends)
                cuts = np.array(pairs.kfold.thresholds)
                right_there = share * norm.cdf(shift - cuts) + (1 - share) * norm.cdf(cuts)
                expected.append(right_there.mean())
            elif ends is not None:
                hits[name] += ends[0] <= true[name] <= ends[1]
    # Thresholds from nine tenths are not the best: what is to be held is what they give.
    hits["kfold"] = sum(low <= np.mean(expected) <= high for low, high in of_folds)
    return {name: count / len(parts) for name, count in hits.items()}


@pytest.mark.slow
@pytest.mark.parametrize("by", ["pairs", "images", "people"])
def test_intervals_hold_the_truth_95_times_in_100(by):
    structure = independent(6000) if by == "pairs" else reused(4000, 6000)
    accuracies = (0.9, 0.99, 0.998)
    found = coverage(structure, accuracies, by=by, draws=DRAWS)
    for accuracy, shares in zip(accuracies, found, strict=True):
        for name, share in shares.items():
            # Three standard deviations of so many draws below 0.93. Above: a TAR of 0.9999 of 3,000
            # is 1 minus 0 or 1 misses, and no interval of a count that small holds 95 % on the dot.
            assert share > 0.93 - 0.044, (accuracy, name, share)
            assert share < 0.985 or accuracy > 0.9, (accuracy, name, share)


@pytest.mark.slow
def test_few_people_in_all_pairs_are_allowed_for():
    structure = all_to_all(30, 6, 5_000)
    (blind,) = coverage(structure, [0.9], by="pairs", draws=100)
    (found,) = coverage(structure, [0.9], by="people", draws=200)
    for name in ("auc", "eer", "tar@1e-1", "tar@1e-2", "tar@1e-3", "d-prime"):
        assert found[name] > 0.88, (name, found[name])
    assert blind["auc"] < 0.85


def test_an_interval_of_equal_errors_is_the_one_of_a_count():
    # Seven errors of 1,000: Garwood's interval of a Poisson count, with half an error more.
    low, high = error_interval(0.007, Spread(7e-6), 0.001)
    assert low == pytest.approx(gamma.ppf(0.025, 7) / 1000)
    mean, variance = 7.5, 7.25
    assert high == pytest.approx(gamma.ppf(0.975, mean**2 / variance) * variance / mean / 1000)


def test_a_variance_that_few_pairs_know_raises_the_upper_end_alone():
    sure = error_interval(0.007, Spread(7e-6), 0.001)
    low, high = error_interval(0.007, Spread(7e-6), 0.001, deciding=4.0)
    mean, variance, at = 7.5, 7.25, norm.cdf(t.ppf(0.975, 4))
    assert low == sure[0]
    assert high == pytest.approx(gamma.ppf(at, mean**2 / variance) * variance / mean / 1000)


@pytest.mark.parametrize("decimals", [0, 1, 3, 12])
@pytest.mark.parametrize("pairs", [12, 500, 40_000])
def test_powers_of_an_areas_errors_are_those_of_its_placements(pairs, decimals):
    generator = np.random.default_rng(pairs)
    genuine = np.arange(pairs) % 3 == 0
    found = sorted_pairs(np.round(generator.normal(size=pairs) + genuine, decimals), genuine)
    errors = all_figures()["auc"].influence(found)
    both = np.concatenate([errors.genuine, errors.impostor])
    said = auc._powers(found.sweep, auc.auc(found.sweep), auc._ties(found.sweep))
    assert said == pytest.approx(((both**2).sum(), (both**4).sum()), rel=1e-9)


@pytest.mark.parametrize("decimals", [0, 1, 12])
@pytest.mark.parametrize("name", [*NAMES, "insightface"])
def test_intervals_of_independent_pairs_are_those_of_the_influences(name, decimals):
    """Two pairs of 3,000 share an image: that is asked of the influences, pair by pair."""
    generator, pairs = np.random.default_rng(5), np.arange(3000)
    genuine = pairs % 3 == 0
    scores = np.round(generator.normal(size=3000) + 1.5 * genuine, decimals)
    found = sorted_pairs(scores / 10 if name == "insightface" else scores, genuine)
    linked = pair_sharing(np.where(pairs == 1, 0, pairs), pairs + 3000)
    assert linked.method == "clusters"
    figure = all_figures()[name]
    alone, asked = figure.interval_of(found), figure.interval_of(found, linked)
    assert np.subtract(asked, alone) == pytest.approx([0, 0], abs=0.02 * np.ptp(alone))


@pytest.mark.slow
def test_areas_near_1_are_covered():
    structure, shift = independent(6000), 2 * norm.ppf(0.998)
    generator, true = np.random.default_rng(3), norm.cdf(shift / math.sqrt(2))
    inside, draws = 0, 1000
    for _ in range(draws):
        pairs = sorted_pairs(drawn(structure, shift, generator), structure[2])
        low, high = all_figures()["auc"].interval_of(pairs)
        inside += low <= true <= high
    assert 0.93 <= inside / draws <= 0.97


def test_no_error_bounds_the_rate_and_nothing_known_bounds_nothing():
    low, high = error_interval(0.0, Spread(0.0), 0.001)
    assert (low, high) == (0.0, pytest.approx(gamma.ppf(0.975, 1) * 0.0005))
    assert error_interval(0.0, Spread(0.0), 0.0) is None


@pytest.mark.parametrize(("far", "impostors"), [(1e-3, 3000), (0.1, 450), (1e-2, 100)])
def test_a_threshold_lies_between_the_ranks_of_the_binomial_distribution(far, impostors):
    for rank in range(1, 12):
        chance = binom.cdf(rank - 1, impostors, far)
        if 1e-6 < chance < 1 - 1e-6:
            assert tar_at_far._rank(far, impostors, chance) == pytest.approx(rank, abs=1e-6)
