"""Ten folds by rule: the same whatever the order, both classes in each, people together."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import PredefinedSplit, StratifiedKFold

from evaluator.errors import InputError
from evaluator.metrics.all_figures import Figures, all_figures, figures, to_json
from evaluator.metrics.folds import folds_by_rule
from evaluator.metrics.protocols import kfold

IntArray = NDArray[np.int64]


def a_list(pairs: int, genuine: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines that tell genuine pairs from impostors now and then, many of them equal."""
    random = np.random.default_rng(seed)
    labels = random.random(pairs) < genuine
    return np.tanh((random.normal(size=pairs) + 2 * labels).round(2) / 4), labels


def lfw_like(people: int, seed: int) -> tuple[NDArray[np.bool_], IntArray, IntArray]:
    """Labels, images and people of pairs drawn as LFW's: ten sets of people, apart."""
    random = np.random.default_rng(seed)
    labels, images = [], []
    for own in np.split(np.arange(people), 10):
        for _ in range(60):
            one, other = random.choice(own, 2, replace=False)
            first, second = random.choice(5, 2, replace=False)
            labels += [True, False]
            images += [5 * one + first, 5 * one + second, 5 * one + first, 5 * other + second]
    return np.array(labels), np.array(images), np.array(images) // 5


def by_pair(slots: IntArray, order: IntArray) -> IntArray:
    return slots.reshape(-1, 2)[order].ravel()


def assert_same(found: Figures, expected: Figures) -> None:
    """Equal to the bit, but for intervals, whose sums round by their order."""
    blocks = [to_json(each) for each in (found, expected)]
    ends = [np.array([each.read_ci95(own) or (0, 0) for each in all_figures().values()])
            for own in blocks]  # fmt: skip
    np.testing.assert_allclose(*ends, rtol=1e-12)
    assert without_intervals(blocks[0]) == without_intervals(blocks[1])


def without_intervals(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    return {k: without_intervals(v) for k, v in block.items() if not k.endswith("ci95")}


@settings(max_examples=40)
@given(st.integers(10, 300), st.floats(0.1, 0.9), st.integers(0, 99), st.randoms())
def test_the_figures_of_a_list_do_not_depend_on_its_order(
    pairs: int, genuine: float, seed: int, shuffle: Random
) -> None:
    scores, labels = a_list(pairs, genuine, seed)
    images = np.random.default_rng(seed).integers(0, 2 * pairs, 2 * pairs)
    expected = figures(scores, labels, folds=folds_by_rule(scores, labels, images=images).numbers)
    alone = without_intervals(to_json(figures(scores, labels, folds="by rule")))
    mixed = list(range(pairs))
    shuffle.shuffle(mixed)
    for order in (np.argsort(scores), np.argsort(~labels, kind="stable"), np.array(mixed)):
        numbers = folds_by_rule(scores[order], labels[order], images=by_pair(images, order)).numbers
        found = figures(scores[order], labels[order], folds=numbers)
        assert_same(found, expected)
        again = to_json(figures(scores[order], labels[order], folds="by rule"))
        assert without_intervals(again) == alone


@given(st.integers(20, 400), st.floats(0.05, 0.95), st.integers(0, 99))
def test_folds_are_as_even_as_scikit_learns_stratified_ones(
    pairs: int, genuine: float, seed: int
) -> None:
    scores, labels = a_list(pairs, genuine, seed)
    numbers = folds_by_rule(scores, labels).numbers
    for kind in (True, False):
        found = np.bincount(numbers[labels == kind], minlength=10)
        if min(labels.sum(), (~labels).sum()) >= 10:
            parts = StratifiedKFold(10).split(scores, labels)
            expected = [np.count_nonzero(labels[test] == kind) for _, test in parts]
            assert sorted(found) == sorted(expected)
        assert found.max() - found.min() <= 1
    assert np.ptp(np.bincount(numbers, minlength=10)) <= 1


def test_pairs_linked_by_people_stay_in_one_fold_and_classes_are_even() -> None:
    labels, images, people = lfw_like(400, seed=1)
    scores = np.random.default_rng(1).normal(size=len(labels))
    order = np.random.default_rng(2).permutation(len(labels))
    labels, images, people = labels[order], by_pair(images, order), by_pair(people, order)
    found = folds_by_rule(scores[order], labels, images=images, people=people)
    assert found.together == "person"
    # What GroupKFold promises: nobody on both sides of any split.
    for train, test in PredefinedSplit(found.numbers).split():
        ends = people.reshape(-1, 2)
        assert not set(ends[train].ravel()) & set(ends[test].ravel())
    for kind in (True, False):
        assert np.abs(np.bincount(found.numbers[labels == kind]) - 60).max() <= 6


def test_people_that_chain_all_pairs_are_dealt_by_images_or_pair_by_pair() -> None:
    one, other = np.triu_indices(30, 1)
    people = np.stack([one, other], axis=1).ravel()
    labels, scores = np.arange(len(one)) % 2 == 0, np.linspace(-1, 1, len(one))
    once = np.arange(2 * len(one))
    assert folds_by_rule(scores, labels, images=once, people=people).together == "image"
    assert folds_by_rule(scores, labels, images=people, people=people).together == "pair"


def test_names_decide_where_they_are_known_and_scores_do_not() -> None:
    scores, labels = a_list(200, 0.5, seed=3)
    places = np.random.default_rng(3).permutation(200)
    one = folds_by_rule(scores, labels, places=places).numbers
    other = folds_by_rule(-scores[::-1], labels[::-1], places=places[::-1]).numbers
    np.testing.assert_array_equal(one, other[::-1])
    assert (one != folds_by_rule(scores, labels).numbers).any()


def test_pairs_without_a_score_have_a_fold_wherever_they_stand() -> None:
    scores, labels = a_list(100, 0.5, seed=4)
    scores[[3, 50, 51]] = np.nan
    order = np.random.default_rng(4).permutation(100)
    held = []
    for own, kind in ((scores, labels), (scores[order], labels[order])):
        numbers = folds_by_rule(own, kind).numbers
        # Equal pairs may change places.
        held.append(sorted(zip(np.nan_to_num(own, nan=9), kind, numbers, strict=True)))
    assert held[0] == held[1]


@pytest.mark.parametrize("seed", range(5))
def test_numbered_folds_give_the_figures_of_the_same_folds_one_after_another(seed: int) -> None:
    scores, labels = a_list(400, 0.5, seed)
    numbers = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), 40))
    order = np.argsort(numbers, kind="stable")
    found, expected = figures(scores, labels, folds=numbers), figures(scores[order], labels[order])
    assert_same(found, expected)
    assert found.kfold is not None
    assert expected.kfold is not None
    np.testing.assert_array_equal(found.kfold.correct[order], expected.kfold.correct)


