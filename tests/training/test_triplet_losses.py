"""The triplet losses against NumPy: Schroff et al. 2015, TensorFlow Addons, Hermans et al. 2017."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.errors import InputError
from tests.programs import Programs
from training.network.triplet_losses import (
    TRIPLET_LOSSES,
    TripletBatchAll,
    TripletBatchHard,
    TripletMined,
    TripletSemiHard,
    embedding_spread,
    triplet_metrics,
)

Floats = NDArray[np.floating[Any]]
DISTANCES = ("cosine", "euclidean", "squared_euclidean")
ONLINE = (TripletSemiHard, TripletBatchHard, TripletBatchAll)


def distance(a: Floats, b: Floats, name: str) -> Any:
    """One distance in float64, from its definition."""
    if name == "cosine":
        return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    length = np.linalg.norm(a - b)
    return length**2 if name == "squared_euclidean" else length


def distances(embeddings: Floats, name: str) -> Floats:
    wide = embeddings.astype(np.float64)
    return np.array([[distance(a, b, name) for b in wide] for a in wide])


def addons_semi_hard(labels: NDArray, embeddings: Floats, margin: float, name: str) -> float:
    """TensorFlow Addons' rule, pair by pair."""
    d = distances(embeddings, name)
    total, pairs = 0.0, 0
    for a, p in itertools.permutations(range(len(labels)), 2):
        if labels[a] != labels[p]:
            continue
        negatives = d[a, labels != labels[a]]
        outside = negatives[negatives > d[a, p]]
        far = outside.min() if len(outside) else negatives.max() if len(negatives) else d[a].min()
        total += max(d[a, p] - far + margin, 0.0)
        pairs += 1
    return total / pairs if pairs else 0.0


def hermans_hard(labels: NDArray, embeddings: Floats, margin: float, name: str) -> float:
    d = distances(embeddings, name)
    losses = []
    for a in range(len(labels)):
        positives = d[a, (labels == labels[a]) & (np.arange(len(labels)) != a)]
        negatives = d[a, labels != labels[a]]
        if len(positives) and len(negatives):
            losses.append(max(positives.max() - negatives.min() + margin, 0.0))
    return float(np.mean(losses)) if losses else 0.0


def hermans_all(labels: NDArray, embeddings: Floats, margin: float, name: str) -> float:
    d = distances(embeddings, name)
    losses = [
        d[a, p] - d[a, n] + margin
        for a, p in itertools.permutations(range(len(labels)), 2)
        if labels[a] == labels[p]
        for n in np.flatnonzero(labels != labels[a])
    ]
    active = [each for each in losses if each > 0]
    return float(np.mean(active)) if active else 0.0


REFERENCES = {
    TripletSemiHard: addons_semi_hard,
    TripletBatchHard: hermans_hard,
    TripletBatchAll: hermans_all,
}


def embeddings_of(rows: int, seed: int = 0, size: int = 7) -> Floats:
    return np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32)


def value(loss: Any, labels: Any, embeddings: Any) -> float:
    return float(keras.ops.convert_to_numpy(loss(np.asarray(labels), embeddings)))


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("kind", ONLINE)
@pytest.mark.parametrize("seed", range(4))
def test_online_losses_are_their_papers(kind, name, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 13)
    embeddings = embeddings_of(13, seed)
    margin = [0.05, 0.3, 1.0, 4.0][seed]
    loss = kind(**{f"margin_{name}": margin}, unit_length=False)
    expected = REFERENCES[kind](labels, embeddings, margin, name)
    assert value(loss, labels, embeddings) == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ONLINE)
def test_unit_length_is_what_a_normalising_model_would_give(kind):
    labels, embeddings = np.arange(12) % 3, embeddings_of(12)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = REFERENCES[kind](labels, units, 0.6, "squared_euclidean")
    assert value(kind(margin_squared_euclidean=0.6), labels, embeddings) == pytest.approx(expected)


