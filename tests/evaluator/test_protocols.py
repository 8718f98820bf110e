"""The named protocols against the seed's loop, scikit-learn's folds and insightface's formulas."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from sklearn.model_selection import KFold

from evaluator.metrics import protocols
from evaluator.metrics.protocols import (
    FoldedTar,
    InsightfaceAccuracy,
    kfold,
    seed,
    seed300,
    sorted_pairs,
)

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


def random_scores(
    seed_: int, pairs: int, *, separation: float = 0.4, decimals: int = 12
) -> tuple[Scores, Labels]:
    rng = np.random.default_rng(seed_)
    genuine = rng.random(pairs) < 0.5
    scores = np.round(rng.normal(np.where(genuine, separation, 0.0), 0.2), decimals)
    return scores.clip(-1, 1), genuine


def insightface(scores: Scores, genuine: Labels) -> InsightfaceAccuracy | None:
    return protocols.insightface(sorted_pairs(scores, genuine).folds)


def seed_loop(scores: Scores, genuine: Labels) -> tuple[float, float]:
    """The rule of the seed's callback: the 300 highest impostors, downwards, first maximum."""
    tt, ff = np.sort(scores[genuine]), np.sort(scores[~genuine])
    best, threshold = 0.0, 0.0
    for candidate in ff[-300:][::-1]:
        accuracy = ((tt > candidate).sum() + (ff <= candidate).sum()) / len(scores)
        if accuracy > best:
            best, threshold = accuracy, candidate
    return best, threshold


def brute_kfold(
    scores: Scores, genuine: Labels, folds: int
) -> tuple[list[float], list[float], Labels]:
    """Every candidate of the other folds tried one by one; thresholds, accuracies, decisions."""
    thresholds, accuracies = [], []
    correct = np.zeros(len(scores), dtype=bool)
    for train, test in KFold(folds, shuffle=False).split(scores):
        known, labels = scores[train], genuine[train]
        best = max(
            (int(((known > t) == labels).sum()), t) for t in [-math.inf, *known[~labels].tolist()]
        )[1]
        higher = known[known > best]
        if best == -math.inf:
            threshold = np.nextafter(known.min(), -np.inf)
        else:
            threshold = best / 2 + higher.min() / 2 if len(higher) else best
        thresholds.append(threshold)
        correct[test] = (scores[test] > threshold) == genuine[test]
        accuracies.append(float(np.mean(correct[test])))
    return thresholds, accuracies, correct


def insightface_restated(
    embeddings: Scores, genuine: Labels
) -> tuple[float, float, float, float, float]:
    """insightface's evaluate on unit embeddings: accuracy, std, TAR at FAR 1e-3, its std, FAR."""
    distances = np.sum((embeddings[0::2] - embeddings[1::2]) ** 2, axis=1)

    def rates(thresholds: Scores, rows: NDArray[np.int64]) -> tuple[Scores, Scores, Scores]:
        same = genuine[rows]
        # Thresholds in blocks, so that thousands of them times thousands of pairs fit.
        near = [distances[rows] < block[:, None] for block in np.array_split(thresholds, 16)]
        true_accept = np.concatenate([np.count_nonzero(part & same, axis=1) for part in near])
        false_accept = np.concatenate([np.count_nonzero(part & ~same, axis=1) for part in near])
        true_reject = np.count_nonzero(~same) - false_accept
        return (
            true_accept / max(np.sum(same), 1),
            false_accept / max(np.sum(~same), 1),
            (true_accept + true_reject) / len(rows),
        )

    accuracies, tars, fars = [], [], []
    coarse, fine = np.arange(0, 4, 0.01), np.arange(0, 4, 0.001)
    for train, test in KFold(10, shuffle=False).split(distances):
        chosen = coarse[np.argmax(rates(coarse, train)[2])]
        accuracies.append(rates(np.array([chosen]), test)[2].item())
        far = rates(fine, train)[1]
        threshold = 0.0
        if far.max() >= 1e-3:
            # "slinear" in insightface, which SciPy now refuses where FARs repeat.
            threshold = float(interp1d(far, fine, kind="linear")(1e-3))
        tar_there, far_there, _ = rates(np.array([threshold]), test)
        tars.append(tar_there.item())
        fars.append(far_there.item())
    return (
        float(np.mean(accuracies)),
        float(np.std(accuracies)),
        float(np.mean(tars)),
        float(np.std(tars)),
        float(np.mean(fars)),
    )


