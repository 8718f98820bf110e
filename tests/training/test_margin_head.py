"""Heads that own their loss: against float64 NumPy on both backends, and at the edges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from head_checks import CASES, CLASSES, GRADIENTS, LABELS, OPTIONS, everything, inputs

import training
from evaluator.errors import InputError
from tests.programs import Programs
from training.network.margin_head import MarginHead
from training.network.margins import MARGIN_KINDS, ArcFace

COUNTS = LABELS >= 0
# What each paper states, where no case says else.
DEFAULTS = {
    "arcface": {"margin": 0.5},
    "cosface": {"margin": 0.4},
    "combined": {},
    "adaface": {"margin": 0.4, "h": 0.333},
    "curricularface": {"margin": 0.5},
    "magface": {"l_margin": 0.45, "u_margin": 0.8, "lambda_g": 35.0},
    "elasticface": {"margin": 0.5},
}


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `head_checks` finds in this process, and on JAX in one without TensorFlow."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "tensorflow":
        return {**everything(folder), "folder": folder}
    programs = request.getfixturevalue("on_jax")
    look = "import head_checks, pathlib\nfound = head_checks.everything(pathlib.Path(folder))"
    return {**programs.found(look, folder=str(folder)), "folder": folder}


# ---- The formulas --------------------------------------------------------------------------------


def kept(name: str, embeddings: Any, vectors: Any) -> list[float]:
    """The margin's running values after one batch, from where they begin."""
    share = OPTIONS.get(name, {}).get("momentum", 0.01)
    lengths = np.clip(np.linalg.norm(embeddings, axis=1), 0.001, 100)[COUNTS]
    if name == "adaface":
        return [
            share * lengths.mean() + (1 - share) * 20.0,
            share * lengths.std(ddof=1) + (1 - share) * 100.0,
        ]
    if name == "curricularface":
        cosines = all_cosines(name, embeddings, vectors)
        return [share * cosines[np.arange(len(LABELS)), LABELS][COUNTS].mean()]
    return []


def all_cosines(name: str, embeddings: Any, vectors: Any) -> Any:
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ rows.T
    return cosines.reshape(len(units), -1, CASES[name].get("sub_centers", 1)).max(axis=2)


def losses_of(name: str, embeddings: Any, vectors: Any, state: list[float], lengths: Any) -> Any:
    """Each image's loss by the paper's formula; ``lengths`` are those that get no gradient."""
    m = {**DEFAULTS[name], **OPTIONS.get(name, {})}
    case = CASES[name]
    cosines = all_cosines(name, embeddings, vectors)
    logits, extra = cosines.copy(), np.zeros(len(LABELS))
    for row, label in enumerate(LABELS):
        if label < 0:
            continue
        cosine = cosines[row, label]
        theta = np.arccos(np.clip(cosine, -1, 1))
        angle_add, sub, mul = m.get("margin", 0.0), 0.0, 1.0
        if name == "cosface":
            angle_add, sub = 0.0, m["margin"]
        if name == "combined":
            mul, angle_add, sub = m["angular_mul"], m["angular_add"], m["cosine_sub"]
        if name == "magface":
            a = np.clip(np.linalg.norm(embeddings[row]), m["l_a"], m["u_a"])
            angle_add = m["l_margin"] + (m["u_margin"] - m["l_margin"]) * (a - m["l_a"]) / (
                m["u_a"] - m["l_a"]
            )
            extra[row] = m["lambda_g"] * (1 / a + a / m["u_a"] ** 2)
        angle = mul * theta + angle_add
        target = (
            np.cos(angle) - sub if angle <= np.pi else cosine - angle_add * np.sin(angle_add) - sub
        )
        if name == "adaface":
            z = np.clip((lengths[row] - state[0]) / (state[1] + 0.001) * m["h"], -1, 1)
            angle = np.clip(theta - m["margin"] * z, 0, np.pi)
            target = np.cos(angle) - (m["margin"] * z + m["margin"])
        if name == "curricularface":
            hard = cosines[row] > np.cos(theta + m["margin"])
            logits[row, hard] = cosines[row, hard] * (state[0] + cosines[row, hard])
        logits[row, label] = target
    logits *= case["scale"]
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothing = case.get("label_smoothing", 0.0)
    wanted = np.full(logits.shape, smoothing / CLASSES)
    wanted[np.arange(len(LABELS)), LABELS] += 1 - smoothing
    return np.where(COUNTS, -(wanted * logs).sum(axis=1) + extra, 0.0)


