from __future__ import annotations

import importlib.util
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from training.triplets import choices
from training.triplets import mining as triplets
from training.triplets.mining import (
    CHOICES,
    TripletError,
    choose_images,
    mine_triplets,
)
from training.triplets.nearest import hardest_negatives, people_of, unit_rows

Triple = tuple[int, int, int]


def seed_violations(units: NDArray, labels: NDArray, alpha: float) -> set[Triple]:
    """The founding system's loop over people, restated: every triplet it would draw from."""
    found = set()
    for label in np.unique(labels):
        own = np.where(labels == label)[0]
        cosines = np.dot(units[own[:-1]], units.T)
        anchors = [i for i in range(len(own) - 1) for _ in range(i + 1, len(own))]
        later = [j for i in range(len(own) - 1) for j in range(i + 1, len(own))]
        if not anchors:
            continue
        of_positives = np.array([cosines[i, own[j]] for i, j in zip(anchors, later, strict=True)])
        margins = of_positives[:, None] - cosines[anchors] - alpha
        margins[:, own] = 1
        for pair, negative in zip(*np.where(margins < 0), strict=True):
            found.add((int(own[anchors[pair]]), int(own[later[pair]]), int(negative)))
    return found


def exact_units(rows: int, seed: int) -> NDArray[np.float32]:
    """Unit rows of four halves among 12 places: cosines are multiples of 1/4, exact and tied."""
    random = np.random.default_rng(seed)
    units = np.zeros((rows, 12), np.float32)
    for row in units:
        row[random.choice(12, 4, replace=False)] = random.choice([-0.5, 0.5], 4)
    return units