def test_semi_hard_negatives_by_hand():
    """On a line: anchor 0, positive 2; the negatives at 1, 3 and 9."""
    points = np.array([[0], [2], [1], [3], [9]], np.float32)
    labels = [0, 0, 1, 2, 3]
    loss = TripletSemiHard(margin_euclidean=2.0, unit_length=False)
    # Anchor 0: 3 is the nearest beyond 2, 2 - 3 + 2 = 1. Anchor 2: 9 is, 2 - 7 + 2 < 0.
    assert value(loss, labels, points) == pytest.approx(0.5)
    # Without 3 and 9 none is beyond: the farthest, 1. 2 - 1 + 2 = 3 for both.
    assert value(loss, labels[:3], points[:3]) == pytest.approx(3.0)


def addons_steps(labels: NDArray, embeddings: Floats, margin: float, metric: str) -> float:
    """``triplet_semihard_loss`` of TensorFlow Addons 0.23, step by step: its distances and its
    masked extremes, which shift a row by its own largest or least value.
    """
    points = embeddings.astype(np.float64)
    if metric == "angular":
        lengths = np.sqrt(np.maximum((points**2).sum(axis=1, keepdims=True), 1e-12))
        between = np.maximum(1 - (points / lengths) @ (points / lengths).T, 0)
    else:
        squares = (points**2).sum(axis=1)
        between = np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)
        between = between if metric == "squared-L2" else np.sqrt(between)
        np.fill_diagonal(between, 0)
    same = labels[:, None] == labels
    total = 0.0
    for anchor, row in enumerate(between):
        other = ~same[anchor]
        inside = ((row - row.min()) * other).max() + row.min()
        for positive in np.flatnonzero(same[anchor]):
            if positive == anchor:
                continue
            beyond = other & (row > row[positive])
            outside = ((row - row.max()) * beyond).min() + row.max()
            chosen = outside if beyond.any() else inside
            total += max(margin + row[positive] - chosen, 0)
    return total / (same.sum() - len(labels))


METRICS = {"cosine": "angular", "euclidean": "L2", "squared_euclidean": "squared-L2"}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("seed", range(3))
def test_semi_hard_follows_addons_step_by_step(name, seed):
    """On corners of a cube too, where most distances tie and some are 0."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 14)
    tied = np.concatenate([random.choice([-1.0, 1.0], (14, 3)), np.ones((14, 1))], axis=1)
    for embeddings in (embeddings_of(14, seed), tied.astype(np.float32)):
        loss = TripletSemiHard(**{f"margin_{name}": 0.8}, unit_length=False)
        expected = addons_steps(labels, embeddings, 0.8, METRICS[name])
        assert value(loss, labels, embeddings) == pytest.approx(expected, rel=1e-5)


def test_semi_hard_of_addons_own_example():
    """Of its docstring: two points a right angle apart, margin 1."""
    points = np.array([[0, 1], [1, 0]], np.float32)
    loss = TripletSemiHard(margin_euclidean=1.0, unit_length=False)
    assert value(loss, [0, 0], points) == pytest.approx(2.4142137)


def test_the_margin_has_no_say_in_which_negative_is_semi_hard():
    """Neither the farthest within the margin nor, as Addons' docstring has it, one beyond it."""
    points = np.array([[0], [2], [2.5], [3], [9]], np.float32)
    labels = np.array([0, 0, 1, 2, 3])
    loss = TripletSemiHard(margin_euclidean=1.5, unit_length=False)
    # Anchor 0 takes 2.5: 2 - 2.5 + 1.5 = 1, not 3 (0.5) and not 9 (0). Anchor 2 takes 9.
    assert value(loss, labels, points) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ONLINE)
