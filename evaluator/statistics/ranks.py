"""Ranks as intervals [best, worst], from tests of every two models.

Controlled is each group of models that are equally good in truth: that any two of it are called
different has a chance of 5 % at most, whatever else stands in the table. Who calls two of them
different, all couples together or a neighbourhood that holds the group, must first find the least
p-value among the group's couples below 5 % divided by their number. Groups that lie far apart err
each for itself, as in tables of their own: where models that are far from both have no say in a
verdict, all verdicts together cannot be wrong in only 5 % of tables.

Simulated (tests/evaluator/test_ranks.py), tables with any false "better": 3 % for 20 equal models,
0.1 to 0.3 % for ladders of 20 in four families of near copies, 5 % for four groups of five four
standard errors apart, 13 % for the same far apart and 43 % for ten twins far apart. Holm over all
couples gives 3, 0.1, 2, 5 and 4 %, and ceases to tell two good models apart once 18 poor ones stand
beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluator.array_types import BoolArray, FloatArray, IntArray
from evaluator.statistics.pair_tests import SIGNIFICANCE, holm_p_values


@dataclass(frozen=True, eq=False)
class Ranks:
    """The ranks that each model can have, (models,) each from 1 on.

    ``p_values`` (models, models) of every two are corrected for the couples in their neighbourhood,
    and ``beats`` (models, models) says whether the row is shown to be better than the column.
    """

    best: IntArray
    worst: IntArray
    p_values: FloatArray
    beats: BoolArray


def rank_intervals(p_values: FloatArray, lead: FloatArray) -> Ranks:
    """The ranks of models that stand in the order of their figures, the best first.

    ``p_values`` (models, models) are two-sided, each test's own; ``lead[i, j]`` is above 0 where i
    did better than j. ``best`` is 1 + how many models are shown to be better, ``worst`` the number
    of models less those shown to be worse (Al Mohamad, Goeman and van Zwet 2022). Both are widened
    until they run in the order of the figures: the best of three may be told from its near copy,
    and neither from the third.
    """
    corrected = neighbourhood_p_values(p_values)
    beats = (corrected < SIGNIFICANCE) & (lead > 0)
    best = 1 + beats.sum(axis=0)
    worst = len(beats) - beats.sum(axis=1)
    return Ranks(
        np.minimum.accumulate(best[::-1])[::-1], np.maximum.accumulate(worst), corrected, beats
    )


def neighbourhood_p_values(p_values: FloatArray) -> FloatArray:
    """P-values (models, models) by Holm among the couples of each couple's neighbourhood.

    That of i and j is the two and every model that Holm over all couples does not tell from i or
    from j; what it tells from both has no say in their verdict. The diagonal is 1.
    """
    count = len(p_values)
    rows, columns = np.triu_indices(count, 1)
    order = np.argsort(p_values[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    p = p_values[rows, columns]
    near = np.eye(count, dtype=bool)
    near[rows, columns] = near[columns, rows] = np.array(holm_p_values(p)) >= SIGNIFICANCE
    corrected = np.ones((count, count))
    # Holm's p-value of a couple is the largest step at it or at a lesser p-value.
    ends = np.searchsorted(p, p, side="right")
    for i, j, end in zip(rows, columns, ends, strict=True):
        members = near[i] | near[j]
        tested = p[:end][members[rows[:end]] & members[columns[:end]]]
        size = np.count_nonzero(members)
        steps = tested * (size * (size - 1) // 2 - np.arange(len(tested)))
        corrected[i, j] = corrected[j, i] = min(1.0, float(steps.max()))
    return corrected
