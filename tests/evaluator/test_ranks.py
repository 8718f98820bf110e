"""Rank intervals: worked by hand, against Holm's definition, and on tables with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from evaluator.statistics.ranks import neighbourhood_p_values, rank_intervals

FloatArray = NDArray[np.float64]


def symmetric(count: int, couples: dict[tuple[int, int], float]) -> FloatArray:
    p = np.ones((count, count))
    for (i, j), value in couples.items():
        p[i, j] = p[j, i] = value
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """The least level at which each is rejected: from the smallest on, each at level / left."""
    found, level = {}, 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        level = max(level, p_values[i] * (len(p_values) - place))
        found[i] = min(1.0, level)
    return [found[i] for i in range(len(p_values))]


def in_order(count: int) -> FloatArray:
    """Leads of models that stand in the order of their figures."""
    places = np.arange(count, dtype=np.float64)
    return places[None, :] - places[:, None]


def intervals(p: FloatArray) -> list[tuple[int, int]]:
    found = rank_intervals(p, in_order(len(p)))
    return list(zip(found.best.tolist(), found.worst.tolist(), strict=True))


def test_a_near_copy_told_from_the_best_ranks_no_lower_than_a_third_that_is_not() -> None:
    # 98.00, its near copy 97.80, and 97.75, which errs elsewhere: the copies can be told apart.
    p = symmetric(3, {(0, 1): 0.001, (0, 2): 0.3, (1, 2): 0.8})
    assert intervals(p) == [(1, 2), (1, 3), (1, 3)]


def test_models_all_told_apart_have_one_rank_each_and_models_never_told_apart_all() -> None:
    assert intervals(symmetric(3, {(0, 1): 1e-6, (0, 2): 1e-6, (1, 2): 1e-6})) == [
        (1, 1),
        (2, 2),
        (3, 3),
    ]
    assert intervals(np.ones((4, 4))) == [(1, 4)] * 4
    assert intervals(np.ones((1, 1))) == [(1, 1)]


def test_two_good_models_are_told_apart_whatever_stands_far_below() -> None:
    two = symmetric(2, {(0, 1): 0.02})
    p = symmetric(20, {(0, 1): 0.02, **{(i, j): 1e-9 for i in (0, 1) for j in range(2, 20)}})
    assert neighbourhood_p_values(p)[0, 1] == neighbourhood_p_values(two)[0, 1] == 0.02
    assert intervals(p)[:3] == [(1, 1), (2, 2), (3, 20)]
    # One that cannot be told from the second counts: two couples are left after the sure one.
    p[1, 2] = p[2, 1] = 0.5
    assert neighbourhood_p_values(p)[0, 1] == pytest.approx(2 * 0.02)


def test_p_values_are_holms_among_the_couples_of_the_neighbourhood() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        quality = np.sort(generator.normal(size=7) * 3)[::-1]
        p = 2 * norm.sf(np.abs(quality[:, None] - quality[None, :]))
        rows, columns = np.triu_indices(7, 1)
        over_all = holm(p[rows, columns].tolist())
        near = symmetric(7, dict(zip(zip(rows, columns, strict=True), over_all, strict=True)))
        found = neighbourhood_p_values(p)
        for i, j in zip(rows, columns, strict=True):
            members = [k for k in range(7) if max(near[k, i], near[k, j]) >= 0.05]
            couples = [(a, b) for a in members for b in members if a < b]
            adjusted = holm([p[couple] for couple in couples])
            assert found[i, j] == found[j, i] == pytest.approx(adjusted[couples.index((i, j))])


# ---- Tables with known truth ---------------------------------------------------------------------


@dataclass(frozen=True)
class Rates:
    """Shares of simulated tables: any equal or better model called worse; the same within a group
    of equals, on average; the first told from the second; every true rank in its interval; out of
    order.
    """

    false: float
    in_a_group: float
    first_two: float
    covered: float
    disordered: float


def simulated(
    quality: Sequence[float], family: Sequence[int], *, tables: int = 500, alike: float = 0.9
) -> Rates:
    """Tables of figures with standard error 1, correlated by ``alike`` in a family, else by 0.3."""
    truth, of = np.array(quality, dtype=np.float64), np.array(family)
    correlation = np.where(of[:, None] == of[None, :], alike, 0.3)
    np.fill_diagonal(correlation, 1.0)
    root, generator = np.linalg.cholesky(correlation), np.random.default_rng(0)
    error = np.sqrt(2 - 2 * correlation) + np.eye(len(truth))
    counts = np.zeros(5)
    for _ in range(tables):
        figures = truth + root @ generator.normal(size=len(truth))
        order = np.argsort(-figures)
        lead = np.subtract.outer(figures[order], figures[order])
        ranks = rank_intervals(2 * norm.sf(np.abs(lead / error[np.ix_(order, order)])), lead)
        ahead = np.subtract.outer(truth[order], truth[order])
        called = (ranks.p_values < 0.05) & (lead > 0)
        wrong = called & (ahead <= 0)
        groups = [truth[order] == value for value in np.unique(truth)]
        highest, lowest = 1 + (ahead < 0).sum(axis=1), (ahead <= 0).sum(axis=1)
        two = np.argsort(order)[:2]
        counts += [
            wrong.any(),
            np.mean([wrong[np.ix_(own, own)].any() for own in groups]),
            called[tuple(two)] or called[tuple(two[::-1])],
            ((ranks.best <= highest) & (ranks.worst >= lowest)).all(),
            (np.diff(ranks.best) < 0).any() or (np.diff(ranks.worst) < 0).any(),
        ]
    return Rates(*(counts / tables).tolist())


@pytest.mark.slow
def test_twenty_equal_models_are_told_apart_in_fewer_than_5_of_100_tables() -> None:
    for family in (range(20), [i % 4 for i in range(20)]):
        found = simulated([0.0] * 20, list(family))
        assert found.false < 0.05
        assert found.covered > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.1, 0.3, 1.0])
def test_ranks_of_ladders_in_families_run_in_the_order_of_the_figures(step: float) -> None:
    found = simulated([step * i for i in range(20)], [i % 4 for i in range(20)], alike=0.98)
    assert found.disordered == 0
    assert found.false < 0.02
    assert found.covered > 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "size", "most"), [(2, 10, 0.1), (4, 5, 0.2), (10, 2, 0.5)])
def test_each_group_of_equals_errs_in_fewer_than_5_of_100_tables(
    groups: int, size: int, most: float
) -> None:
    for apart in (3.0, 50.0):
        found = simulated([apart * (i // size) for i in range(20)], list(range(20)))
        # Twins err in 5 of 100: three standard errors of so many draws.
        assert found.in_a_group < 0.05 + 3 * np.sqrt(0.05 * 0.95 / (500 * groups))
        assert found.false < most


@pytest.mark.slow
def test_eighteen_poor_models_take_no_power_from_two_good_ones() -> None:
    alone = simulated([53.0, 50.0], [0, 1], tables=1000)
    beside = simulated([53.0, 50.0] + [0.0] * 18, list(range(20)), tables=1000)
    assert beside.first_two == pytest.approx(alone.first_two, abs=0.05)
    assert alone.first_two > 0.6
