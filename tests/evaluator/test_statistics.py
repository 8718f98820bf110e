import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from evaluator.statistics.comparison import CRITICAL, POWER_MARGIN, compare_pairs
from evaluator.statistics.pair_tests import holm_p_values, mcnemar_p_value
from tests.delong import delong


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(5, 15), (15, 5), (7, 7), (0, 4), (1, 0), (90, 131)]
)
def test_mcnemar_is_the_two_sided_binomial_test(only_a, only_b):
    witness = stats.binomtest(only_a, only_a + only_b, 0.5)
    assert mcnemar_p_value(only_a, only_b) == pytest.approx(witness.pvalue, rel=1e-9)


@pytest.mark.parametrize("discordant", [3999, 4001])
def test_mcnemar_of_thousands_of_pairs_is_scipys(discordant):
    for only_a in (0, 1, discordant // 2 - 60, discordant // 2):
        witness = stats.binomtest(only_a, discordant, 0.5)
        found = mcnemar_p_value(only_a, discordant - only_a)
        assert found == pytest.approx(witness.pvalue, rel=1e-8, abs=1e-300)


def test_mcnemar_without_discordant_pairs_is_1_and_refuses_negative_counts():
    assert mcnemar_p_value(0, 0) == 1.0
    with pytest.raises(ValueError, match="negative"):
        mcnemar_p_value(-1, 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(2, 25), st.integers(2, 12))
def test_areas_are_compared_as_delong_defines_it_with_ties(
    seed, genuine_pairs, impostor_pairs, levels
):
    generator = np.random.default_rng(seed)
    genuine = generator.permutation(np.arange(genuine_pairs + impostor_pairs) < genuine_pairs)
    scores_a = generator.integers(0, levels, len(genuine)).astype(float)
    scores_b = np.round(scores_a + generator.normal(size=len(genuine)) + genuine)
    witness = delong(scores_a, scores_b, genuine)
    found = compare_pairs(scores_a, scores_b, genuine, metric="auc")
    assert (found.value_a, found.value_b) == pytest.approx(witness.areas, abs=1e-12)
    assert found.value_a == pytest.approx(roc_auc_score(genuine, scores_a), abs=1e-12)
    assert found.difference == pytest.approx(witness.difference, abs=1e-12)
    if witness.variance > 1e-9:
        variance = found.differences.variances[0, 1]
        assert variance == pytest.approx(witness.variance, abs=1e-12)


def test_the_variance_of_a_difference_of_areas_is_the_bootstraps():
    generator = np.random.default_rng(1)
    genuine = np.arange(400) < 150
    scores_a = generator.normal(size=400) + genuine
    scores_b = scores_a + 0.7 * generator.normal(size=400)
    found = compare_pairs(scores_a, scores_b, genuine, metric="auc")
    # No score repeats, so an area is the share of couples in which the genuine score is higher.
    wins_a, wins_b = ((x[:150, None] > x[None, 150:]).astype(float) for x in (scores_a, scores_b))
    drawn = []
    for _ in range(1500):
        often_genuine = np.bincount(generator.integers(0, 150, 150), minlength=150)
        often_impostor = np.bincount(generator.integers(0, 250, 250), minlength=250)
        drawn.append(often_genuine @ (wins_a - wins_b) @ often_impostor / (150 * 250))
    assert np.var(drawn) == pytest.approx(found.differences.variances[0, 1], rel=0.15)


def test_holm_by_hand():
    # 4 x 0.005, 3 x 0.01, then 2 x 0.03 which 1 x 0.04 may not undercut.
    assert holm_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_p_values([0.6, 0.7]) == [1.0, 1.0]
    assert holm_p_values([]) == []
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm_p_values([1.5])


def test_narrow_p_values_are_adjusted_in_double_precision():
    narrow = np.array([0.1, 0.2, 0.3], dtype=np.float32)
    assert holm_p_values(narrow) == holm_p_values(narrow.tolist())
    assert holm_p_values(narrow)[0] == 3 * float(narrow[0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_formula(p_values):
    ordered = sorted(p_values)
    steps = [(len(p_values) - rank) * p for rank, p in enumerate(ordered)]
    expected = [min(1, max(steps[: len(p_values) - ordered[::-1].index(p)])) for p in p_values]
    assert holm_p_values(p_values) == pytest.approx(expected)


def test_importing_the_statistics_does_not_import_scipy_stats():
    code = (
        "import sys, evaluator.statistics.comparison, evaluator.metrics.deployment;"
        "new = sys.version_info >= (3, 11);"  # SciPy 1.15, 3.10's, needs sparse for special
        "names = ['scipy.stats', 'keras', *['scipy.sparse'] * new];"
        "sys.exit(any(name in sys.modules for name in names))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_quantiles_written_out_are_scipys():
    assert pytest.approx(stats.norm.ppf(0.975), abs=1e-15) == CRITICAL
    assert pytest.approx(stats.norm.ppf(0.8), abs=1e-15) == POWER_MARGIN