def test_numbered_folds_are_predefined_splits_of_scikit_learn() -> None:
    scores, labels = a_list(300, 0.4, seed=6)
    numbers = np.random.default_rng(6).integers(0, 7, 300)
    correct = np.zeros(300, bool)
    for train, test in PredefinedSplit(numbers).split():
        known = np.unique(scores[train])
        cuts = np.append((known[1:] + known[:-1]) / 2, known[-1])
        right = [((scores[train] > cut) == labels[train]).sum() for cut in cuts]
        best = cuts[np.flatnonzero(right == np.max(right))[-1]]
        correct[test] = (scores[test] > best) == labels[test]
    found = kfold(scores, labels, numbers)
    assert found is not None
    assert len(found.thresholds) == 7
    np.testing.assert_array_equal(found.correct, correct)
    shares = [correct[numbers == fold].mean() for fold in range(7)]
    assert found.accuracy == pytest.approx(np.mean(shares), abs=1e-15)


def test_a_list_whose_first_tenth_has_all_genuine_pairs_has_figures() -> None:
    scores, labels = a_list(1000, 0.1, seed=7)
    order = np.argsort(~labels, kind="stable")
    assert figures(scores[order], labels[order], folds="by rule").kfold is not None


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        ("by file", "unknown folds 'by file': expected one of contiguous, by rule"),
        ([0, 1], r"folds must be whole numbers of shape \(40,\)"),
        (np.zeros(40), "the fold of each pair; got float64"),
    ],
)
def test_folds_that_are_none_are_refused(folds: object, said: str) -> None:
    scores, labels = a_list(40, 0.5, seed=8)
    with pytest.raises(InputError, match=said):
        figures(scores, labels, folds=folds)  # type: ignore[arg-type]


def test_one_fold_and_few_pairs_have_no_figure_by_folds() -> None:
    scores, labels = a_list(40, 0.5, seed=9)
    assert figures(scores, labels, folds=np.zeros(40, int)).kfold is None
    assert figures(scores[:9], labels[:9], folds="by rule").kfold is None