def unit_embeddings(seed_: int, pairs: int, *, size: int, noise: float) -> tuple[Scores, Labels]:
    """Embeddings (2 * pairs, size) of random people, genuine pairs sharing a direction."""
    rng = np.random.default_rng(seed_)
    genuine = rng.random(pairs) < 0.5
    people = rng.normal(size=(pairs, 2, size))
    people[genuine, 1] = people[genuine, 0] + noise * rng.normal(size=(genuine.sum(), size))
    flat = people.reshape(2 * pairs, size)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True), genuine


def cosines(embeddings: Scores) -> Scores:
    cosine: Scores = np.sum(embeddings[0::2] * embeddings[1::2], axis=1)
    return cosine


@pytest.mark.parametrize("pairs", [20, 599, 3000])
@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("separation", [0.0, 0.1, 0.4, 0.9])
def test_seed300_equals_the_loop_of_the_seed(pairs: int, decimals: int, separation: float) -> None:
    scores, genuine = random_scores(pairs, pairs, separation=separation, decimals=decimals)
    found = seed300(scores, genuine)
    assert found is not None
    assert (found.accuracy, found.threshold) == seed_loop(scores, genuine)


def test_seed300_tries_the_300th_highest_impostor_and_not_the_301st() -> None:
    impostor, labels = np.arange(400) / 1000, np.arange(1400) >= 400
    above_300th = np.concatenate([impostor, np.full(1000, impostor[-300] + 0.0005)])
    above_301st = np.concatenate([impostor, np.full(1000, impostor[-301] + 0.0005)])
    found, missed = seed300(above_300th, labels), seed300(above_301st, labels)
    assert found is not None
    assert missed is not None
    assert (found.correct, found.threshold) == (1000 + 101, impostor[-300])
    assert (missed.correct, missed.threshold) == (400, impostor[-1])  # every genuine pair rejected


def test_seed300_misses_an_optimum_below_the_300_highest_impostors() -> None:
    scores, genuine = random_scores(0, 20_000, separation=0.2)
    exact, limited = seed(scores, genuine), seed300(scores, genuine)
    assert exact is not None
    assert limited is not None
    assert limited.accuracy < exact.accuracy - 0.05


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 700), st.sampled_from([1, 3, 12]))
def test_seed_is_never_below_seed300(seed_: int, pairs: int, decimals: int) -> None:
    scores, genuine = random_scores(seed_, pairs, decimals=decimals)
    exact, limited = seed(scores, genuine), seed300(scores, genuine)
    if exact is None or limited is None:
        assert exact is limited is None
    else:
        assert exact.correct >= limited.correct


def test_the_seed_logs_zero_or_one_where_a_class_is_missing_and_we_say_undefined() -> None:
    scores = np.array([0.1, 0.2])
    genuine, impostor = np.array([True, True]), np.array([False, False])
    assert seed_loop(scores, genuine) == (0.0, 0.0)
    assert seed_loop(scores, impostor) == (1.0, 0.2)
    assert seed300(scores, genuine) is seed300(scores, impostor) is None
    assert seed(scores, genuine) is seed(scores, impostor) is None


@pytest.mark.parametrize("pairs", [10, 11, 19, 60, 333, 1000])
@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("separation", [0.0, 0.3, 0.9])
def test_kfold_equals_every_candidate_tried_on_the_other_folds(
    pairs: int, decimals: int, separation: float
) -> None:
    scores, genuine = random_scores(pairs, pairs, separation=separation, decimals=decimals)
    genuine[:2], genuine[-2:] = [True, False], [True, False]
    found = kfold(scores, genuine)
    thresholds, accuracies, correct = brute_kfold(scores, genuine, 10)
    assert found is not None
    assert list(found.thresholds) == thresholds
    assert found.accuracy == pytest.approx(np.mean(accuracies), abs=1e-15)
    assert found.std == pytest.approx(np.std(accuracies), abs=1e-15)
    np.testing.assert_array_equal(found.correct, correct)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(12, 80), st.integers(2, 6), st.sampled_from([0, 1, 12])
)
def test_kfold_of_any_number_of_folds_equals_brute_force(
    seed_: int, pairs: int, folds: int, decimals: int
) -> None:
    scores, genuine = random_scores(seed_, pairs, decimals=decimals)
    genuine[:2], genuine[-2:] = [True, False], [True, False]
    found = kfold(scores, genuine, folds)
    assert found is not None
    assert list(found.thresholds) == brute_kfold(scores, genuine, folds)[0]


def test_kfold_of_a_hand_worked_example_uses_the_other_folds_midpoint() -> None:
    # Fold 1 chooses between 0.3 and 0.8 for fold 2 and errs there; fold 2 gives 0.65 to fold 1.
    found = kfold([0.3, 0.8, 0.6, 0.7], [False, True, False, True], folds=2)
    assert found is not None
    assert found.thresholds == pytest.approx((0.65, 0.55))
    assert found.correct.tolist() == [True, True, False, True]
    assert found.correct.dtype == np.bool_  # a mask, not numbers
    assert (found.accuracy, found.std) == (0.75, 0.25)


