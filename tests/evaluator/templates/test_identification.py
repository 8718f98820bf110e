"""Open-set identification: what peers' code gave, their rows restated, and what must hold."""

import math

import numpy as np
import pytest
from fixture import made
from hypothesis import given
from hypothesis import strategies as st
from search_coverage_table import coverage

from evaluator.metrics.figure import as_json
from evaluator.metrics.figures import tar_at_far
from evaluator.metrics.figures.search import SHAPE
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.rates import rates_at_threshold
from evaluator.metrics.sharing import pair_sharing
from evaluator.metrics.sweep import scored_pairs, sweep_of
from evaluator.templates.identification import FPIRS, RANKS, identification, search_list
from evaluator.templates.pair_scores import pair_scores
from evaluator.templates.pooling import pooled
from evaluator.templates.search import search
from evaluator.templates.searches import Searches
from evaluator.templates.template_set import NOBODY, Gallery


@pytest.fixture(scope="module")
def fixture_vectors():
    held, embeddings = made()
    return held, pooled(held, embeddings, norm="raw", detector_score=True).vectors


@pytest.fixture(scope="module")
def fixture_searches(fixture_vectors):
    held, vectors = fixture_vectors
    return [search(vectors, held.person, each, held.probes) for each in held.galleries]


@pytest.fixture(scope="module")
def fixture_figures(fixture_vectors, fixture_searches):
    held, _ = fixture_vectors
    return identification(fixture_searches, held.person[held.probes], held.person)


def test_ranks_and_tpir_are_those_of_the_fixture(fixture_figures):
    found = fixture_figures
    one, other = found.galleries
    assert (one.name, one.size, one.mated, one.non_mated) == ("G1", 20, 60, 60)
    assert (one.rank["1"], one.rank["5"]) == pytest.approx((0.6, 53 / 60))
    assert (other.rank["1"], other.rank["5"]) == pytest.approx((34 / 60, 56 / 60))
    assert (found.rank["1"], found.rank["5"]) == pytest.approx((70 / 120, 109 / 120))
    for block, tpir, threshold in ((one, 26 / 60, 0.577490), (other, 0.3, 0.615655)):
        at = block.tpir_at_fpir["0.1"]
        assert (at.tpir, at.fpir) == pytest.approx((tpir, 0.1))
        assert threshold - 5e-7 < at.threshold < threshold + 0.01
        assert block.tpir_at_fpir["0.01"] is None  # of 60 probes it allows 0.6
    mean = found.tpir_at_fpir["0.1"]
    assert (mean.tpir, mean.fpir, mean.threshold) == (pytest.approx(22 / 60), 0.1, None)
    assert found.tpir_at_fpir["0.01"] is None


@pytest.mark.parametrize(
    ("fpir", "expected"),
    [
        (0.1, [(26 / 60, 0.577490, 0.1), (0.3, 0.615655, 0.1)]),
        (0.01, [(5 / 60, 0.742410, 0.0), (9 / 60, 0.743899, 0.0)]),
    ],
)
def test_the_exact_rule_restated_gives_the_fixtures_thresholds(fixture_searches, fpir, expected):
    for found, (tpir, threshold, achieved) in zip(fixture_searches, expected, strict=True):
        top = np.sort(found.score[~found.mated])[::-1]
        t = top[math.floor(fpir * len(top) + 1e-9)]
        hit = (found.rank == 1) & (found.score > t)
        assert hit[found.mated].mean() == pytest.approx(tpir)
        assert (t, (top > t).mean()) == pytest.approx((threshold, achieved), abs=5e-7)


def evaluation_1n(query, gallery, query_ids, registered, fars):
    """insightface's ijb_evals.py (Keras_insightface has the same), restated: one false positive
    short of the budget. Top-1, 5 and 10 counts, and (recall, threshold, FPIR reached) at each FAR.
    """
    cosines = query @ gallery.T
    tops, positive, negative = [], [], []
    for i, own in enumerate(query_ids):
        order = np.argsort(cosines[i])[::-1]
        if own in registered:
            mate = registered.index(own)
            tops.append(np.flatnonzero(order == mate)[0])
            if order[0] == mate:
                positive.append(cosines[i, mate])
        else:
            negative.append(cosines[i].max())
    tops = np.array(tops)
    descending = np.sort(negative)[::-1]
    rows = []
    for far in fars:
        t = descending[max(int(len(descending) * far) - 1, 0)]
        rows.append((np.sum(positive > t) / len(tops), t, np.mean(descending > t)))
    return [int(np.sum(tops < top)) for top in (1, 5, 10)], rows


def test_ijb_evals_is_one_false_positive_short(fixture_vectors):
    held, vectors = fixture_vectors
    expected = [
        ([36, 53, 58], (26 / 60, 0.586519, 5 / 60)),
        ([34, 56, 59], (13 / 60, 0.636820, 5 / 60)),
    ]
    for gallery, (tops, row) in zip(held.galleries, expected, strict=True):
        found = evaluation_1n(
            vectors[held.probes], vectors[gallery.templates],
            held.person[held.probes], held.person[gallery.templates].tolist(), [0.1],
        )  # fmt: skip
        assert found[0] == tops
        assert found[1][0] == pytest.approx(row, abs=5e-7)
    assert np.mean([row[0] for _, row in expected]) == pytest.approx(0.325)


