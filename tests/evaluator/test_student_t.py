"""Student's t without SciPy, beside SciPy's and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtr

from evaluator.statistics.significance import CRITICAL, POWER_MARGIN
from evaluator.statistics.student_t import two_sided_p_values

VALUES = np.concatenate([np.linspace(0, 40, 801), np.logspace(-8, 3, 200)])


@pytest.mark.parametrize(
    "freedom", [1.7, 2, 3.3, 5, 10, 29, 60, 119, 121, 333.3, 999, 1000, 1e4, 1e6, 1e9, math.inf]
)
def test_p_values_are_scipys(freedom: float) -> None:
    found = two_sided_p_values(VALUES, freedom)
    expected = 2 * stdtr(freedom, -VALUES)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    far = expected > 1e-100
    np.testing.assert_allclose(found[far], expected[far], rtol=1e-8)


def test_p_values_of_one_and_two_degrees_are_their_closed_forms() -> None:
    # SciPy's own are off by 3e-9 near 0 for one degree.
    one = 1 - 2 / math.pi * np.arctan(VALUES)
    np.testing.assert_allclose(two_sided_p_values(VALUES, 1), one, rtol=0, atol=1e-14)
    two = 1 - VALUES / np.sqrt(2 + VALUES**2)
    np.testing.assert_allclose(two_sided_p_values(VALUES, 2), two, rtol=0, atol=1e-14)


def test_the_expansion_meets_the_fraction() -> None:
    below, above = (two_sided_p_values(VALUES, freedom) for freedom in (1000 - 1e-9, 1000))
    np.testing.assert_allclose(below, above, rtol=0, atol=1e-13)


def test_signs_and_shapes_and_ends() -> None:
    assert two_sided_p_values(-2.0, 5) == two_sided_p_values(2.0, 5)
    assert two_sided_p_values([[0, math.inf]], 3).tolist() == [[1, 0]]
    assert two_sided_p_values([], 3).shape == (0,)
    for freedom in (0, -1, math.nan):
        with pytest.raises(ValueError, match="degrees of freedom"):
            two_sided_p_values(1.0, freedom)


def test_the_quantiles_written_out_are_scipys() -> None:
    from scipy.special import ndtri

    assert pytest.approx(float(ndtri(0.975)), abs=1e-15) == CRITICAL
    assert pytest.approx(float(ndtri(0.8)), abs=1e-15) == POWER_MARGIN