def test_kfold_finds_the_highest_best_cut_at_the_end_of_a_block() -> None:
    # Two cuts are equally good outside the second fold; the higher one ends a block of cuts.
    scores = np.array([0.5, 0.3, 0.3, 0.2, 0.3, 0.1, 0.5, 0.2, 0.3])
    genuine = np.array([1, 0, 0, 1, 1, 1, 0, 1, 1], dtype=bool)
    found = kfold(scores, genuine, folds=2)
    assert found is not None
    assert found.thresholds == pytest.approx((0.1, 0.4))
    assert list(found.thresholds) == brute_kfold(scores, genuine, 2)[0]


def test_kfold_is_perfect_on_separable_scores_where_a_threshold_on_a_score_is_not() -> None:
    genuine = np.tile([True, False], 30)
    scores = np.where(genuine, 0.8, 0.2) + np.arange(60) / 1000
    found = kfold(scores, genuine)
    assert found is not None
    assert (found.accuracy, found.std) == (1.0, 0.0)


def test_kfold_and_insightface_count_folds_that_hold_one_class_only() -> None:
    genuine = np.repeat([True, False], 50)  # five folds of either class
    scores = np.where(genuine, 0.8, 0.2)
    found, peer = kfold(scores, genuine), insightface(scores, genuine)
    assert found is not None
    assert peer is not None
    assert (found.accuracy, peer.accuracy) == (1.0, 1.0)
    assert peer.tar_at_far_1e_3 is None  # insightface itself divides by zero here


@pytest.mark.parametrize(
    "genuine",
    [
        np.tile([True, False, True], 3),  # nine pairs
        np.ones(20, dtype=bool),
        np.zeros(20, dtype=bool),
        np.arange(20) == 19,  # the only genuine pair is in the last fold
        np.arange(20) < 18,  # the impostors are all in the last fold
        np.zeros(0, dtype=bool),
    ],
)
def test_kfold_is_undefined_without_a_threshold_for_every_fold(genuine: Labels) -> None:
    assert kfold(np.linspace(0, 1, len(genuine)), genuine) is None


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_fewer_than_two_folds_are_an_error(folds: int) -> None:
    with pytest.raises(ValueError, match="folds must be at least 2"):
        kfold([0.1, 0.2], [True, False], folds)


@pytest.mark.slow
@pytest.mark.parametrize("separation", [0.0, 0.3])
def test_kfold_of_many_pairs_equals_a_sort_and_cumulative_counts_a_fold(separation: float) -> None:
    scores, genuine = random_scores(5, 300_007, separation=separation, decimals=4)
    found = kfold(scores, genuine)
    assert found is not None
    for threshold, (train, test) in zip(
        found.thresholds, KFold(10, shuffle=False).split(scores), strict=True
    ):
        values, inverse = np.unique(scores[train], return_inverse=True)
        same = np.bincount(inverse[genuine[train]], minlength=len(values))
        other = np.bincount(inverse[~genuine[train]], minlength=len(values))
        right = same.sum() - np.cumsum(same) + np.cumsum(other)
        candidates = np.flatnonzero((other > 0) & (right == right[other > 0].max()))
        assert right[candidates[-1]] > same.sum()  # better than "below all"
        best = candidates[-1]
        assert threshold == (values[best] + values[best + 1]) / 2
        np.testing.assert_array_equal(
            found.correct[test], (scores[test] > threshold) == genuine[test]
        )


@pytest.mark.parametrize(
    ("pairs", "size", "noise"),
    [
        (600, 512, 1.0),
        (603, 16, 1.0),
        (607, 4, 2.0),
        (101, 2, 0.5),
        (6000, 512, 3.5),
    ],
)
@pytest.mark.parametrize("seed_", range(3))
def test_insightface_equals_its_formulas_on_the_same_embeddings(
    seed_: int, pairs: int, size: int, noise: float
) -> None:
    embeddings, genuine = unit_embeddings(seed_, pairs, size=size, noise=noise)
    found = insightface(cosines(embeddings), genuine)
    assert found is not None
    assert found.tar_at_far_1e_3 is not None
    tar = found.tar_at_far_1e_3
    np.testing.assert_allclose(
        (found.accuracy, found.std, tar.tar, tar.std, tar.far),
        insightface_restated(embeddings, genuine),
        rtol=0,
        atol=1e-9,
    )


