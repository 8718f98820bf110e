"""Tails against SciPy's, which we do without."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from evaluator.statistics.tails import incomplete_beta, reach, student_deviate, student_tail


def test_the_incomplete_beta_function_is_scipys() -> None:
    generator = np.random.default_rng(0)
    for _ in range(3000):
        a, b = 10 ** generator.uniform(-3, 4.5, 2)
        x = generator.choice([0.5, generator.random(), a / (a + b)])
        expected = special.betainc(a, b, x)
        assert incomplete_beta(a, b, x) == pytest.approx(expected, rel=2e-8, abs=1e-14)


@pytest.mark.parametrize("n", [1, 5, 24, 300, 3999])
def test_its_ends_and_halves_are_those_of_a_coin(n: int) -> None:
    assert incomplete_beta(n, 1, 0.5) == pytest.approx(0.5**n, rel=1e-11)
    assert incomplete_beta(n + 1, n + 1, 0.5) == pytest.approx(0.5)
    assert (incomplete_beta(n, 2, 0), incomplete_beta(n, 2, 1)) == (0, 1)
    assert (incomplete_beta(0, n, 0.5), incomplete_beta(n, 0, 0.5)) == (1, 0)


@pytest.mark.parametrize("freedom", [1, 1.7, 5, 29, 99.9, 1000, 1e6, math.inf])
def test_students_tails_and_deviates_are_scipys(freedom: float) -> None:
    for deviate in [0, 1e-8, 0.3, 1.96, 4, 9, 30]:
        expected = stats.t.sf(deviate, freedom)
        assert student_tail(deviate, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-300)
    for tail in (0.5, 0.2, 0.05, 0.025, 1e-6):
        expected = stats.t.isf(tail, freedom)
        assert student_deviate(tail, freedom) == pytest.approx(expected, rel=1e-7, abs=1e-6)
    assert reach(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom))