def test_ranks_are_the_counts_of_ijb_evals(fixture_searches):
    for found, counts in zip(fixture_searches, ([36, 53, 58], [34, 56, 59]), strict=True):
        assert [int((found.rank[found.mated] <= top).sum()) for top in (1, 5, 10)] == counts


def test_ijb_1n_pools_the_galleries(fixture_vectors):
    """insightface's ijb_1n.py restated: closed set, and a FAR over all similarities of strangers,
    k false pairs for Q searches, which is no FPIR.
    """
    held, vectors = fixture_vectors
    gallery = np.concatenate([each.templates for each in held.galleries])
    cosines = vectors[held.probes] @ vectors[gallery].T
    mate = held.person[held.probes][:, None] == held.person[gallery][None, :]
    own = cosines[mate]
    order = np.argsort(-cosines, axis=1)
    place = np.argmax(np.take_along_axis(mate, order, axis=1), axis=1)
    shares = [np.mean(place < top) for top in (1, 5, 10)]
    assert shares == pytest.approx([0.45, 0.8, 0.925])
    strangers = np.sort(cosines[~mate])[::-1]
    for far, recall, threshold in ((0.01, 0.116667, 0.742410), (0.1, 0.233333, 0.657028)):
        t = strangers[math.ceil(len(held.probes) * far) - 1]
        assert (np.mean(own > t), t) == pytest.approx((recall, threshold), abs=5e-7)
    whole = search(vectors, held.person, Gallery("", gallery), held.probes)
    found = identification([whole], held.person[held.probes], held.person)
    assert [found.rank[key] for key in ("1", "5", "10")] == pytest.approx([0.45, 0.8, 0.925])
    assert found.tpir_at_fpir == {"0.1": None, "0.01": None}  # a closed set has no FPIR


def tinyface():
    rng = np.random.default_rng(5)
    centre = rng.normal(size=(30, 16))
    gallery_ids = np.repeat(np.arange(30), 2)
    gallery = centre[gallery_ids] + 1.5 * rng.normal(size=(60, 16))
    probes = centre + 1.5 * rng.normal(size=(30, 16))
    distractors = 1.8 * rng.normal(size=(500, 16))
    vectors = np.concatenate([gallery, distractors, probes])
    person = np.concatenate([gallery_ids, np.full(500, NOBODY), np.arange(30)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), person


def test_tinyface_ranks_any_mate_among_distractors():
    vectors, person = tinyface()
    probes = np.arange(560, 590)
    found = search(vectors, person, Gallery("", np.arange(560)), probes)
    figures = identification([found], person[probes], person)
    expected = (0.033333, 0.333333, 0.433333)
    assert [figures.rank[key] for key in ("1", "5", "20")] == pytest.approx(expected, abs=5e-7)
    # Mean average precision, restated: the official script takes trapezoids.
    hits = person[:560][np.argsort(-(vectors[probes] @ vectors[:560].T), axis=1)]
    hits = hits == person[probes][:, None]
    official, standard = [], []
    for row in hits:
        at = np.flatnonzero(row)
        precision = np.arange(1, len(at) + 1) / (at + 1)
        before = np.where(at == 0, 1.0, np.arange(len(at)) / np.maximum(at, 1))
        official.append(np.mean((before + precision) / 2))
        standard.append(np.mean(precision))
    assert np.mean(official) == pytest.approx(0.059079, abs=5e-7)
    assert np.mean(standard) == pytest.approx(0.093560, abs=5e-7)


def random_searches(rng, probes=40, values=None):
    mated = rng.random(probes) < 0.5
    rank = np.where(mated, rng.integers(1, 4, probes), 0)
    score = rng.uniform(-1, 1, probes) if values is None else rng.integers(0, values, probes) / 9
    return Searches(
        "", 30, mated, score, rank, rng.integers(0, 30, probes), np.minimum(score, 0.5)
    )  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 4]))
def test_tpir_grows_with_fpir_and_stays_below_rank_1(seed, values):
    rng = np.random.default_rng(seed)
    found = random_searches(rng, values=values)
    figures = [tar_at_far.tar_at_far(search_list(found).sweep, f) for f in (0.05, 0.1, 0.3, 0.9)]
    known = [each for each in figures if each is not None]
    tpirs = [each.tar for each in known]
    assert tpirs == sorted(tpirs)
    if known:
        rank = found.rank[found.mated]
        assert max(tpirs) <= (rank == 1).mean()
        assert all(
            each is None or each.far <= fpir
            for each, fpir in zip(figures, (0.05, 0.1, 0.3, 0.9), strict=True)
        )
        for each in known:  # what the threshold decides, counted
            hit = (rank == 1) & (found.score[found.mated] > each.threshold)
            assert hit.mean() == each.tar
            assert (found.score[~found.mated] > each.threshold).mean() == each.far


