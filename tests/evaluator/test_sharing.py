"""How pairs hang together: numbers, clusters and sums beside SciPy and beside all couples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluator.metrics.sharing import design_effect, pair_sharing, spread_of


def drawn(seed, people, pairs, gap):
    """Ends of pairs, numbered with gaps and from below 0, their labels, and errors of each class
    that sum to 0.
    """
    rng = np.random.default_rng(seed)
    left, right = gap * rng.integers(0, people, (2, pairs)) - 5
    genuine = rng.random(pairs) < rng.choice([0.1, 0.5, 0.9])
    errors = rng.normal(size=pairs)
    for own in (genuine, ~genuine):
        errors[own] -= errors[own].mean() if own.any() else 0.0
    return left, right, genuine, errors


CASES = (
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 200),
    st.sampled_from([1, 99]),
)


@given(*CASES)
def test_clusters_are_connected_components(seed, people, pairs, gap):
    left, right, _, _ = drawn(seed, people, pairs, gap)
    found = pair_sharing(left, right)
    names, numbers = np.unique(np.concatenate([left, right]), return_inverse=True)
    assert np.array_equal(np.concatenate([found.left, found.right]), numbers)
    assert found.nodes == len(names)
    graph = coo_array((np.ones(pairs), (found.left, found.right)), shape=(len(names), len(names)))
    count, component = connected_components(graph, directed=False)
    assert found.clusters == count
    # The same parts, numbered in the order of their first nodes.
    _, first = np.unique(component, return_index=True)
    renamed = np.argsort(np.argsort(first))[component]
    assert np.array_equal(found.cluster, renamed[found.left])


@given(*CASES)
def test_effects_are_those_of_all_couples_that_share_an_end(seed, people, pairs, gap):
    left, right, genuine, errors = drawn(seed, people, pairs, gap)
    sharing = pair_sharing(left, right)
    found = spread_of(errors, genuine, sharing)
    if sharing.method == "pairs":
        assert found.genuine == found.impostor == 1.0
        assert found.variance == pytest.approx(errors @ errors)
        return
    ends = np.stack([left, right])
    shares = (ends[:, None, :, None] == ends[None, :, None, :]).any(axis=(0, 1))
    if sharing.method == "clusters":
        shares = sharing.cluster[:, None] == sharing.cluster[None, :]
    for part, effect in (
        (errors, found.variance / (errors @ errors) if errors.any() else 1.0),
        (np.where(genuine, errors, 0.0), found.genuine),
        (np.where(genuine, 0.0, errors), found.impostor),
    ):
        square = part @ part
        expected = max(1.0, part @ shares @ part / square * sharing.correction) if square else 1.0
        assert effect == pytest.approx(expected, rel=1e-6)
        assert design_effect(part, sharing) == pytest.approx(expected, rel=1e-6)
    if sharing.method == "dyads":
        held = (ends == np.unique(ends)[:, None, None]).any(axis=1)
        assert found.largest == pytest.approx(np.abs(held @ errors).max(), abs=1e-9)


def test_no_pairs_share_nothing():
    found = pair_sharing(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert (found.nodes, found.clusters, found.method) == (0, 0, "pairs")