def test_memory_grows_with_batch_squared(kind):
    import tensorflow as tf

    batch, loss = 24, kind(margin_euclidean=0.5)

    @tf.function(input_signature=[tf.TensorSpec((batch, 7))])
    def step(embeddings):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            found = loss.found(np.arange(batch) // 4, embeddings)
            total = tf.reduce_sum(found.loss)
        return tape.gradient(total, embeddings), found.accuracy, found.active

    tensors = [
        each for op in step.get_concrete_function().graph.get_operations() for each in op.outputs
    ]
    sizes = [each.shape.num_elements() for each in tensors if each.shape.rank]
    # Some of Keras's own index arithmetic leaves its sizes open.
    assert max(size for size in sizes if size is not None) == batch**2


@pytest.mark.parametrize("kind", ONLINE)
def test_batches_without_positives_have_no_loss_and_no_gradient(kind):
    import tensorflow as tf

    embeddings = tf.Variable(embeddings_of(5))
    with tf.GradientTape() as tape:
        loss = kind(margin_euclidean=0.2)(np.arange(5), embeddings)
    assert float(loss) == 0
    assert np.all(np.asarray(tape.gradient(loss, embeddings)) == 0)


def test_a_batch_of_one_person_is_addons():
    labels, embeddings = np.zeros(6, int), embeddings_of(6)
    expected = addons_semi_hard(labels, embeddings, 0.5, "euclidean")
    loss = TripletSemiHard(margin_euclidean=0.5, unit_length=False)
    assert value(loss, labels, embeddings) == pytest.approx(expected, rel=1e-5)
    assert value(TripletBatchHard(margin_euclidean=0.5), labels, embeddings) == 0
    assert value(TripletBatchAll(margin_euclidean=0.5), labels, embeddings) == 0


@pytest.mark.parametrize("name", DISTANCES)
def test_mined_triplets_are_schroffs(name):
    embeddings = embeddings_of(30)
    margin = 0.4
    losses = []
    for anchor, positive, negative in embeddings.astype(np.float64).reshape(10, 3, -1):
        near, far = distance(anchor, positive, name), distance(anchor, negative, name)
        losses.append(max(near - far + margin, 0))
    loss = TripletMined(**{f"margin_{name}": margin}, unit_length=False, reduction=None)
    found = keras.ops.convert_to_numpy(loss(np.zeros(30), embeddings))
    assert np.allclose(found, losses, rtol=1e-5, atol=1e-6)
    mean = TripletMined(**{f"margin_{name}": margin}, unit_length=False)
    assert value(mean, np.zeros(30), embeddings) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("kind", [*ONLINE, TripletMined])
def test_gradients_are_finite_where_embeddings_are_equal_or_zero(kind, name):
    import tensorflow as tf

    for rows in (np.ones((12, 5)), np.zeros((12, 5)), np.eye(12, 5)):
        embeddings = tf.Variable(rows.astype(np.float32))
        with tf.GradientTape() as tape:
            loss = kind(**{f"margin_{name}": 0.3})(np.arange(12) // 3, embeddings)
        assert np.isfinite(float(loss))
        assert np.all(np.isfinite(np.asarray(tape.gradient(loss, embeddings))))


@pytest.mark.parametrize("kind", [*ONLINE, TripletMined])
def test_gradients_are_the_differences_of_the_loss(kind):
    import tensorflow as tf

    labels = np.arange(9) // 3
    start = embeddings_of(9, 3)
    loss = kind(margin_cosine=0.9)
    variable = tf.Variable(start)
    with tf.GradientTape() as tape:
        result = loss(labels, variable)
    gradient = np.asarray(tape.gradient(result, variable))
    for row, column in [(0, 0), (4, 2), (8, 6)]:
        step = np.zeros_like(start)
        step[row, column] = 1e-2
        rise = value(loss, labels, start + step) - value(loss, labels, start - step)
        assert gradient[row, column] == pytest.approx(rise / 2e-2, abs=2e-3)


def test_metrics_count_active_and_right_triplets():
    points = np.array([[0], [2], [1], [3], [9]], np.float32)
    labels = np.array([0, 0, 1, 2, 3])
    loss = TripletSemiHard(margin_euclidean=2.0, unit_length=False)
    accuracy, active, _ = (float(metric(labels, points)) for metric in triplet_metrics(loss))
    assert active == 0.5  # of two pairs, see above
    # 0 with 2 against 1, 3, 9: two right; 2 with 0 against 1, 3, 9 (1, 1, 7 away): one.
    assert accuracy == pytest.approx(3 / 6)
    mined = TripletMined(margin_euclidean=2.0, unit_length=False)
    rows = points[[0, 1, 2, 0, 1, 4]]
    accuracy, active, _ = (float(metric(labels, rows)) for metric in triplet_metrics(mined))
    assert (accuracy, active) == (0.5, 0.5)


def test_spread_is_the_variance_of_unit_embeddings():
    embeddings = embeddings_of(50)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert float(embedding_spread(None, embeddings)) == pytest.approx(
        units.var(axis=0).sum(), abs=1e-6
    )
    assert float(embedding_spread(None, np.ones((4, 3), np.float32) * [[1], [2], [3], [4]])) < 1e-6


@pytest.mark.parametrize("kind", TRIPLET_LOSSES.values())
def test_losses_survive_their_config(kind):
    loss = kind(margin_squared_euclidean=0.7, unit_length=False)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    labels, embeddings = np.arange(9) // 3, embeddings_of(9)
    assert again.get_config() == loss.get_config()
    assert value(again, labels, embeddings) == value(loss, labels, embeddings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found 0 of them"),
        ({"margin_cosine": 0.2, "margin_euclidean": 1.0}, "found 2 of them"),
        ({"margin_cosine": 0.0}, "margin_cosine: expected a number above 0"),
        ({"margin_euclidean": float("nan")}, "margin_euclidean: expected a number above 0"),
    ],
)
def test_a_margin_that_cannot_be_is_one_line(options, message):
    with pytest.raises(InputError, match=message):
        TripletMined(**options)


_ON_JAX = """
import jax, numpy as np
from training.network.triplet_losses import TRIPLET_LOSSES
labels, embeddings = np.array(labels), np.array(embeddings, np.float32)
found = {}
for name, kind in TRIPLET_LOSSES.items():
    loss = kind(margin_euclidean=0.6)
    value, gradient = jax.jit(jax.value_and_grad(lambda e: loss(labels, e)))(embeddings)
    found[name] = [float(value), np.asarray(gradient).tolist()]
"""


@pytest.mark.slow
def test_both_backends_give_the_same_losses_and_gradients(on_jax: Programs):
    import tensorflow as tf

    labels, embeddings = np.arange(12) // 3, embeddings_of(12, 5)
    found = on_jax.found(_ON_JAX, labels=labels.tolist(), embeddings=embeddings.tolist())
    assert found.keys() == TRIPLET_LOSSES.keys()
    for name, (loss_on_jax, gradient_on_jax) in found.items():
        variable = tf.Variable(embeddings)
        with tf.GradientTape() as tape:
            loss = TRIPLET_LOSSES[name](margin_euclidean=0.6)(labels, variable)
        assert float(loss) == pytest.approx(loss_on_jax, rel=1e-5)
        gradient = np.asarray(tape.gradient(loss, variable))
        assert np.allclose(gradient, gradient_on_jax, atol=1e-5)


_MIRRORED = """
import contextlib
import keras, numpy as np, tensorflow as tf
from training.network.triplet_losses import TRIPLET_LOSSES
random = np.random.default_rng(0)
images, labels = random.normal(size=(12, 6)).astype(np.float32), np.arange(12) % 4
weights = random.normal(size=(6, 5)).astype(np.float32)
found = {}
for name, kind in TRIPLET_LOSSES.items():
    if name == "triplet":
        continue
    for devices in (1, 2):
        two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with two.scope() if devices == 2 else contextlib.nullcontext():
            model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, use_bias=False)])
            model.set_weights([weights])
            loss = kind(margin_euclidean=0.7)
            model.compile(keras.optimizers.SGD(0.5), loss, run_eagerly=devices == 1)
        history = model.fit(images, labels, batch_size=12, shuffle=False, verbose=0)
        found[f"{name} {devices}"] = [history.history["loss"][0], model.get_weights()[0].tolist()]
"""


@pytest.mark.slow
def test_mirrored_replicas_find_the_triplets_of_the_whole_batch(on_two_devices: Programs):
    """Labels lie so that each half of the batch has other triplets than the whole."""
    found = on_two_devices.found(_MIRRORED)
    for name in ("triplet_semihard", "triplet_batch_hard", "triplet_batch_all"):
        one, two = found[f"{name} 1"], found[f"{name} 2"]
        assert two[0] == pytest.approx(one[0], rel=1e-5)
        assert np.allclose(two[1], one[1], atol=1e-5)
