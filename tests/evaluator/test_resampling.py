import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluator.metrics.sharing import design_effect, pair_sharing
from evaluator.statistics.resampling import (
    bootstrap_difference,
    percentile_interval,
    percentile_p_value,
)


def discordant(only_a, only_b, pairs):
    return np.repeat([1, -1, 0], [only_a, only_b, pairs - only_a - only_b])


def test_clusters_are_the_connected_components():
    # 10-20, 20-30 and 30-30 hang together through 20 and 30; 40-50 stands alone.
    sharing = pair_sharing([10, 20, 40, 30], [20, 30, 50, 30])
    assert (sharing.nodes, sharing.clusters) == (5, 2)
    assert len(set(sharing.cluster[[0, 1, 3]])) == 1
    assert sharing.cluster[2] != sharing.cluster[0]
    assert sharing.effective_clusters == pytest.approx(16 / (9 + 1))
    assert sharing.effective_nodes == pytest.approx(64 / (1 + 4 + 9 + 1 + 1))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 25))
def test_clusters_are_those_of_a_merge_by_hand(seed, pairs, images):
    left, right = np.random.default_rng(seed).integers(0, images, size=(2, pairs))
    label = list(range(images))
    for one, other in zip(left, right, strict=True):
        label = [label[one] if each == label[other] else each for each in label]
    cluster = pair_sharing(left, right).cluster
    together = np.array([label[one] for one in left])
    assert ((together[:, None] == together) == (cluster[:, None] == cluster)).all()


def test_the_method_follows_from_how_pairs_hang_together():
    pairs = np.arange(1000)
    assert pair_sharing(pairs, pairs + 1000).method == "pairs"
    assert pair_sharing(pairs // 2, pairs + 1000).method == "clusters"
    assert pair_sharing(pairs, pairs + 1).method == "dyads"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 12))
def test_dyadic_design_effect_is_the_sum_over_all_couples_of_pairs(seed, pairs, images):
    generator = np.random.default_rng(seed)
    left, right = generator.integers(0, images, size=(2, pairs))
    values = generator.integers(-1, 2, pairs).astype(float)
    sharing = pair_sharing(left, right)
    errors = values - values.mean()
    share = (
        (left[:, None] == left) | (left[:, None] == right)
        | (right[:, None] == left) | (right[:, None] == right)
    )  # fmt: skip
    if sharing.method == "pairs" or not errors.any():
        assert design_effect(values, sharing) == 1.0
        return
    uses = np.bincount(np.concatenate([left, right]))
    units = uses.sum() ** 2 / (uses**2).sum()
    plain = errors @ share @ errors / (errors @ errors) * units / max(units - 4, 1)
    assert design_effect(values, sharing) == pytest.approx(max(1.0, plain))


def test_pairs_repeated_three_times_have_a_design_effect_of_three():
    values = np.repeat(np.random.default_rng(0).integers(-1, 2, 400), 3)
    copies = np.repeat(np.arange(400), 3)
    sharing = pair_sharing(copies, copies + 400)
    assert sharing.method == "clusters"
    assert design_effect(values, sharing) == pytest.approx(3 * 400 / 399)
    drawn = bootstrap_difference(values, sharing=sharing).replicates
    assert np.var(drawn) == pytest.approx(np.var(values) / 400, rel=0.05)


def test_counted_bootstrap_is_the_bootstrap_of_rows():
    values = discordant(60, 35, 900)
    counted = bootstrap_difference(values).replicates
    generator = np.random.default_rng(5)
    rows = np.array([generator.choice(values, 900).mean() for _ in range(6000)])
    for quantile in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(counted, quantile) == pytest.approx(
            np.quantile(rows, quantile), abs=1.01 / 900
        )


def test_cluster_bootstrap_is_the_bootstrap_of_whole_clusters():
    generator = np.random.default_rng(2)
    cluster = np.sort(generator.integers(0, 150, 900))
    values = np.sign(generator.normal(size=150)[cluster] + 2 * generator.normal(size=900))
    values *= generator.random(900) < 0.2
    sharing = pair_sharing(cluster, cluster + 1000)
    assert sharing.method == "clusters"
    drawn = bootstrap_difference(values, sharing=sharing).replicates
    members = [values[cluster == each] for each in np.unique(cluster)]
    rows = np.array([
        np.concatenate([members[i] for i in generator.integers(0, len(members), len(members))])
        .mean() for _ in range(4000)
    ])  # fmt: skip
    assert np.std(drawn) == pytest.approx(np.std(rows), rel=0.06)
    assert np.mean(drawn) == pytest.approx(np.mean(rows), abs=0.1 * np.std(rows))


