"""Error versus discard: the published fixture, ties, and a quality that knows nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.conditions.discard import discard_curve
from evaluator.conditions.pairs import PairSet, threshold_at_far
from evaluator.errors import InputError


def fixture() -> tuple[PairSet, NDArray[np.float64]]:
    generator = np.random.default_rng(11)
    genuine = np.arange(6000) % 2 == 0
    left, right = generator.uniform(size=6000), generator.uniform(size=6000)
    lower = np.minimum(left, right)
    noise = generator.normal(0, 0.1, 6000)
    scores = np.clip(noise + genuine * (0.25 + 0.35 * lower), -1, 1)
    return PairSet(scores, genuine), np.column_stack([left, right]).ravel()


def test_the_fixture_to_all_digits() -> None:
    pairs, quality = fixture()
    shares = tuple(np.arange(0, 0.98, 0.05))
    curve = discard_curve(pairs, quality, threshold_at_far(pairs, 1e-3), shares=shares)
    rates = [curve.steps[i].rates.frr for i in (0, 2, 4, 10, 18, 19)]
    assert [round(rate or 0, 4) for rate in rates] == [
        0.3193, 0.2853, 0.2451, 0.1263, 0.0164, 0.0138,
    ]  # fmt: skip
    assert round(curve.area or 0, 6) == 0.137223
    assert round(curve.partial_area or 0, 6) == 0.056887
    assert curve.mean == pytest.approx((curve.partial_area or 0) / 0.2)
    assert curve.steps[-1].rates.impostors == 155


def test_a_random_quality_gives_a_flat_curve() -> None:
    # Within the interval of each step; at the 19 steps of 40 qualities 95 % would be 722.
    pairs, _ = fixture()
    threshold = threshold_at_far(pairs, 0.01)
    inside = total = 0
    for seed in range(40):
        quality = np.random.default_rng(seed).uniform(size=12_000)
        curve = discard_curve(pairs, quality, threshold)
        truth = curve.steps[0].rates.frr or 0
        for step in curve.steps[1:]:
            low, high = step.rates.frr_ci95 or (0, 1)
            inside += low <= truth <= high
            total += 1
    assert inside / total > 0.95
    assert curve.mean == pytest.approx(truth, abs=0.01)


def test_of_equal_qualities_the_first_pairs_go_first() -> None:
    genuine = np.array([True] * 10)
    scores = np.array([0.0] * 5 + [1.0] * 5)  # the first five are misses
    curve = discard_curve(PairSet(scores, genuine), np.ones(20), 0.5, shares=(0, 0.3, 0.5))
    assert [step.rates.frr for step in curve.steps] == [0.5, 2 / 7, 0.0]
    assert [step.rates.genuine for step in curve.steps] == [10, 7, 5]


def test_a_discarded_image_takes_all_its_pairs_along() -> None:
    images = np.array([0, 1, 0, 2, 3, 4, 5, 6])
    quality = images + 1.0
    pairs = PairSet(np.array([0.9, 0.1, 0.9, 0.1]), np.array([True, True, True, False]), images)
    curve = discard_curve(pairs, quality, 0.5, by="image", shares=(0, 0.15, 0.8), limit=0.5)
    assert [step.rates.genuine for step in curve.steps] == [3, 1, 0]
    assert [step.images for step in curve.steps] == [7, 4, 2]
    assert curve.steps[0].rates.frr == 1 / 3
    assert curve.steps[2].rates.frr is None
    assert curve.area is None
    with pytest.raises(InputError, match="equal images have different qualities"):
        discard_curve(pairs, np.arange(8.0), 0.5, by="image")


def test_the_area_up_to_a_limit_between_two_steps_is_interpolated() -> None:
    pairs, quality = fixture()
    threshold = threshold_at_far(pairs, 1e-3)
    curve = discard_curve(pairs, quality, threshold, limit=0.23)
    x = [step.share for step in curve.steps]
    y = [step.rates.frr or 0 for step in curve.steps]
    fine = np.linspace(0, 0.23, 2301)
    expected = np.trapezoid(np.interp(fine, x, y), fine)
    assert curve.partial_area == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shares": (0.1, 0.2)}, "begin with 0"),
        ({"shares": (0, 1)}, "below 1"),
        ({"shares": (0, 0.5, 0.5)}, "ascend"),
        ({"limit": 0.99}, "limit must lie above 0, up to 0.95"),
    ],
)
def test_wrong_steps_are_refused(options: dict[str, object], said: str) -> None:
    pairs, quality = fixture()
    with pytest.raises(InputError, match=said):
        discard_curve(pairs, quality, 0.5, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one finite number a slot"):
        discard_curve(pairs, quality[1:], 0.5)
