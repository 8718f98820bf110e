"""Networks compute the same with their batch normalisation folded into the weights before it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.models.keras.folding import folded
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import Lazy

keras, L = Lazy("keras"), Lazy("keras.layers")
IMAGES = np.random.default_rng(0).random((3, 12, 12, 3), np.float32)


def network(body: Callable[[Any], Any]) -> Any:
    """A model whose weights and statistics are all drawn, none 0 or 1."""
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, body(image))
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.2, 1.5, each.shape) for each in model.get_weights()])
    return model


def norms(model: Any) -> int:
    return sum(isinstance(layer, L.BatchNormalization) for layer in model.layers)


FOLDED = {
    "convolution": lambda x: L.BatchNormalization()(L.Conv2D(5, 3, use_bias=False)(x)),
    "strides and padding": lambda x: L.BatchNormalization()(
        L.Conv2D(5, 3, strides=2, padding="same", use_bias=False)(x)
    ),
    "bias": lambda x: L.BatchNormalization()(L.Conv2D(5, 3)(x)),
    "neither scale nor center": lambda x: L.BatchNormalization(scale=False, center=False)(
        L.Conv2D(5, 3, use_bias=False)(x)
    ),
    "epsilon": lambda x: L.BatchNormalization(epsilon=0.5)(L.Conv2D(5, 3)(x)),
    "groups": lambda x: L.BatchNormalization()(L.Conv2D(6, 3, groups=3, use_bias=False)(x)),
    "depthwise": lambda x: L.BatchNormalization()(L.DepthwiseConv2D(3, use_bias=False)(x)),
    "depthwise, two of each": lambda x: L.BatchNormalization()(
        L.DepthwiseConv2D(3, depth_multiplier=2)(x)
    ),
    "dense": lambda x: L.BatchNormalization()(L.Dense(7)(L.Flatten()(x))),
    "dense on a map": lambda x: L.BatchNormalization()(L.Dense(7, use_bias=False)(x)),
    "then ReLU": lambda x: L.ReLU()(L.BatchNormalization()(L.Conv2D(5, 3)(x))),
    "two in a row": lambda x: L.BatchNormalization()(
        L.Conv2D(4, 1)(L.PReLU()(L.BatchNormalization()(L.Conv2D(5, 3, use_bias=False)(x))))
    ),
}

KEPT = {
    "no layer before": lambda x: L.BatchNormalization()(x),
    "an activation between": lambda x: L.BatchNormalization()(L.Conv2D(5, 3, activation="relu")(x)),
    "the output is needed too": lambda x: L.Concatenate()(
        [(y := L.Conv2D(5, 3)(x)), L.BatchNormalization()(y)]
    ),
    "a convolution used twice": lambda x: (
        lambda conv: L.Add()([L.BatchNormalization()(conv(x)), conv(x)])
    )(L.Conv2D(5, 3)),
    "a norm used twice": lambda x: (
        lambda norm: L.Add()([norm(L.Conv2D(5, 3)(x)), norm(L.Conv2D(5, 3)(x))])
    )(L.BatchNormalization()),
    "another axis": lambda x: L.BatchNormalization(axis=1)(L.Conv2D(5, 3)(x)),
    "half precision": lambda x: L.BatchNormalization(dtype="mixed_float16")(
        L.Conv2D(5, 3, dtype="mixed_float16")(x)
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_a_norm_after_a_linear_layer_is_folded_and_nothing_changes(name: str) -> None:
    model = network(FOLDED[name])
    expected = model(IMAGES, training=False)
    found = folded(model)
    assert norms(found) == 0
    np.testing.assert_allclose(found(IMAGES, training=False), expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", KEPT)
def test_a_norm_that_cannot_be_folded_stays(name: str) -> None:
    model = network(KEPT[name])
    before = norms(model)
    expected = np.asarray(model(IMAGES, training=False))
    found = folded(model)
    assert norms(found) == before > 0
    assert np.array_equal(found(IMAGES, training=False), expected)


@pytest.mark.parametrize("variance", [np.nan, np.inf, -1.0])
def test_statistics_that_are_not_sound_give_what_they_gave_and_warn_of_nothing(
    variance: float,
) -> None:
    model = network(FOLDED["convolution"])
    model.layers[-1].moving_variance.assign([0.5, variance, 1, 1, 1])
    expected = np.asarray(model(IMAGES, training=False))
    found = np.asarray(folded(model)(IMAGES, training=False))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    assert np.isfinite(expected).all() == (variance == np.inf)


def test_a_residual_network_keeps_its_shortcuts() -> None:
    def body(x: Any) -> Any:
        start = L.Conv2D(4, 3, padding="same")(x)
        y = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(start))
        y = L.Add()([start, L.ReLU()(y)])
        return L.Dense(6)(L.GlobalAveragePooling2D()(L.BatchNormalization()(y)))

    model = network(body)
    expected = model(IMAGES, training=False)
    found = folded(model)
    assert norms(found) == 1  # the one after the sum
    np.testing.assert_allclose(found(IMAGES, training=False), expected, rtol=2e-5)


def test_names_that_keras_would_make_up_may_be_in_the_file() -> None:
    def body(x: Any) -> Any:
        y = L.BatchNormalization()(L.Conv2D(3, 1, use_bias=False)(x))
        for number in range(300):
            y = L.Activation("linear", name=f"add_{number}")(y)
        return L.Add(name="add")([x, y])

    model = network(body)
    expected = model(IMAGES, training=False)
    found = folded(model)
    assert norms(found) == 0
    np.testing.assert_allclose(found(IMAGES, training=False), expected, rtol=2e-5)


def test_a_sequence_of_layers_and_nested_models_are_taken() -> None:
    inner = keras.Sequential([keras.Input((10, 10, 5)), L.Conv2D(3, 3), L.BatchNormalization()])
    model = keras.Sequential(
        [keras.Input((12, 12, 3)), L.Conv2D(5, 3), L.BatchNormalization(), inner]
    )
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.2, 1.5, each.shape) for each in model.get_weights()])
    expected = model(IMAGES, training=False)
    found = folded(model)
    assert norms(found) == 0
    np.testing.assert_allclose(found(IMAGES, training=False), expected, rtol=2e-5)


def test_a_loaded_file_computes_folded_and_stays_as_it_is(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, use_bias=False)(x)))
        return L.Dense(4, name="embedding")(L.GlobalAveragePooling2D()(x))

    model = network(body)
    path = tmp_path / "model.keras"
    model.save(path)
    before = path.read_bytes()
    embedder = load_embedder(path, LoadOptions(profile="unit"))
    np.testing.assert_allclose(embedder.forward(IMAGES), model(IMAGES, training=False), rtol=2e-5)
    assert path.read_bytes() == before