def slopes(function: Callable[[Any], Any], at: Any, step: float = 1e-6) -> Any:
    gradient = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_margin_is_its_papers_formula_in_value_gradient_and_state(found: Any, name: str) -> None:
    answer = found["margins"][name]
    embeddings, vectors = (each.astype(np.float64) for each in inputs(name))
    state = kept(name, embeddings, vectors)
    np.testing.assert_allclose(answer["state"], state, rtol=1e-5)
    lengths = np.linalg.norm(embeddings, axis=1)

    def loss(embeddings: Any, vectors: Any) -> float:
        return float(losses_of(name, embeddings, vectors, state, lengths).mean())

    assert answer["loss"] == pytest.approx(loss(embeddings, vectors), rel=1e-5)
    expected = slopes(lambda e: loss(e, vectors), embeddings)
    np.testing.assert_allclose(answer["by_embedding"], expected, rtol=2e-3, atol=2e-4)
    expected = slopes(lambda v: loss(embeddings, v), vectors)
    np.testing.assert_allclose(answer["by_vectors"], expected, rtol=2e-3, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_evaluation_is_over_all_classes_in_blocks_and_moves_nothing(found: Any, name: str) -> None:
    answer = found["margins"][name]
    embeddings, vectors = (each.astype(np.float64) for each in inputs(name))
    lengths = np.linalg.norm(embeddings, axis=1)
    expected = losses_of(name, embeddings, vectors, answer["state"], lengths)
    right = (all_cosines(name, embeddings, vectors).argmax(axis=1) == LABELS) & COUNTS
    np.testing.assert_allclose(np.transpose(answer["figures"])[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.transpose(answer["figures"])[1], right)
    assert answer["state after evaluation"] == answer["state"]
    # The logs are of the images that have a label.
    means = [expected.sum() / COUNTS.sum(), right.sum() / COUNTS.sum()]
    np.testing.assert_allclose(answer["logs"], means, rtol=1e-5)


@pytest.mark.slow
def test_sampled_classes_are_those_of_the_batch_and_others(found: Any) -> None:
    embeddings, vectors = (each.astype(np.float64) for each in inputs("arcface"))
    people = set(LABELS[COUNTS])
    for batch in found["sampled"]["batches"]:
        rows = np.flatnonzero(np.any(np.array(batch["by_vectors"]) != 0, axis=1))
        # 9 images: as many classes as there are, whatever the rate.
        assert len(rows) == CLASSES
        assert people <= set(rows)
        expected = losses_of("arcface", embeddings, vectors, [], None).mean()
        assert batch["loss"] == pytest.approx(expected, rel=1e-5)
    draws = np.array(found["many"]["rows"])
    assert draws.shape == (60, 10)  # a quarter of 40
    assert all(len(set(row)) == 10 and {5, 17} <= set(row) for row in draws)
    counts = np.bincount(draws.ravel(), minlength=40)
    assert counts[5] == counts[17] == 60
    others = np.delete(counts, [5, 17])
    # 60 x 8 of 38, without replacement: 37 degrees of freedom, of which 80 leaves 1 in 10,000.
    expected = 60 * 8 / 38
    assert ((others - expected) ** 2 / expected).sum() * 38 / 30 < 80
    assert len({tuple(row) for row in draws}) > 50
    assert len(set(found["sampled"]["elastic"])) == 3  # margins drawn anew


@pytest.mark.slow
def test_rows_without_a_gradient_keep_weight_and_momentum(found: Any) -> None:
    for nesterov in (False, True):
        weight, other = np.ones((4, 2)), np.ones((4, 2))
        speed, other_speed = np.zeros((4, 2)), np.zeros((4, 2))
        for gradient in GRADIENTS:
            hit = np.any(gradient != 0, axis=1)
            step = 0.5 * (gradient + 0.1 * weight)
            new = 0.9 * speed - step
            speed[hit] = new[hit]
            weight[hit] += (0.9 * new - step if nesterov else new)[hit]
            step = 0.5 * (gradient + 0.1 * other)
            other_speed = 0.9 * other_speed - step
            other += 0.9 * other_speed - step if nesterov else other_speed
        lazy, usual = found["steps"][str(nesterov)]
        np.testing.assert_allclose(lazy, weight, rtol=1e-6)
        np.testing.assert_allclose(usual, other, rtol=1e-6)


def test_rows_of_a_sparse_gradient_move_once_however_often_they_stand_there() -> None:
    for momentum in (0.0, 0.9):
        made = []
        for sparse in (True, False):
            weight = keras.Variable(np.ones((4, 2), np.float32), name="class_vectors")
            sgd = training.SGD(0.1, learning_rate=0.5, momentum=momentum, lazy_rows=True)
            sgd.build([weight])
            for gradient in GRADIENTS:
                rows = [2, 0, 2, 3, 1]
                parts = np.stack([gradient[2] / 4, *gradient[[0, 2, 3, 1]]])
                parts[2] *= 0.75
                slices = tf.IndexedSlices(tf.constant(parts), tf.constant(rows), (4, 2))
                sgd.apply([slices if sparse else tf.constant(gradient)], [weight])
            made.append([np.asarray(each) for each in (weight, *sgd.momentums)])
        for one, other in zip(*made, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


# ---- Models --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_partial_fc_with_adaface_fits_logs_and_goes_on_where_it_was(found: Any) -> None:
    answer = found["resumed"]
    assert all(answer["same"])
    logs = answer["history"]
    assert set(logs) == {
        each for name in ("loss", "head_loss", "head_accuracy") for each in (name, f"val_{name}")
    }
    np.testing.assert_allclose(logs["loss"], logs["head_loss"], rtol=1e-5)
    np.testing.assert_allclose(logs["val_loss"], logs["val_head_loss"], rtol=1e-5)
    assert logs["val_head_loss"][-1] < logs["val_head_loss"][0]
    # Two of the embedding, class vectors, the state of the draws, mean and deviation.
    assert answer["weights"] == 6
    assert answer["state"][0] != answer["state"][1]


@pytest.mark.slow
def test_the_founding_way_is_three_graphs_on_the_same_weights(found: Any) -> None:
    answer = found["founding"]
    for logs in answer["history"].values():
        assert {"loss", "logits_accuracy"} <= set(logs)
    assert answer["history"]["cent"]["center_loss"] > 0
    assert answer["history"]["cent"]["center_loss"] < answer["history"]["cent"]["loss"]
    embedding, weight = np.array(answer["embedding"]), np.array(answer["weight"])
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    weight /= np.linalg.norm(weight, axis=0)
    np.testing.assert_allclose(answer["cosines"], embedding @ weight, atol=1e-5)
    assert max(answer["apart"]) < 1e-6
    assert answer["centers"] == answer["held"]
    assert np.abs(answer["centers"]).max() > 0
    assert answer["iterations"] == [2, 2]


@pytest.mark.slow
def test_the_evaluator_finds_the_embedding_in_such_a_file(found: Any) -> None:
    from evaluator.models.load import load_embedder
    from evaluator.models.options import LoadOptions

    images = np.random.default_rng(0).normal(size=(24, 4, 4, 3)).astype(np.float32)
    # Up to 45 in size.
    embedder = load_embedder(found["folder"] / "whole.keras", LoadOptions(profile="unit"))
    np.testing.assert_allclose(
        embedder.forward(images), found["resumed"]["embedding"], rtol=1e-5, atol=1e-5
    )
    images = np.random.default_rng(0).random((12, 4, 4, 3)).astype(np.float32)
    for name in ("arc.keras", "cent.keras"):
        embedder = load_embedder(found["folder"] / name, LoadOptions(profile="unit"))
        np.testing.assert_allclose(
            embedder.forward(images), found["founding"]["embedding"], rtol=1e-4, atol=1e-5
        )


# ---- Edges ---------------------------------------------------------------------------------------


@pytest.fixture
def precision() -> Iterator[Callable[[str], None]]:
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", sorted(MARGIN_KINDS))
def test_gradients_are_finite_at_the_edges(
    name: str, policy: str, precision: Callable[[str], None]
) -> None:
    precision(policy)
    head = MarginHead(12, MARGIN_KINDS[name](), seed=0)
    head.build((None, 64))
    vectors = head.class_vectors.numpy()
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    # Parallel, opposite, zero, 1e-7 apart, tiny, long.
    rows = [units[0], -units[1], 0 * units[2], units[3] + 1e-7 * np.roll(units[3], 1)]
    rows = np.stack([*rows, 1e-4 * units[4], *(30 * units[5:10]), 200 * units[10]])
    low = keras.mixed_precision.dtype_policy().compute_dtype
    embeddings = tf.constant(rows.astype(np.float32), low)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        head(embeddings, np.arange(len(rows)), training=True)
        (loss,) = head.losses
    found = tape.gradient(loss, [embeddings, head.class_vectors.value])
    assert loss.dtype == tf.float32
    assert np.isfinite(loss.numpy())
    for each in found:
        assert np.isfinite(tf.convert_to_tensor(each).numpy().astype(np.float32)).all()
    assert np.abs(tf.convert_to_tensor(found[1]).numpy()).max() > 0
    assert np.isfinite([each.numpy() for each in head.kept]).all()


MIRRORED = """
import keras, numpy as np, tensorflow as tf, training as t
random = np.random.default_rng(0)
images = random.normal(size=(16, 6)).astype(np.float32)
labels = (np.arange(16) % 11).astype(np.int32)
def trained(margin, eagerly=False):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="images")
    basic = keras.Model(inputs, keras.layers.Dense(4, name="embedding")(inputs))
    head = t.MarginHead(30, margin, sample_rate=0.5, seed=5, name="head")
    model = t.whole_model(basic, head, center=t.CenterLoss(30, name="center"))
    optimizer = t.SGD(5e-4, learning_rate=0.01, momentum=0.9, lazy_rows=True)
    model.compile(optimizer, run_eagerly=eagerly)
    data = tf.data.Dataset.from_tensor_slices(((images, labels), labels)).batch(8).repeat()
    history = model.fit(data, epochs=2, steps_per_epoch=2, verbose=0).history
    centers = model.get_layer("center").centers
    arrays = [each.numpy().tolist() for each in (head.class_vectors, *head.kept, centers)]
    return {"arrays": arrays, "history": history}
found = []
for margin in (t.AdaFace(momentum=0.2), t.CurricularFace(momentum=0.2)):
    one = trained(margin, eagerly=True)
    with tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]).scope():
        found.append([one, trained(margin)])
"""


@pytest.mark.slow
def test_two_replicas_are_one_device(on_two_devices: Programs) -> None:
    for one, two in on_two_devices.found(MIRRORED):
        for a, b in zip(one["arrays"], two["arrays"], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        for key, values in one["history"].items():
            np.testing.assert_allclose(two["history"][key], values, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": 0.5}, "margin: expected one of ArcFace, CosFace"),
        ({"sample_rate": 0.0}, "sample_rate: expected a share above 0 up to 1, found 0.0"),
        ({"label_smoothing": 1.0}, "label_smoothing: expected a number from 0 up to below 1"),
        ({"s": 64}, "MarginHead: s: there is no such option; use scale"),
        ({"m": 0.5}, "MarginHead: m: there is no such option; use angular_add"),
    ],
)
def test_a_head_that_cannot_be_is_an_input_error(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MarginHead(10, **{"margin": ArcFace(), **arguments})


def test_margins_come_back_from_their_config() -> None:
    for kind in MARGIN_KINDS.values():
        margin = kind()
        again = keras.saving.deserialize_keras_object(
            json.loads(json.dumps(keras.saving.serialize_keras_object(margin)))
        )
        assert again == margin
    with pytest.raises(InputError, match="0 < l_a < u_a"):
        training.MagFace(l_a=5, u_a=5)
    with pytest.raises(InputError, match="kind: expected arc or cos"):
        training.ElasticFace(kind="sin")
    with pytest.raises(InputError, match="AdaFace: h: expected a finite number"):
        training.AdaFace(h=float("nan"))
