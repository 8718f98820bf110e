"""Searches in galleries: beside dense products, in any order, in blocks of any size, and ties."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.measure.embed import cosines
from evaluator.templates import search as module
from evaluator.templates.search import search
from evaluator.templates.template_set import NOBODY, Gallery


def unit_vectors(rng, count, size=16):
    found = rng.normal(size=(count, size))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def dense(vectors, person, gallery, probes):
    """The definition, a pair at a time: (mated, score, rank, rival, rival's score) of each probe.

    rank = 1 + #{non-mates with score >= the best mate's}; no vector: a score of -inf.
    """
    found = []
    for probe in probes:
        mates, others = [], []
        for template in gallery.templates:
            (score,) = cosines(vectors, np.array([probe]), np.array([template]))
            mate = person[probe] == person[template] and person[probe] != NOBODY
            (mates if mate else others).append((-np.inf if np.isnan(score) else score, template))
        rival, number = max(others, key=lambda x: (x[0], -x[1]), default=(-np.inf, -1))
        best = max(mates, default=(rival, -1))[0]
        rank = 1 + sum(score >= best for score, _ in others) if mates else 0
        found.append((bool(mates), best, rank, number if rival > -np.inf else -1, rival))
    return [np.array(each) for each in zip(*found, strict=True)]


def fields(found):
    return found.mated, found.score, found.rank, found.rival, found.rival_score


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_blocks_find_what_the_definition_says(seed, rows, probe_rows, single):
    rng = np.random.default_rng(seed)
    templates = 24
    vectors = unit_vectors(rng, templates, 4)
    # Equal vectors, so equal cosines; templates without one; several mates, none, nobody known.
    vectors[rng.integers(0, templates, 8)] = vectors[rng.integers(0, templates, 8)]
    vectors[rng.random(templates) < 0.1] = np.nan
    person = rng.integers(NOBODY, 6, templates)
    held = rng.permutation(templates)
    gallery, probes = Gallery("", held[:13]), np.sort(held[13:])
    if single:
        vectors = vectors.astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GALLERY_ROWS", rows)
        patch.setattr(module, "_PROBE_ROWS", probe_rows)
        found = search(vectors, person, gallery, probes)
    for own, expected in zip(fields(found), dense(vectors, person, gallery, probes), strict=True):
        assert np.array_equal(own, expected)
    assert found.size == 13


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_a_gallery_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    vectors, person = unit_vectors(rng, 60, 8), rng.integers(0, 9, 60)
    vectors[30:40] = vectors[:10]
    gallery, probes = np.arange(40), np.arange(40, 60)
    one = search(vectors, person, Gallery("", gallery), probes)
    other = search(vectors, person, Gallery("", rng.permutation(gallery)), probes)
    for a, b in zip(fields(one), fields(other), strict=True):
        assert np.array_equal(a, b)


def test_a_stranger_with_the_mates_own_score_makes_rank_2():
    rng = np.random.default_rng(3)
    vectors = unit_vectors(rng, 600, 512)
    person = np.arange(600)
    person[599] = 0
    vectors[599] = vectors[0] + 0.1 * vectors[1]
    vectors[599] /= np.linalg.norm(vectors[599])
    gallery, probes = Gallery("", np.arange(599)), np.array([599])
    assert search(vectors, person, gallery, probes).rank.tolist() == [1]
    for twin in (17, 598):  # wherever a product puts it
        again = vectors.copy()
        again[twin] = vectors[0]
        found = search(again, person, gallery, probes)
        assert (found.rank.tolist(), found.rival.tolist()) == ([2], [twin])
        assert found.rival_score[0] == found.score[0]


def test_what_float32_cannot_tell_apart_is_told_apart():
    # 300 templates whose cosines with the probe differ by 1e-9, in no order.
    rng = np.random.default_rng(5)
    cosine = 0.5 + 1e-9 * rng.permutation(300)
    vectors = np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)
    vectors = np.concatenate([vectors, [[1.0, 0.0]]])
    person = np.concatenate([np.arange(300), [0]])
    found = search(vectors, person, Gallery("", np.arange(300)), np.array([300]))
    assert found.rank[0] == 1 + np.sum(cosine[1:] >= cosine[0])
    assert found.rival[0] == 1 + np.argmax(cosine[1:])


def test_a_gallery_may_be_a_memory_map(tmp_path):
    rng = np.random.default_rng(1)
    vectors, person = unit_vectors(rng, 500, 32).astype(np.float32), rng.integers(0, 90, 500)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    gallery, probes = Gallery("", np.arange(400)), np.arange(400, 500)
    for a, b in itertools.pairwise(
        fields(search(each, person, gallery, probes)) for each in (vectors, mapped)
    ):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.slow
def test_processes_find_what_one_finds():
    rng = np.random.default_rng(3)
    vectors = unit_vectors(rng, 4000)
    vectors[rng.random(4000) < 0.01] = np.nan
    person = rng.integers(0, 600, 4000)
    held = rng.permutation(4000)
    gallery, probes = Gallery("g", held[:1500]), held[1500:]
    alone = search(vectors, person, gallery, probes)
    apart = search(vectors, person, gallery, probes, jobs=2)
    assert (apart.gallery, apart.size) == (alone.gallery, alone.size)
    for one, other in zip(fields(alone), fields(apart), strict=True):
        assert np.array_equal(one, other)


def test_faiss_finds_the_same_rivals():
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(2)
    vectors = unit_vectors(rng, 3000, 64).astype(np.float32)
    person = np.arange(3000) % 1500
    gallery, probes = Gallery("", np.arange(2000)), np.arange(2000, 3000)
    found = search(vectors, person, gallery, probes)
    index = faiss.IndexFlatIP(64)
    index.add(vectors[gallery.templates])
    scores, numbers = index.search(vectors[probes], 3)
    mate = person[numbers] == person[probes][:, None]
    first = np.argmin(mate, axis=1)[:, None]
    assert np.array_equal(np.take_along_axis(numbers, first, 1)[:, 0], found.rival)
    assert np.take_along_axis(scores, first, 1)[:, 0] == pytest.approx(found.rival_score, abs=1e-5)
    top = np.argmax(mate, axis=1)
    inside = mate.any(axis=1)
    assert np.array_equal(top[inside] + 1, found.rank[inside])
    assert (found.rank[~inside & found.mated] > 2).all()