def triples(mined: object) -> list[Triple]:
    columns = (mined.anchors.tolist(), mined.positives.tolist(), mined.negatives.tolist())
    return list(zip(*columns, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    alpha=st.sampled_from([0.2, 0.25, 0.5, 1.0]),
    people=st.integers(2, 9),
    memory=st.sampled_from([4 * 60, 4 * 60 * 7, 2**20]),
)
def test_triplets_violate_as_the_seeds_do_even_where_cosines_tie(seed, alpha, people, memory):
    units = exact_units(60, seed)
    labels = np.random.default_rng(seed).integers(0, people, 60)
    labels[:2] = [0, 1]
    expected = seed_violations(units, labels, alpha)
    found = []
    if expected:  # else there is nothing to mine
        mined = mine_triplets(units, labels, alpha_cosine=alpha, memory=memory, seed=seed)
        found = triples(mined)
    assert set(found) <= expected
    assert sorted(triple[:2] for triple in found) == sorted({triple[:2] for triple in expected})


def test_every_violating_triplet_of_the_seeds_is_drawn_some_time():
    units = exact_units(24, 3)
    labels = np.random.default_rng(3).integers(0, 6, 24)
    mined = (mine_triplets(units, labels, alpha_cosine=0.5, seed=seed) for seed in range(400))
    drawn = {triple for each in mined for triple in triples(each)}
    assert drawn == seed_violations(units, labels, 0.5)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("noise", [0.7, 3.0])
def test_each_violated_pair_gives_one_violating_triplet(choice, noise):
    random = np.random.default_rng(1)
    labels = random.integers(0, 30, 240)
    embeddings = random.normal(size=(30, 16))[labels] + noise * random.normal(size=(240, 16))
    violating = seed_violations(unit_rows(embeddings), labels, 0.3)
    mined = mine_triplets(embeddings, labels, alpha_cosine=0.3, choice=choice, memory=240 * 4 * 50)
    found = triples(mined)
    assert set(found) <= violating
    pairs = {triple[:2] for triple in violating}
    if choice == "semi_hard":
        cosines = unit_rows(embeddings) @ unit_rows(embeddings).T
        pairs = {(a, p) for a, p, n in violating if cosines[a, n] < cosines[a, p]}
        assert all(cosines[a, n] < cosines[a, p] for a, p, n in found)
    assert {triple[:2] for triple in found} == pairs
    assert len(found) == len(pairs)
    sizes = np.bincount(labels)
    assert mined.pairs == (sizes * (sizes - 1) // 2).sum()
    assert mined.active == len(pairs) / mined.pairs


def test_hardest_is_the_most_alike_negative():
    random = np.random.default_rng(2)
    labels = random.integers(0, 20, 150)
    units = unit_rows(random.normal(size=(150, 8)))
    cosines = units.astype(np.float64) @ units.T.astype(np.float64)
    cosines[labels[:, None] == labels] = -2
    mined = mine_triplets(units, labels, choice="hardest")
    assert np.array_equal(mined.negatives, cosines[mined.anchors].argmax(axis=1))


def counts_of(choice: str, units: NDArray, labels: NDArray, draws: int) -> NDArray:
    counts = np.zeros(len(units))
    for seed in range(draws):
        mined = mine_triplets(units, labels, alpha_cosine=0.4, choice=choice, seed=seed)
        counts[mined.negatives[(mined.anchors == 0) & (mined.positives == 1)]] += 1
    return counts


@pytest.mark.parametrize("rare", [False, True])
def test_random_draws_all_violating_negatives_alike(rare):
    """Both ways to draw: by trying, where most violate, and off a list, where few do."""
    random = np.random.default_rng(3)
    units = unit_rows(random.normal(size=(400, 12) if rare else (14, 24)))
    if rare:
        units[1] = units[0]
    labels = np.arange(len(units)) // 2
    cosines = units @ units[0]
    fits = np.flatnonzero((cosines[1] - cosines < 0.4) & (labels != 0))
    if rare:
        assert 2 <= len(fits) < 20
    counts = counts_of("random", units, labels, 400)
    assert counts.sum() == 400
    assert np.all(counts[np.setdiff1d(np.arange(len(units)), fits)] == 0)
    # A negative that is drawn twice as often as the others is found: its p-value is below 1e-3.
    assert chisquare(counts[fits]).pvalue > 0.01
    counts[fits[0]] *= 2
    assert chisquare(counts[fits]).pvalue < 0.001


def test_distance_weighted_draws_by_wus_density():
    random = np.random.default_rng(5)
    size = 12
    units = unit_rows(random.normal(size=(24, size)))
    units[1] = -units[0]
    labels = np.array([0, 0, *range(1, 23)])
    labels[-1] = 1
    distance = np.linalg.norm(units - units[0], axis=1).clip(0.5, 1.4)
    density = distance ** (size - 2) * (1 - distance**2 / 4) ** ((size - 3) / 2)
    weights = np.where(labels != 0, 1 / density, 0)
    expected = 2000 * weights / weights.sum()
    counts = counts_of("distance_weighted", units, labels, 2000)
    assert counts.sum() == 2000
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert chisquare(counts[possible], expected[possible]).pvalue > 0.001


@pytest.mark.parametrize("tries", [0, 12])
@pytest.mark.parametrize("alpha", [0.6, 0.9])
def test_distance_weighted_draws_by_wus_density_among_many(tries, alpha, monkeypatch):
    """With tries, and off the list alone; where few violate, and where many do."""
    monkeypatch.setattr(choices, "_TRIES", tries)
    monkeypatch.setattr(triplets, "NUMBERS_A_PAIR", tries + 1)
    size = 24
    random = np.random.default_rng(5)
    units = random.normal(size=(3000, size))
    # 40 equal images of one person: each of the 780 pairs is another draw from the same negatives.
    units[:40] = np.eye(size)[0]
    units = unit_rows(units)
    labels = np.concatenate([np.zeros(40, int), np.arange(1, 2961)])
    # What the definition says, in float64 and without rejection.
    cosines = units.astype(np.float64) @ units[0].astype(np.float64)
    distance = np.sqrt(2 - 2 * cosines).clip(0.5, 1.4)
    density = distance ** (size - 2) * (1 - distance**2 / 4) ** ((size - 3) / 2)
    weights = np.where((labels != 0) & (1 - cosines < alpha), 1 / density, 0)
    counts = np.zeros(3000)
    for seed in range(8):
        mined = mine_triplets(
            units, labels, alpha_cosine=alpha, choice="distance_weighted", seed=seed
        )
        counts += np.bincount(mined.negatives, minlength=3000)
    assert counts.sum() == 8 * 780
    assert counts[weights == 0].sum() == 0
    # In order of their weight, put together until each group is expected 40 times.
    order = np.argsort(-weights)[: np.count_nonzero(weights)]
    expected = counts.sum() * weights[order] / weights.sum()
    group = (np.cumsum(expected) / 40).astype(int)
    expected, found = np.bincount(group, expected), np.bincount(group, counts[order])
    enough = expected > 0
    assert len(expected[enough]) > 5
    assert chisquare(found[enough], expected[enough]).pvalue > 0.001


def test_the_same_seed_gives_the_same_triplets_in_any_memory():
    labels = np.arange(90) // 3
    units = exact_units(90, 7)
    for choice in CHOICES:
        runs = [
            triples(
                mine_triplets(
                    units, labels, alpha_cosine=0.6, choice=choice, seed=11, memory=memory
                )
            )
            for memory in (360, 3600, 2**24)
        ]
        assert runs[0] == runs[1] == runs[2]
        other = mine_triplets(units, labels, alpha_cosine=0.6, choice=choice, seed=12)
        assert runs[0] != triples(other)


def test_embeddings_that_are_not_finite_are_dropped_and_counted():
    labels = np.arange(60) // 3
    embeddings = exact_units(60, 9)
    bad = [4, 17, 40]
    embeddings[4], embeddings[17, 3], embeddings[40] = np.nan, np.inf, 0
    mined = mine_triplets(embeddings, labels, choice="hardest")
    good = np.setdiff1d(np.arange(60), bad)
    without = mine_triplets(embeddings[good], labels[good], choice="hardest")
    assert mined.dropped == 3
    assert sorted(triples(mined)) == sorted(
        tuple(int(good[i]) for i in triple) for triple in triples(without)
    )


def test_memory_bounds_what_is_allocated():
    random = np.random.default_rng(0)
    labels = np.arange(6000) // 3
    embeddings = random.normal(size=(6000, 32)).astype(np.float32)
    tracemalloc.start()
    mine_triplets(embeddings, labels, memory=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All cosines would be 144 MB; the embeddings are 0.8 MB, the pairs' numbers about 1 MB.
    assert peak < 8 * 2**20


@pytest.mark.parametrize("count", [1, 5, 40])
def test_hardest_negatives_are_those_of_a_full_sort(count):
    random = np.random.default_rng(6)
    labels = random.integers(0, 25, 700)
    units = unit_rows(random.normal(size=(700, 12)))
    rows = random.permutation(700)[:123]
    cosines = units[rows].astype(np.float64) @ units.T.astype(np.float64)
    cosines[labels[rows][:, None] == labels] = -np.inf
    expected = -np.sort(-cosines, axis=1)[:, :count]
    # A bound this small makes many tiles.
    found, values = hardest_negatives(
        units, people_of(labels), rows, count=count, memory=4 * 123 * 40
    )
    assert np.allclose(values, expected, atol=1e-6)
    assert np.allclose(np.take_along_axis(cosines, found, axis=1), expected, atol=1e-6)


def test_hardest_negatives_with_too_few_and_equal_ones():
    units = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    labels = np.array([0] * 9 + [1] * 3)
    found, values = hardest_negatives(
        units, people_of(labels), np.array([0, 9]), count=5, memory=2**20
    )
    assert sorted(found[0].tolist()) == [-1, -1, 9, 10, 11]
    assert values[0].tolist() == [0, 0, 0, -np.inf, -np.inf]
    assert len(set(found[1].tolist())) == 5
    assert set(found[1].tolist()) <= set(range(9))


def test_mining_from_candidates_finds_the_hardest_ones():
    random = np.random.default_rng(8)
    labels = np.arange(300) // 3
    units = unit_rows(random.normal(size=(300, 10)))
    everything = mine_triplets(units, labels, choice="hardest")
    some = mine_triplets(units, labels, choice="hardest", candidates=3)
    assert sorted(triples(some)) == sorted(triples(everything))
    drawn = mine_triplets(units, labels, choice="random", candidates=3)
    assert set(triples(drawn)) <= seed_violations(units, labels, 0.2)


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed")
def test_faiss_finds_what_the_tiles_find():
    random = np.random.default_rng(6)
    labels = random.integers(0, 25, 700)
    units = unit_rows(random.normal(size=(700, 12)))
    rows = np.arange(0, 700, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its bindings, at import
        _, values = hardest_negatives(
            units, people_of(labels), rows, count=4, memory=2**20, index="faiss"
        )
    _, expected = hardest_negatives(units, people_of(labels), rows, count=4, memory=2**20)
    assert np.allclose(values, expected, atol=1e-6)


def test_people_get_the_images_asked_for():
    labels = np.repeat(np.arange(12), np.arange(1, 13))
    chosen = choose_images(labels, people=7, images_per_person=4, seed=0)
    people, counts = np.unique(labels[chosen], return_counts=True)
    assert len(people) == 7
    assert np.all(counts == 4)
    for person in people[people >= 3]:
        assert len(np.unique(chosen[labels[chosen] == person])) == 4
    assert np.array_equal(chosen, choose_images(labels, people=7, images_per_person=4, seed=0))
    assert not np.array_equal(chosen, choose_images(labels, people=7, images_per_person=4, seed=1))
    assert len(choose_images(labels, people=99, images_per_person=4, seed=0)) == 48


UNITS = exact_units(12, 0)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("one person only", lambda: mine_triplets(UNITS, np.zeros(12, int))),
        ("none of 12 embeddings is finite", lambda: mine_triplets(UNITS * np.nan, np.arange(12))),
        (
            "no violating triplet: each of 2 pairs",
            lambda: mine_triplets(np.eye(2).repeat(2, axis=0), np.array([0, 0, 1, 1])),
        ),
        ("two images or more of some person", lambda: mine_triplets(UNITS, np.arange(12))),
        ("found 'hard'", lambda: mine_triplets(UNITS, np.arange(12) // 2, choice="hard")),
        ("found 0.0", lambda: mine_triplets(UNITS, np.arange(12) // 2, alpha_cosine=0.0)),
        ("shapes", lambda: mine_triplets(UNITS, np.arange(11))),
        (
            "images_per_person: a pair takes 2",
            lambda: choose_images(np.arange(9) // 3, people=3, images_per_person=1, seed=0),
        ),
        (
            "one person only",
            lambda: choose_images(np.zeros(9, int), people=3, images_per_person=2, seed=0),
        ),
    ],
)
def test_what_gives_no_triplets_is_one_line(message, call):
    with pytest.raises(TripletError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
