"""Images pooled into templates, beside the procedures of peers restated."""

import numpy as np
import pytest
from fixture import made, template_set
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import InputError
from evaluator.templates import pooling
from evaluator.templates.pair_scores import pair_scores
from evaluator.templates.pooling import pooled


def image2template_feature(features, templates, medias):
    """insightface's ijb_evals.py (Keras_insightface has the same), restated: its loops."""
    found = []
    for template in np.unique(templates):
        own = features[templates == template]
        media = medias[templates == template]
        parts = []
        for medium, count in zip(*np.unique(media, return_counts=True), strict=True):
            inside = own[media == medium]
            parts.append(inside if count == 1 else np.mean(inside, axis=0, keepdims=True))
        found.append(np.sum(np.concatenate(parts), axis=0))
    found = np.array(found)
    return found / np.sqrt(np.sum(found**2, -1, keepdims=True))


def facex_template(features, templates, medias, scores):
    """FaceX-Zoo's ijbc_evaluator.py: unit features, times the detector's score, no flip."""
    features = features / np.linalg.norm(features, axis=1)[:, None]
    return image2template_feature(features * scores[:, None], templates, medias)


def insightface_template(features, mirrored, templates, medias, scores):
    """insightface's eval_ijbc.py: flip added, the norm kept, times the detector's score."""
    return image2template_feature((features + mirrored) * scores[:, None], templates, medias)


def unflipped_template(features, templates, medias):
    """TFace's IJB_Evaluation.py: unit features, no flip, no detector score."""
    features = features / np.linalg.norm(features, axis=1)[:, None]
    return image2template_feature(features, templates, medias)


@pytest.fixture(scope="module")
def given_set():
    return made()


def test_the_fixture_is_the_one_that_peers_were_run_on(given_set):
    held, embeddings = given_set
    assert (len(embeddings), held.templates, len(held.pairs.left)) == (636, 160, 12_720)
    assert held.pairs.genuine.sum() == 240
    assert embeddings.sum() == pytest.approx(-1129.0470088815632, abs=1e-9)
    assert held.detector_scores.sum() == pytest.approx(411.8659093684795, abs=1e-9)


@pytest.mark.parametrize(
    ("norm", "detector_score", "expected"),
    [
        ("raw", True, 214.087128721),
        ("raw", False, 218.117294621),
        ("unit", True, 217.275227501),
        ("unit", False, 223.251356918),
    ],
)
def test_scores_add_up_to_what_peers_code_gave(given_set, norm, detector_score, expected):
    held, embeddings = given_set
    found = pooled(held, embeddings, norm=norm, detector_score=detector_score)
    assert len(found.failed) == len(found.unusable) == 0
    assert pair_scores(found.vectors, held.pairs).sum() == pytest.approx(expected, abs=1e-9)


def test_peers_procedures_are_settings_of_ours(given_set):
    held, embeddings = given_set
    mirrored = embeddings + 0.3 * np.random.default_rng(0).normal(size=embeddings.shape)
    ids, scores = (held.template, held.media), held.detector_scores
    peers = {
        (None, "unit", True): facex_template(embeddings, *ids, scores),
        (None, "unit", False): unflipped_template(embeddings, *ids),
        ("sum", "raw", True): insightface_template(embeddings, mirrored, *ids, scores),
        ("sum", "unit", True): facex_template(embeddings + mirrored, *ids, scores),
    }
    for (flip, norm, detector_score), expected in peers.items():
        other = mirrored if flip else None
        found = pooled(held, embeddings, other, norm=norm, detector_score=detector_score)
        assert np.abs(found.vectors - expected).max() < 1e-12


def test_a_video_weighs_as_one_photograph():
    held = template_set([0, 0, 0], [5, 5, 9], np.array([0]))
    found = pooled(held, np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    assert found.vectors == pytest.approx(np.array([[1, 1]]) / np.sqrt(2))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_neither_blocks_nor_the_order_of_images_matter(seed, block):
    rng = np.random.default_rng(seed)
    template = np.concatenate([np.arange(5), rng.integers(0, 5, 30)])
    media, scores = rng.integers(0, 3, 35), rng.uniform(0.1, 1, 35)
    embeddings = rng.normal(size=(35, 4)).astype(np.float32)
    people, order = np.arange(5), rng.permutation(35)
    expected = image2template_feature(
        embeddings.astype(np.float64) * scores[:, None], template, media
    )
    held = template_set(template[order], media[order], people, scores[order])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "_BLOCK", 4 * block)
        found = pooled(held, embeddings[order], norm="raw", detector_score=True)
    assert found.vectors == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("norm", ["raw", "unit"])
def test_an_image_that_gave_nothing_is_left_out_and_named(given_set, norm):
    held, embeddings = given_set
    spoilt = embeddings.copy()
    sizes = np.bincount(held.template)
    several = np.flatnonzero(held.template == np.flatnonzero(sizes > 2)[0])
    alone = np.flatnonzero(held.template == np.flatnonzero(sizes == 1)[0])
    spoilt[several[0]], spoilt[several[1], 3], spoilt[alone[0]] = 0, np.inf, np.nan
    found = pooled(held, spoilt, norm=norm)
    assert set(found.failed) == {*several[:2], *alone}
    assert found.unusable.tolist() == held.template[alone].tolist()
    kept = np.setdiff1d(np.arange(len(spoilt)), found.failed)
    features = spoilt[kept]
    if norm == "unit":
        features = features / np.linalg.norm(features, axis=1)[:, None]
    expected = image2template_feature(features, held.template[kept], held.media[kept])
    assert np.delete(found.vectors, found.unusable, 0) == pytest.approx(expected, abs=1e-12)
    scores = pair_scores(found.vectors, held.pairs)
    touches = np.isin(held.pairs.left, found.unusable) | np.isin(held.pairs.right, found.unusable)
    assert np.array_equal(np.isnan(scores), touches)


def test_embeddings_that_cancel_leave_no_vector():
    held = template_set([0, 0, 1], [0, 1, 0], np.array([0, 1]))
    found = pooled(held, np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    assert (found.failed.tolist(), found.unusable.tolist()) == ([], [0])


def test_what_cannot_be_pooled_is_told(given_set):
    held, embeddings = given_set
    with pytest.raises(InputError, match=r"636 images; got shape \(635, 16\)"):
        pooled(held, embeddings[1:])
    with pytest.raises(InputError, match=r"mirrored images \(635, 16\)"):
        pooled(held, embeddings, embeddings[1:])
    with pytest.raises(InputError, match=r"unknown norm 'unti'.*did you mean 'unit'"):
        pooled(held, embeddings, norm="unti")
    bare = template_set([0, 1], [0, 0], np.array([0, 1]))
    with pytest.raises(InputError, match="no file of this set has them"):
        pooled(bare, embeddings[:2], detector_score=True)