def test_insightface_agrees_where_the_far_meets_its_target_exactly() -> None:
    # Nine folds hold 9,000 impostors, so 9 of them are a FAR of exactly 1e-3 over many thresholds.
    source, labels = unit_embeddings(7, 21_000, size=16, noise=1.0)
    pairs, genuine = source.reshape(-1, 2, 16), np.tile([True, False], 10_000)
    chosen = np.empty((20_000, 2, 16))
    chosen[genuine], chosen[~genuine] = pairs[labels][:10_000], pairs[~labels][:10_000]
    flat = chosen.reshape(-1, 16)
    negatives = np.sum((flat[0::2] - flat[1::2])[~genuine] ** 2, axis=1)[1000:]
    far = [np.count_nonzero(negatives < t) / 9000 for t in np.arange(0, 4, 0.001)]
    assert far.count(1e-3) > 1  # the case is met, by the nine folds after the first
    found = insightface(cosines(flat), genuine)
    assert found is not None
    assert found.tar_at_far_1e_3 is not None
    tar = found.tar_at_far_1e_3
    np.testing.assert_allclose(
        (found.accuracy, found.std, tar.tar, tar.std, tar.far),
        insightface_restated(flat, genuine),
        rtol=0,
        atol=1e-9,
    )


def test_insightface_accepts_nothing_where_the_far_never_reaches_its_target() -> None:
    embeddings = np.zeros((40, 2))
    embeddings[:, 0] = 1.0
    genuine = np.tile([True, False], 10)
    embeddings[1::2][~genuine] *= -1  # distance 4, beyond the grid
    found = insightface(cosines(embeddings), genuine)
    assert found == InsightfaceAccuracy(1.0, 0.0, FoldedTar(0.0, 0.0, 0.0))
    assert insightface_restated(embeddings, genuine) == (1.0, 0.0, 0.0, 0.0, 0.0)


def test_insightfaces_grid_ends_at_a_distance_of_3_99() -> None:
    genuine = np.tile([True, False], 10)
    within = insightface(np.where(genuine, -0.99, -1.0), genuine)  # distances 3.98 and 4
    beyond = insightface(np.where(genuine, -0.998, -1.0), genuine)  # 3.996 and 4
    assert within is not None
    assert beyond is not None
    assert (within.accuracy, beyond.accuracy) == (1.0, 0.5)


def test_insightfaces_far_may_reach_its_target_at_the_last_threshold_of_the_grid() -> None:
    genuine = np.tile([True, False], 10)
    found = insightface(np.where(genuine, -0.99, -0.99925), genuine)  # distances 3.98 and 3.9985
    assert found is not None
    # Between 3.998, where FAR is 0, and 3.999, where it is 1: a thousandth of the way.
    assert found.tar_at_far_1e_3 == FoldedTar(1.0, 0.0, 0.0)


def test_insightface_takes_the_last_threshold_where_the_far_only_just_reaches_its_target() -> None:
    genuine, nearest = (np.tile(x, 10) for x in (np.arange(1010) >= 1000, np.arange(1010) == 0))
    scores = np.where(genuine | nearest, -0.9, -1.0)  # one impostor in 1,000 is as near as genuine
    found = insightface(scores, genuine)
    assert found is not None
    assert found.tar_at_far_1e_3 == FoldedTar(1.0, 0.0, pytest.approx(0.001))


def test_identical_images_whose_cosine_rounds_above_one_are_accepted() -> None:
    genuine = np.tile([True, False], 10)
    above = np.where(genuine, 1 + 2e-7, 0.1)
    exact = np.where(genuine, 1.0, 0.1)
    assert insightface(above, genuine) == insightface(exact, genuine) is not None


def test_insightface_is_undefined_for_scores_that_are_no_cosines() -> None:
    scores, genuine = random_scores(0, 100)
    assert insightface(scores, genuine) is not None
    assert insightface(2 * scores, genuine) is None
    assert insightface(scores - 1, genuine) is None
    ends = np.where(genuine, 1 + 1e-6, -1 - 1e-6)
    assert insightface(ends, genuine) is not None
    assert insightface(np.nextafter(ends, 2), genuine) is None
    assert insightface(np.nextafter(ends, -2), genuine) is None


@pytest.mark.parametrize("labels", [[True] * 20, [False] * 20, [True, False] * 4, []])
def test_insightface_is_undefined_without_both_classes_or_ten_pairs(labels: list[bool]) -> None:
    assert insightface(np.linspace(0, 1, len(labels)), np.array(labels, dtype=bool)) is None


def test_insightface_is_defined_for_ten_pairs() -> None:
    found = insightface(np.tile([0.9, 0.1], 5), np.tile([True, False], 5))
    assert found == InsightfaceAccuracy(1.0, 0.0, None)  # a pair a fold lacks the other class