def test_the_same_seed_gives_the_same_replicates_and_another_does_not():
    values = discordant(30, 20, 600)
    first = bootstrap_difference(values, seed=4).replicates
    assert (first == bootstrap_difference(values, seed=4).replicates).all()
    assert (first != bootstrap_difference(values, seed=5).replicates).any()


def test_exchanging_the_models_negates_every_replicate():
    values = discordant(30, 20, 600)
    left = np.arange(600) // 2
    for right in (left + 300, np.arange(600) % 40 + 300):
        sharing = pair_sharing(left, right)
        one = bootstrap_difference(values, sharing=sharing, threshold_luck=1.4)
        other = bootstrap_difference(-values, sharing=sharing, threshold_luck=1.4)
        assert one.estimate == -other.estimate
        assert (one.replicates == -other.replicates).all()


def test_threshold_luck_multiplies_the_variance():
    values = discordant(300, 250, 6000)
    plain = bootstrap_difference(values).replicates
    lucky = bootstrap_difference(values, threshold_luck=1.44).replicates
    assert np.std(lucky) == pytest.approx(1.2 * np.std(plain))


@settings(deadline=None)
@given(st.integers(100, 400), st.floats(-3, 3), st.integers(0, 10**6), st.sampled_from([0.9, 0.95]))
def test_interval_leaves_out_0_exactly_when_p_is_small(replicates, centre, seed, confidence):
    drawn = np.round(np.random.default_rng(seed).normal(size=replicates) + centre, 1)
    low, high = percentile_interval(drawn, confidence=confidence)
    # The level itself, 0.9 and 0.1, is not exact in binary; p-values are multiples of 2 / (R + 1).
    rejected = percentile_p_value(drawn) < 1 - confidence - 1e-9
    assert (low > 0 or high < 0) == rejected


def test_percentile_interval_is_close_to_numpys_quantiles():
    drawn = np.random.default_rng(0).normal(size=10_000)
    assert percentile_interval(drawn) == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.01
    )


@pytest.mark.parametrize(("only_a", "significant"), [(3, False), (4, False), (7, True)])
def test_a_handful_of_one_sided_pairs_is_judged_as_the_exact_test_would(only_a, significant):
    drawn = bootstrap_difference(discordant(only_a, 0, 6000)).replicates
    assert (percentile_p_value(drawn) < 0.05) == significant


def test_no_discordant_pairs_leave_room_for_a_few():
    drawn = bootstrap_difference(np.zeros(600, dtype=int)).replicates
    low, high = percentile_interval(drawn)
    assert percentile_p_value(drawn) == 1.0
    assert -4 / 600 < low < 0 < high < 4 / 600


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="-1, 0, 1"):
        bootstrap_difference([0.5, 1])
    with pytest.raises(ValueError, match="at least one pair"):
        bootstrap_difference([])
    with pytest.raises(ValueError, match="at least 100; got 10"):
        bootstrap_difference([1], replicates=10)
    with pytest.raises(ValueError, match="sharing is of 2 pairs, differences of 1"):
        bootstrap_difference([1], sharing=pair_sharing([0, 1], [1, 2]))
    with pytest.raises(ValueError, match="must be integers"):
        pair_sharing([0.0], [1.0])
    with pytest.raises(ValueError, match=r"shapes \(1,\) and \(2,\)"):
        pair_sharing([0], [1, 2])
    with pytest.raises(ValueError, match="too few"):
        percentile_interval(np.zeros(100), confidence=0.999)


@pytest.mark.parametrize(("images", "pairs"), [(1, 1), (4, 2), (50, 30), (400, 300), (3000, 9000)])
def test_clusters_are_scipys_connected_components(images, pairs):
    generator = np.random.default_rng(images)
    left, right = generator.integers(0, images, (2, pairs))
    if pairs == 300:  # and a long chain, each link at a random place
        chain = generator.permutation(images)
        left, right = np.append(left[:20], chain[:200]), np.append(right[:20], chain[1:201])
    sharing = pair_sharing(left, right)
    edges = (np.ones(len(left)), (sharing.left, sharing.right))
    graph = coo_array(edges, shape=(sharing.nodes, sharing.nodes))
    count, of_node = connected_components(graph, directed=False)
    assert sharing.clusters == count
    assert sharing.cluster.tolist() == of_node[sharing.left].tolist()
