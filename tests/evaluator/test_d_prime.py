"""d' by hand, by the standard library, at its edges, and in all that lists figures."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evaluator
from evaluator.metrics.all_figures import all_figures, to_json
from evaluator.metrics.figures.d_prime import d_prime, influence
from evaluator.metrics.protocols import sorted_pairs
from evaluator.metrics.sweep import sweep


def found(genuine: list[float], impostor: list[float]) -> float | None:
    labels = [True] * len(genuine) + [False] * len(impostor)
    return d_prime(sweep([*genuine, *impostor], np.array(labels, dtype=bool)))


def test_the_worked_example() -> None:
    # Means 0.7 and 0.2; variances 0.01 and 0.01; 0.5 / 0.1.
    assert found([0.6, 0.8], [0.1, 0.3]) == pytest.approx(5.0)


@given(
    st.lists(st.integers(-9, 9), min_size=2, max_size=30),
    st.lists(st.integers(-9, 9), min_size=2, max_size=30),
)
def test_it_is_its_formula_by_the_standard_library_with_ties(
    genuine: list[int], impostor: list[int]
) -> None:
    spread = statistics.pvariance(genuine) + statistics.pvariance(impostor)
    index = found([x / 9 for x in genuine], [x / 9 for x in impostor])
    if spread == 0:
        assert index is None
    else:
        gap = abs(statistics.mean(genuine) - statistics.mean(impostor))
        assert index == pytest.approx(gap / math.sqrt(spread / 2), abs=1e-12)


def test_pieces_of_many_scores_add_up_to_numpys_variance() -> None:
    generator = np.random.default_rng(0)
    genuine, impostor = generator.normal(1000.5, 0.1, 70_000), generator.normal(1000, 0.2, 40_000)
    expected = (genuine.mean() - impostor.mean()) / np.sqrt((genuine.var() + impostor.var()) / 2)
    assert found(genuine.tolist(), impostor.tolist()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("constant", [0.1, 0.3, 1 / 3])
def test_scores_without_spread_leave_it_undefined(constant: float) -> None:
    assert found([constant] * 7, [constant] * 7) is None
    assert found([constant] * 7, [-constant] * 3) is None
    assert found([constant] * 7, [0.0, 0.2]) == pytest.approx(abs(constant - 0.1) / 0.1 * 2**0.5)


@pytest.mark.parametrize(("genuine", "impostor"), [(3, 0), (0, 3), (1, 3), (3, 1), (0, 0)])
def test_fewer_than_two_scores_of_a_class_leave_it_undefined(genuine: int, impostor: int) -> None:
    assert (
        found(np.linspace(0.5, 1, genuine).tolist(), np.linspace(0, 1, impostor).tolist()) is None
    )


def test_influence_spreads_as_the_index_over_repeated_samples() -> None:
    generator = np.random.default_rng(0)
    genuine = np.arange(2000) % 2 == 0
    drawn, said = [], []
    for _ in range(150):
        scores = generator.gumbel(size=2000) + 3 * genuine
        drawn.append(d_prime(sweep(scores, genuine)))
        pairs = sorted_pairs(scores, genuine)
        contributions = influence(pairs).contributions(pairs)
        assert contributions.sum() == pytest.approx(0, abs=1e-12)
        said.append(contributions @ contributions)
    # 150 repetitions know a standard deviation within 12 % (two standard errors).
    assert np.sqrt(np.mean(said)) == pytest.approx(np.std(drawn), rel=0.2)


def test_its_interval_holds_the_true_index_95_times_in_100() -> None:
    # Two normal classes of deviation 1, 2 apart: d' is 2.
    generator = np.random.default_rng(1)
    genuine, hits = np.arange(400) % 2 == 0, 0
    for _ in range(600):
        scores = generator.normal(size=400) + 2 * genuine
        interval = all_figures()["d-prime"].interval_of(sorted_pairs(scores, genuine))
        assert interval is not None
        hits += interval[0] <= 2 <= interval[1]
    assert 0.92 * 600 < hits < 0.98 * 600  # 3 standard errors of 600 draws


def test_undefined_has_an_influence_of_nothing_and_no_interval() -> None:
    pairs = sorted_pairs(np.full(6, 0.5), np.arange(6) % 2 == 0)
    assert not influence(pairs).contributions(pairs).any()
    assert all_figures()["d-prime"].interval_of(pairs) is None


def test_it_is_in_the_json_and_in_print() -> None:
    genuine = np.arange(2000) % 2 == 0
    scores = np.random.default_rng(0).normal(size=2000) + 2 * genuine
    block = evaluator.figures(scores, genuine)
    assert to_json(block)["d_prime"] == block.d_prime
    assert repr(block).splitlines()[-3].split() == [
        *("d'", f"{block.d_prime:.3f}"),
        *"[{:.3f}, {:.3f}]".format(*block.d_prime_ci95 or ()).split(),
    ]
    json.dumps(to_json(block), allow_nan=False)


def test_a_result_from_before_it_is_whole_and_reads_as_undefined(tmp_path: Path) -> None:
    from evaluator.results.record import to_dict
    from evaluator.results.store import load_result, save_result
    from fuzz.stored_seeds import result

    path = tmp_path / "arc-aaaaaaaa" / "lfw-bbbbbbbb.json"
    save_result(path, result(), None)
    before = load_result(path)
    assert before.figures is not None
    assert "d_prime" not in before.figures
    figure = all_figures()["d-prime"]
    assert figure.read(before.figures) is None
    assert figure.line_of(before.figures) == "-"
    stored = to_dict(before)
    for value, right in ((None, True), (2.5, True), ("far", False), ([], False)):
        path.write_text(json.dumps({**stored, "figures": {**stored["figures"], "d_prime": value}}))
        if right:
            assert figure.read(load_result(path).figures) == value
        else:
            with pytest.raises(evaluator.ResultError, match="figures: d_prime is"):
                load_result(path)
