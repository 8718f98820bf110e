"""Softmax and margins: values and gradients against float64 NumPy and the seed's own formulas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from evaluator.errors import InputError
from tests.programs import Programs
from training.network.heads import NormDense
from training.network.losses import MARGINS, MarginLoss, SoftmaxLoss

Floats = NDArray[np.floating[Any]]

MARGIN_NAMES = sorted(MARGINS)
# Targets at these angles; the last three pass pi - 0.5, where the margins of most presets end.
ANGLES = np.array([0.02, 0.4, 1.0, 1.6, 2.3, 2.75, 2.95, 3.1])
LABELS = np.array([0, 3, 5, 1, 2, 4, 0, 3])


def some_cosines(seed: int = 0) -> Floats:
    cosines = np.random.default_rng(seed).uniform(-0.6, 0.6, (len(LABELS), 6))
    cosines[np.arange(len(LABELS)), LABELS] = np.cos(ANGLES)
    return cosines


def softmax_loss(logits: Floats, labels: NDArray[np.integer[Any]]) -> Floats:
    """-log softmax at the label, float64."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    target = shifted[np.arange(len(labels)), labels]
    return np.log(np.exp(shifted).sum(axis=1)) - target


def margin_loss(cosines: Floats, labels: NDArray[np.integer[Any]], m: Any) -> Floats:
    """The margin's definition, target by target, in float64."""
    logits = m["scale"] * cosines
    for row, label in enumerate(labels):
        cosine = cosines[row, label]
        angle = m["angular_mul"] * np.arccos(cosine) + m["angular_add"]
        target = np.cos(angle) - m["cosine_sub"]
        if angle > np.pi and m["fallback"] == "cosine":
            target = cosine
        if angle > np.pi and m["fallback"] == "linear":
            target = cosine - m["angular_add"] * np.sin(m["angular_add"]) - m["cosine_sub"]
        logits[row, label] = m["scale"] * target
    return softmax_loss(logits, labels)


def differences(loss: Callable[[Floats], Floats], at: Floats, step: float = 1e-6) -> Floats:
    """Central differences of the mean loss."""
    gradient = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (loss(up).mean() - loss(down).mean()) / (2 * step)
    return gradient


def value_and_gradient(loss: Any, labels: Any, scores: Floats) -> tuple[float, Floats]:
    values = tf.constant(scores, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = loss(labels, values)
    return float(mean), tape.gradient(mean, values).numpy()


def seed_first_form(one_hot: Any, cosines: Any, m: Any) -> Any:
    """The seed's arcface_loss after its division by the embedding's length, arccosine unclipped."""
    theta = tf.acos(cosines)
    passed = theta * m["angular_mul"] + m["angular_add"] > np.pi
    margin_here = tf.cast(tf.where(passed, tf.zeros_like(one_hot), one_hot), tf.bool)
    angle = tf.where(margin_here, theta * m["angular_mul"] + m["angular_add"], theta)
    cosine = tf.cos(angle)
    logits = tf.where(margin_here, cosine - m["cosine_sub"], cosine) * m["scale"]
    return tf.keras.losses.categorical_crossentropy(one_hot, logits, from_logits=True)


def seed_second_form(one_hot: Any, cosines: Any, m: Any) -> Any:
    """The seed's second arcface_loss: cos(theta + m), or cos(theta) - m sin(m) past pi - m."""
    s, add = m["scale"], m["angular_add"]
    with_margin = cosines * np.cos(add) - tf.sqrt(1 - cosines**2) * np.sin(add)
    target = tf.where(cosines > np.cos(np.pi - add), with_margin, cosines - add * np.sin(add))
    logits = s * (target * one_hot + cosines * (1 - one_hot))
    return tf.keras.losses.categorical_crossentropy(one_hot, logits, from_logits=True)


@pytest.fixture
def precision() -> Iterator[Callable[[str], None]]:
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("name", MARGIN_NAMES)
def test_a_margin_and_its_gradient_equal_float64_numpy(name: str) -> None:
    cosines = some_cosines()
    value, gradient = value_and_gradient(MarginLoss(**MARGINS[name]), LABELS, cosines)
    assert value == pytest.approx(margin_loss(cosines, LABELS, MARGINS[name]).mean(), rel=1e-5)
    expected = differences(lambda c: margin_loss(c, LABELS, MARGINS[name]), cosines)
    # float32: a cosine of 0.9998 has lost four digits of its angle.
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=1e-4)