@given(st.integers(0, 2**32 - 1))
def test_figures_hold_together(seed):
    rng = np.random.default_rng(seed)
    both = [random_searches(rng), random_searches(rng)]
    people = rng.integers(NOBODY, 12, 40)
    found = identification(both, people, rng.integers(NOBODY, 12, 30))
    for block in (found, *found.galleries):
        ranks = [block.rank[key] for key in RANKS]
        if None not in ranks:
            assert ranks == sorted(ranks)
            for key in RANKS:
                low, high = block.rank_ci95[key]
                assert 0 <= low <= block.rank[key] <= high <= 1
        for key in FPIRS:
            at = block.tpir_at_fpir[key]
            if at is not None:
                low, high = at.tpir_ci95
                assert 0 <= low <= at.tpir <= high <= 1
    rank_1 = np.concatenate([each.rank[each.mated] for each in both]) == 1
    assert found.rank["1"] == pytest.approx(rank_1.mean())


def test_the_json_has_the_keys_of_a_result(fixture_figures):
    found = as_json(fixture_figures, SHAPE["identification"])
    assert list(found) == ["rank", "rank_ci95", "tpir_at_fpir", "galleries"]
    assert list(found["rank"]) == list(found["rank_ci95"]) == ["1", "5", "10", "20"]
    assert found["tpir_at_fpir"]["0.01"] is None
    assert list(found["tpir_at_fpir"]["0.1"]) == ["tpir", "fpir", "threshold", "tpir_ci95"]
    one = found["galleries"][0]
    assert list(one) == [
        "name", "size", "mated", "non_mated", "rank", "rank_ci95", "tpir_at_fpir"
    ]  # fmt: skip
    assert (one["name"], one["size"]) == ("G1", 20)
    assert isinstance(one["tpir_at_fpir"]["0.1"]["tpir_ci95"], list)


def test_a_gallery_of_nobody_that_is_searched_has_no_ranks():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = search(vectors, np.arange(9), Gallery("", np.arange(6)), np.arange(6, 9))
    figures = identification([found], np.arange(6, 9), np.arange(9))
    assert set(figures.rank.values()) == set(figures.rank_ci95.values()) == {None}
    assert figures.galleries[0].non_mated == 3


def all_pairs(fixture_vectors):
    held, vectors = fixture_vectors
    checked = scored_pairs(pair_scores(vectors, held.pairs), held.pairs.genuine)
    people = held.person[held.pairs.left], held.person[held.pairs.right]
    return SortedPairs(checked, sweep_of(checked), ()), people


def test_intervals_of_all_pairs_are_the_subject_bootstraps(fixture_vectors):
    pairs, (left, right) = all_pairs(fixture_vectors)
    scores, genuine = pairs.pairs.scores, pairs.pairs.is_genuine
    found = tar_at_far.tar_at_far(pairs.sweep, 0.01)
    rng, tars, fmrs = np.random.default_rng(0), [], []
    order = np.argsort(scores)
    for _ in range(2000):
        drawn = np.bincount(rng.integers(0, 40, 40), minlength=40)
        weight = np.where(genuine, drawn[left], drawn[left] * drawn[right])
        impostors = np.cumsum((weight * ~genuine)[order][::-1])
        allowed = np.searchsorted(impostors, 0.01 * impostors[-1], side="right")
        threshold = scores[order][::-1][min(allowed, len(scores) - 1)]
        above = scores > threshold
        tars.append(np.sum(weight[genuine & above]) / np.sum(weight[genuine]))
        above = scores > found.threshold
        fmrs.append(np.sum(weight[~genuine & above]) / np.sum(weight[~genuine]))
    # The fixture's own draws gave [.288, .467] and [.0060, .0155].
    tar_ends, fmr_ends = (np.quantile(each, [0.025, 0.975]) for each in (tars, fmrs))
    assert tar_ends == pytest.approx([0.288, 0.467], abs=0.012)
    assert fmr_ends == pytest.approx([0.0060, 0.0155], abs=0.001)
    sharing = pair_sharing(left, right, unit="person")
    own = tar_at_far.interval(pairs, 0.01, sharing)
    blind = tar_at_far.interval(pairs, 0.01, None)
    people = np.stack([left, right], axis=1).ravel()
    rates = rates_at_threshold(scores, genuine, found.threshold, people=people)
    assert own[1] - own[0] > 1.2 * (blind[1] - blind[0])
    assert own == pytest.approx(tar_ends, abs=0.04)
    assert rates.far_ci95 == pytest.approx(fmr_ends, abs=0.003)


@pytest.mark.slow
def test_intervals_hold_the_truth_with_few_people():
    # Of 150 draws a share of 0.95 has a standard deviation of 0.018.
    found = coverage(40, 6, 1.2, 150)
    assert set(found) >= {"rank, both", "TPIR 0.1, mean", "TPIR 0.01, mean", "TAR 1e-3, all pairs"}
    for name, (held, *_) in found.items():
        assert 0.89 < held <= 1, (name, held)
