"""Cosines of 1:1 lists, and TAR at the nearest FAR beside scikit-learn."""

import numpy as np
import pytest
from fixture import made
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from evaluator.measure import embed
from evaluator.measure.embed import cosines
from evaluator.metrics.figures.tar_at_far import tar_at_far
from evaluator.metrics.sweep import sweep
from evaluator.templates import pair_scores as module
from evaluator.templates.nearest_far import tar_nearest_far
from evaluator.templates.pair_scores import pair_scores
from evaluator.templates.pooling import pooled
from evaluator.templates.template_set import TemplatePairs

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def unit_vectors(rng, count, size=16):
    found = rng.normal(size=(count, size))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.booleans(), st.integers(1, 200))
def test_every_kind_of_list_has_the_cosines_of_its_pairs(seed, count, ascending, block):
    rng = np.random.default_rng(seed)
    vectors = unit_vectors(rng, 40)
    vectors[7] = np.nan
    left, right = rng.integers(0, rng.integers(1, 41), (2, count)).astype(np.int32)
    if ascending:
        left = np.sort(left)
    pairs = TemplatePairs(left, right, left == right)
    expected = [vectors[i] @ vectors[j] for i, j in zip(left, right, strict=True)]
    for picking in (0, 10**9):  # products of blocks alone, picked vectors alone
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_PICKING", picking)
            patch.setattr(module, "_PRODUCTS", block)
            patch.setattr(embed, "_PICKED", 16 * block)
            found = pair_scores(vectors, pairs)
        assert found == pytest.approx(np.array(expected), abs=1e-14, nan_ok=True)
    assert found == pytest.approx(pair_scores(vectors.astype(np.float32), pairs), 1e-6, 1e-6, True)


def test_a_list_without_pairs_has_no_scores():
    none = np.zeros(0, np.int32)
    assert pair_scores(np.eye(3), TemplatePairs(none, none, none > 0)).shape == (0,)


def test_a_cosine_is_the_same_bits_wherever_it_stands():
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng, 50, 512)
    left, right = rng.integers(0, 50, (2, 9000))
    found = cosines(vectors, left, right)
    order = rng.permutation(9000)
    assert np.array_equal(cosines(vectors, right[order], left[order]), found[order])


# norm, detector score: (TAR and FAR of the nearest point, TAR of the exact rule) at FAR 0.1 ...
TABLE = {
    ("raw", True): [
        (0.791667, 0.100160, 0.7875), (0.375, 0.009696, 0.375), (0.1375, 0.000962, 0.1375),
    ],
    ("raw", False): [
        (0.820833, 0.100801, 0.816667), (0.4375, 0.009295, 0.4375), (0.154167, 0.001042, 0.145833),
    ],
    ("unit", True): [
        (0.754167, 0.100641, 0.75), (0.3625, 0.010016, 0.358333), (0.116667, 0.000881, 0.116667),
    ],
    ("unit", False): [
        (0.804167, 0.099359, 0.804167), (0.4, 0.010256, 0.395833), (0.145833, 0.000881, 0.145833),
    ],
}  # fmt: skip


@pytest.mark.parametrize("switches", TABLE)
def test_nearest_and_exact_tar_are_those_that_peers_code_gave(switches):
    held, embeddings = made()
    norm, detector_score = switches
    vectors = pooled(held, embeddings, norm=norm, detector_score=detector_score).vectors
    scores = pair_scores(vectors, held.pairs)
    swept = sweep(scores, held.pairs.genuine)
    nearest = tar_nearest_far(swept, (0.1, 0.01, 0.001))
    for far, near, expected, achieved in zip(
        (0.1, 0.01, 0.001), nearest, TABLE[switches], (0.1, 0.009936, 0.000962), strict=True
    ):
        exact = tar_at_far(swept, far)
        assert (near.tar, near.far, exact.tar) == pytest.approx(expected, abs=5e-7)
        assert exact.far == pytest.approx(achieved, abs=5e-7)


def test_the_full_curve_has_other_nearest_points():
    # What dropping points on a line changes: 0.791667 at 0.100160 for 0.7875 at 0.1.
    held, embeddings = made()
    vectors = pooled(held, embeddings, norm="raw", detector_score=True).vectors
    scores = pair_scores(vectors, held.pairs)
    fpr, tpr, _ = roc_curve(held.pairs.genuine, scores, drop_intermediate=False)
    full = [tpr[len(fpr) - 1 - np.argmin(np.abs(fpr[::-1] - far))] for far in (0.1, 0.01)]
    assert full == pytest.approx([0.7875, 0.375])


def published(scores, genuine, fars):
    """insightface's eval_ijbc.py, and with it CVLface, TFace, AdaFace, FaceX-Zoo: restated."""
    fpr, tpr, _ = roc_curve(genuine, scores)
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    found = []
    for far in fars:
        _, at = min(list(zip(abs(fpr - far), range(len(fpr)), strict=True)))
        found.append((tpr[at], fpr[at]))
    return found


@given(st.integers(0, 2**32 - 1), st.integers(2, 400), st.integers(1, 60))
def test_the_nearest_point_is_scikit_learns_bit_for_bit(seed, count, values):
    rng = np.random.default_rng(seed)
    genuine = rng.random(count) < rng.random()
    genuine[:2] = True, False
    # Few values: ties within classes and across them.
    scores = rng.integers(-values, values, count) / values + 0.3 * genuine
    if values > 30:
        scores = rng.normal(size=count) + genuine
    found = tar_nearest_far(sweep(scores, genuine), FARS)
    assert [(each.tar, each.far) for each in found] == published(scores, genuine, FARS)


def test_a_list_of_one_class_has_no_nearest_point():
    assert tar_nearest_far(sweep(np.ones(3), np.ones(3, bool)), FARS) is None