def test_softmax_and_its_gradient_equal_float64_numpy() -> None:
    logits = 20 * some_cosines()
    value, gradient = value_and_gradient(SoftmaxLoss(), LABELS, logits)
    assert value == pytest.approx(softmax_loss(logits, LABELS).mean(), rel=1e-6)
    expected = differences(lambda x: softmax_loss(x, LABELS), logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_the_fallback_none_goes_on_with_the_formula() -> None:
    m = {**MARGINS["combined"], "fallback": "none"}
    cosines = some_cosines()
    value, gradient = value_and_gradient(MarginLoss(**m), LABELS, cosines)
    assert value == pytest.approx(margin_loss(cosines, LABELS, m).mean(), rel=1e-5)
    expected = differences(lambda c: margin_loss(c, LABELS, m), cosines)
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["seed", "seed_swapped", "seed_threshold"])
def test_the_seed_formulas_give_the_same_loss_and_gradient(name: str) -> None:
    form = seed_second_form if name == "seed_threshold" else seed_first_form
    cosines = some_cosines(1)
    one_hot = tf.one_hot(LABELS, cosines.shape[1])
    theirs = value_and_gradient(
        lambda hot, c: tf.reduce_mean(form(hot, c, MARGINS[name])), one_hot, cosines
    )
    ours = value_and_gradient(MarginLoss(**MARGINS[name]), LABELS, cosines)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=2e-3, atol=1e-4)


def test_the_seed_preset_is_cos_of_nine_tenths_theta_plus_15_less_40() -> None:
    cosines = some_cosines()[:1]
    cosines[0, 0] = np.cos(1.0)
    logits = 64 * cosines
    logits[0, 0] = 64 * (np.cos(0.9 * 1.0 + 0.15) - 0.4)
    value, _ = value_and_gradient(MarginLoss(**MARGINS["seed"]), LABELS[:1], cosines)
    assert value == pytest.approx(softmax_loss(logits, LABELS[:1])[0], rel=1e-6)


def edge_embeddings(weight: Floats) -> Floats:
    """Parallel, opposite, zero, 1e-7 apart, tiny, and parallel at other lengths; labels 0..n-1."""
    units = (weight / np.linalg.norm(weight, axis=0)).T
    apart = units[3] + 1e-7 * np.roll(units[3], 1)
    rows = [units[0], -units[1], 0 * units[2], apart, 1e-4 * units[4], *(30 * units[5:10])]
    return np.stack(rows).astype(np.float32)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", [*MARGIN_NAMES, "softmax"])
def test_edges_are_finite_in_every_precision(
    name: str, policy: str, precision: Callable[[str], None]
) -> None:
    precision(policy)
    keras.utils.set_random_seed(0)
    head = NormDense(12, cosine=name != "softmax")
    head.build((None, 64))
    loss = SoftmaxLoss() if name == "softmax" else MarginLoss(**MARGINS[name])
    low = keras.mixed_precision.dtype_policy().compute_dtype
    rows = edge_embeddings(head.norm_dense_w.numpy())
    embeddings = tf.constant(rows, low)
    labels = np.arange(len(rows))
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        scores = head(embeddings)
        value = loss(labels, scores)
    by_embedding, by_weight = tape.gradient(value, [embeddings, head.norm_dense_w.value])
    assert scores.dtype == value.dtype == tf.float32
    assert np.isfinite(value.numpy())
    assert np.isfinite(by_embedding.numpy().astype(np.float32)).all()
    assert np.isfinite(by_weight.numpy()).all()
    assert np.abs(by_weight.numpy()).max() > 0


def test_the_seed_formula_is_not_finite_at_such_edges() -> None:
    keras.utils.set_random_seed(0)
    head = NormDense(12, cosine=True)
    head.build((None, 64))
    cosines = np.clip(head(edge_embeddings(head.norm_dense_w.numpy())).numpy(), -1, 1)
    one_hot = tf.one_hot(np.arange(len(cosines)), 12)
    _, gradient = value_and_gradient(
        lambda hot, c: tf.reduce_mean(seed_first_form(hot, c, MARGINS["seed"])), one_hot, cosines
    )
    assert not np.isfinite(gradient).all()


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000002, -1.0000002, 1 - 6e-8, 1 - 1.2e-7])
@pytest.mark.parametrize("name", MARGIN_NAMES)
def test_a_target_cosine_at_or_past_one_is_finite(name: str, cosine: float) -> None:
    cosines = some_cosines()
    cosines[np.arange(len(LABELS)), LABELS] = cosine
    value, gradient = value_and_gradient(MarginLoss(**MARGINS[name]), LABELS, cosines)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_large_logits_do_not_overflow() -> None:
    logits = 1e30 * some_cosines()
    value, gradient = value_and_gradient(SoftmaxLoss(), LABELS, logits)
    assert value == pytest.approx(softmax_loss(logits, LABELS).mean(), rel=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [SoftmaxLoss(), MarginLoss(**MARGINS["arcface"])])
def test_labels_may_be_a_column_of_any_integer_type(loss: Any) -> None:
    cosines = some_cosines()
    expected = value_and_gradient(loss, LABELS, cosines)
    for labels in (LABELS[:, None], LABELS.astype(np.int32), LABELS.astype(np.uint8)[:, None]):
        value, gradient = value_and_gradient(loss, labels, cosines)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


def test_sample_weights_weigh_value_and_gradient() -> None:
    m = MARGINS["combined"]
    weights = np.linspace(0, 2, len(LABELS)).astype(np.float32)
    cosines = some_cosines()
    value, gradient = value_and_gradient(
        lambda labels, c: MarginLoss(**m)(labels, c, sample_weight=weights), LABELS, cosines
    )
    assert value == pytest.approx((weights * margin_loss(cosines, LABELS, m)).mean(), rel=1e-5)
    expected = differences(lambda c: weights * margin_loss(c, LABELS, m), cosines)
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=1e-4)


def test_xla_gives_the_same() -> None:
    loss = MarginLoss(**MARGINS["arcface"])
    cosines = some_cosines()
    compiled = tf.function(lambda c: value_and_tape(loss, c), jit_compile=True)
    value, gradient = compiled(tf.constant(cosines, tf.float32))
    expected = value_and_gradient(loss, LABELS, cosines)
    assert float(value) == pytest.approx(expected[0], rel=1e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-5)


def value_and_tape(loss: Any, scores: Any) -> tuple[Any, Any]:
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(LABELS, scores)
    return value, tape.gradient(value, scores)


@pytest.mark.parametrize(
    "loss",
    [
        SoftmaxLoss(name="other", reduction="sum"),
        *(MarginLoss(**{**MARGINS[name], "scale": 30.0}) for name in MARGIN_NAMES),
    ],
)
def test_a_config_brings_the_same_loss_back(loss: Any) -> None:
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == loss.get_config()
    cosines = some_cosines()
    assert float(again(LABELS, cosines)) == float(loss(LABELS, cosines))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0}, "scale: expected a finite number above 0, found 0.0"),
        ({"angular_mul": -1.0}, "angular_mul: expected a finite number above 0, found -1.0"),
        ({"angular_add": float("nan")}, "angular_add: expected a finite number, found nan"),
        ({"cosine_sub": float("inf")}, "cosine_sub: expected a finite number, found inf"),
        ({"fallback": "liner"}, "fallback: expected one of linear, cosine, none; found 'liner'"),
    ],
)
def test_a_margin_that_cannot_be_is_an_input_error(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MarginLoss(**arguments)


JAX_SCRIPT = """
import jax, keras, numpy as np
from training.network.losses import MARGINS, MarginLoss, SoftmaxLoss
cosines, labels = np.array(cosines, np.float32), np.array(labels)
losses = {name: MarginLoss(**m) for name, m in MARGINS.items()} | {"softmax": SoftmaxLoss()}
out = {}
for name, loss in losses.items():
    value, gradient = jax.jit(jax.value_and_grad(lambda c: loss(labels, c)))(cosines)
    out[name] = [float(value), np.asarray(gradient).tolist()]
found = {"backend": keras.backend.backend(), "losses": out}
"""


@pytest.mark.slow
def test_jax_gives_the_same_losses_and_gradients(on_jax: Programs) -> None:
    cosines = some_cosines()
    answer = on_jax.found(JAX_SCRIPT, cosines=cosines.tolist(), labels=LABELS.tolist())
    assert answer["backend"] == "jax"
    assert set(answer["losses"]) == {*MARGIN_NAMES, "softmax"}
    for name, (value, gradient) in answer["losses"].items():

        def reference(scores: Floats, name: str = name) -> Floats:
            if name == "softmax":
                return softmax_loss(scores, LABELS)
            return margin_loss(scores, LABELS, MARGINS[name])

        assert value == pytest.approx(reference(cosines).mean(), rel=1e-5)
        expected = differences(reference, cosines)
        np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=1e-4)
