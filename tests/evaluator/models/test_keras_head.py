"""A Keras network that ends in classes is cut before them, and no other one is."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, trunk

CUSTOM_HEADS = """
import {package} as keras

class ArcMarginPenaltyLogists(keras.layers.Layer):
    def __init__(self, num_classes=9, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, shape):
        size = shape[-1] if shape[0] is None else shape[0][-1]
        self.w = self.add_weight(name="w", shape=(size, self.num_classes))

    def call(self, inputs):
        embedding = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        return keras.activations.linear(embedding @ self.w)

    def compute_output_shape(self, shape):
        return (None, self.num_classes)

    def get_config(self):
        return {{**super().get_config(), "num_classes": self.num_classes}}
"""


def load(path: Path, **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", **options}))


def assert_gives(embedder: Embedder, package: Any, model: Any, tensor: Any, images: Any) -> None:
    expected = package.Model(model.inputs[0], tensor)(images, training=False)
    np.testing.assert_allclose(embedder.forward(images), np.asarray(expected), rtol=1e-4, atol=1e-6)


def features(package: Any, image: Any, **last: Any) -> Any:
    """What stands before an end: little, for such networks are built and read by the dozen."""
    pooled = package.layers.GlobalAveragePooling2D()(image)
    return package.layers.Dense(**{"units": 6, "name": "fc", **last})(pooled)


# By name: from the embedding to the classes.
SOFTMAX: dict[str, Callable[[Any, Any], Any]] = {
    "in the dense layer": lambda kl, x: kl.Dense(9, activation="softmax")(x),
    "log_softmax": lambda kl, x: kl.Dense(9, activation="log_softmax")(x),
    "its own layer": lambda kl, x: kl.Softmax()(kl.Dense(9)(x)),
    "an activation": lambda kl, x: kl.Activation("softmax")(kl.Dense(9)(x)),
    "behind dropout": lambda kl, x: kl.Dense(9, activation="softmax")(kl.Dropout(0.4)(x)),
    "dropout and norm behind": lambda kl, x: kl.Softmax()(
        kl.BatchNormalization()(kl.Dropout(0.4)(kl.Dense(9)(x)))
    ),
    "scaled": lambda kl, x: kl.Softmax()(kl.Rescaling(64.0)(kl.Dense(9)(x))),
    "float32 at the end": lambda kl, x: kl.Activation("linear")(
        kl.Dense(9, activation="softmax")(x)
    ),
    "a convolution": lambda kl, x: kl.Activation("softmax")(
        kl.Reshape((9,))(kl.Conv2D(9, 1)(kl.Dropout(0.1)(kl.Reshape((1, 1, 6))(x))))
    ),
}


@pytest.mark.parametrize("kind", SOFTMAX)
def test_a_softmax_at_the_end_is_cut_off_with_its_dense_layer(
    package: Any, saved: Callable[..., Path], images: np.ndarray, kind: str
) -> None:
    image = package.Input((*SIZE, 3))
    vector = features(package, image)
    model = package.Model(image, SOFTMAX[kind](package.layers, vector))
    path = saved(model, "m.keras" if package.__name__ == "keras" else "m.h5")
    embedder = load(path)
    assert_gives(embedder, package, model, vector, images)
    (note,) = [note for note in embedder.notes if "whole training model" in note]
    assert "9 classes" in note
    assert "softmax" in note
    # The classes, where they are asked for.
    last = model.layers[-1].name
    np.testing.assert_allclose(
        load(path, output=last).forward(images), model(images, training=False), atol=1e-5
    )


def test_of_several_dense_layers_only_the_last_is_cut_off(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = package.Input((*SIZE, 3))
    first = package.layers.Dense(8, activation="relu")(features(package, image))
    second = package.layers.Dense(7, activation="relu", name="fc2")(first)
    model = package.Model(image, package.layers.Dense(9, activation="softmax")(second))
    assert_gives(load(saved(model)), package, model, second, images)


@pytest.mark.parametrize("name", ["logits", "predictions", "logits_1", "fc_logits", "top_Logits"])
def test_a_last_dense_layer_whose_name_says_classes_is_cut_off(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str
) -> None:
    image = package.Input((*SIZE, 3))
    vector = features(package, image)
    model = package.Model(image, package.layers.Dense(9, name=name)(vector))
    embedder = load(saved(model))
    assert_gives(embedder, package, model, vector, images)
    assert any(f"its name {name!r}" in note for note in embedder.notes)


BETWEEN: dict[str, Callable[[Any, Any], Any]] = {
    "nothing": lambda kl, x: x,
    "dropout": lambda kl, x: kl.Dropout(0.4)(x),
    "a norm": lambda kl, x: kl.BatchNormalization()(x),
    "unit length": lambda kl, x: kl.UnitNormalization()(x),
    "a norm of layers": lambda kl, x: kl.LayerNormalization()(x),
    "an activation": lambda kl, x: kl.Activation("relu")(x),
    "all three": lambda kl, x: kl.Dropout(0.1)(kl.ReLU()(kl.BatchNormalization()(x))),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_a_last_dense_layer_behind_one_named_embedding_is_cut_off(
    package: Any, saved: Callable[..., Path], images: np.ndarray, between: str
) -> None:
    image = package.Input((*SIZE, 3))
    embedding = trunk(package, image)
    fed = BETWEEN[between](package.layers, embedding)
    model = package.Model(image, package.layers.Dense(9, name="fc")(fed))
    embedder = load(saved(model))
    assert_gives(embedder, package, model, embedding, images)
    assert any("behind a layer named 'embedding'" in note for note in embedder.notes)


WHOLE: dict[str, Callable[[Any, Any], Any]] = {
    "an embedding of predictions": lambda kl, x: kl.Dense(9, name="predictions_embedding")(x),
    "a second embedding": lambda kl, x: kl.Dense(9, name="embedding_2")(
        kl.Dense(12, name="embedding")(x)
    ),
    "both signs": lambda kl, x: kl.Concatenate()([x, kl.Activation("tanh")(x)]),
    "two levels": lambda kl, x: kl.Concatenate()([x, kl.Dense(5, name="second")(x)]),
    "a dense layer": lambda kl, x: kl.Dense(9, name="fc")(x),
    "two of them": lambda kl, x: kl.Dense(9, name="fc2")(kl.Dense(8, name="fc1")(x)),
    "a norm at the end": lambda kl, x: kl.BatchNormalization(name="bn")(kl.Dense(9)(x)),
    "pre_logits": lambda kl, x: kl.Dense(9, name="pre_logits")(x),
    "prelogits": lambda kl, x: kl.Dense(9, name="prelogits")(x),
    "an embedding of a norm": lambda kl, x: kl.BatchNormalization(name="embedding")(kl.Dense(9)(x)),
    "logits within": lambda kl, x: kl.Dense(9, name="fc")(kl.Dense(8, name="logits")(x)),
    "softmax within": lambda kl, x: kl.Dense(9, name="fc")(kl.Dense(8, activation="softmax")(x)),
    "a sigmoid": lambda kl, x: kl.Dense(9, activation="sigmoid")(x),
    "an embedding farther back": lambda kl, x: kl.Dense(9, name="fc")(
        kl.Dense(8, name="hidden")(kl.Dense(7, name="embedding")(x))
    ),
    "no dense layer": lambda kl, x: kl.Flatten()(kl.Reshape((3, 2))(x)),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_without_a_sign_of_classes_a_network_stays_whole(
    package: Any, saved: Callable[..., Path], images: np.ndarray, kind: str
) -> None:
    image = package.Input((*SIZE, 3))
    model = package.Model(image, WHOLE[kind](package.layers, features(package, image, name="a")))
    embedder = load(saved(model))
    assert_gives(embedder, package, model, model.outputs[0], images)
    said = [note for note in embedder.notes if "--output" in note]
    assert len(said) == (type(model.layers[-1]).__name__ in ("Dense", "Concatenate"))
    assert all("its last layer" in note for note in said)


def test_a_classifier_inside_another_model_is_cut_too(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    kl = package.layers
    inside = package.Input((*SIZE, 3))
    vector = features(package, inside)
    inner = package.Model(inside, kl.Dense(9, activation="softmax", name="c")(vector), name="inner")
    image = package.Input((*SIZE, 3))
    scaled = kl.Rescaling(0.5)(image)
    model = package.Model(image, inner(scaled))
    part = package.Model(inner.inputs[0], vector)
    expected = np.asarray(part(images * 0.5, training=False))
    path = saved(model, "m.keras")
    np.testing.assert_allclose(load(path).forward(images), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        load(path, output="fc").forward(images), expected, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        load(path, output="c").forward(images), model(images, training=False), atol=1e-5
    )


def test_a_softmax_outside_the_model_that_holds_its_dense_layer_is_cut(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    inside = package.Input((*SIZE, 3))
    vector = features(package, inside)
    inner = package.Model(inside, package.layers.Dense(9, name="c")(vector), name="inner")
    image = package.Input((*SIZE, 3))
    model = package.Model(image, package.layers.Activation("softmax")(inner(image)))
    expected = np.asarray(package.Model(inner.inputs[0], vector)(images, training=False))
    got = load(saved(model, "m.keras")).forward(images)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_sequence_of_a_backbone_and_classes_gives_the_backbone(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    kl = package.layers
    inside = package.Input((*SIZE, 3))
    backbone = package.Model(inside, features(package, inside), name="backbone")
    model = package.Sequential([package.Input((*SIZE, 3)), backbone, kl.Dense(9), kl.Softmax()])
    expected = np.asarray(backbone(images, training=False))
    for name in ("m.keras", "m.h5"):
        got = load(saved(model, name)).forward(images)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_dense_layer_on_a_model_that_is_named_embedding_is_cut_off(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    inside = package.Input((*SIZE, 3))
    inner = package.Model(inside, features(package, inside), name="embedding")
    image = package.Input((*SIZE, 3))
    model = package.Model(image, package.layers.Dense(9, name="classes")(inner(image)))
    expected = np.asarray(inner(images, training=False))
    got = load(saved(model, "m.keras")).forward(images)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("labels", [False, True])
def test_a_margin_head_is_told_by_its_class(
    package: Any,
    saved: Callable[..., Path],
    images: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    labels: bool,
) -> None:
    from evaluator.models.keras.build import named_objects

    module = f"heads_of_{package.__name__}_{labels}"
    (tmp_path / f"{module}.py").write_text(CUSTOM_HEADS.format(package=package.__name__))
    monkeypatch.chdir(tmp_path)
    name = f"{module}:ArcMarginPenaltyLogists"
    (head,) = named_objects([name]).values()
    image, label = package.Input((*SIZE, 3)), package.Input((1,))
    vector = features(package, image)
    classes = head(num_classes=9, name="head")([vector, label] if labels else vector)
    model = package.Model([image, label] if labels else image, classes)
    embedder = load(saved(model, "m.keras"), custom=(name,))
    expected = package.Model(image, vector)(images, training=False)
    np.testing.assert_allclose(embedder.forward(images), np.asarray(expected), atol=1e-5)
    assert any("margin head ArcMarginPenaltyLogists" in note for note in embedder.notes)


def test_classes_of_a_map_name_the_way_out(keras: Any, saved: Callable[..., Path]) -> None:
    # As in SqueezeNet: there is no vector before the classes.
    kl = keras.layers
    image = keras.Input((*SIZE, 3))
    classes = kl.GlobalAveragePooling2D()(kl.Conv2D(9, 1, name="last")(kl.Conv2D(6, 3)(image)))
    path = saved(keras.Model(image, kl.Softmax(name="s")(classes)), "m.keras")
    with pytest.raises(ModelError, match=r"ends in classes.*'last'.*no vector.*--output"):
        load(path)
    assert load(path, output="s").forward(np.zeros((1, *SIZE, 3), np.float32)).shape == (1, 9)


def test_an_embedding_that_needs_the_labels_is_no_embedding(
    keras: Any, saved: Callable[..., Path]
) -> None:
    image, label = keras.Input((*SIZE, 3)), keras.Input((6,))
    mixed = keras.layers.Add(name="mix")([features(keras, image), label])
    model = keras.Model([image, label], keras.layers.Dense(9, activation="softmax")(mixed))
    with pytest.raises(ModelError, match="from the image alone"):
        load(saved(model))


def test_outputs_of_a_dict_with_one_key_or_nested_are_named(
    keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = keras.Input((*SIZE, 3))
    vector = features(keras, image)
    one = keras.Model(image, {"feat": vector})
    assert_gives(load(saved(one, "one.keras")), keras, one, vector, images)
    listed = keras.Model(image, [vector])
    assert_gives(load(saved(listed, "list.keras")), keras, listed, vector, images)
    other = keras.layers.Dense(9, name="age")(vector)
    deep = keras.Model(image, {"faces": {"feat": vector, "age": [other]}, "x": other})
    path = saved(deep, "deep.keras")
    assert_gives(load(path, output="faces/feat"), keras, deep, vector, images)
    assert_gives(load(path, output="faces/age/0"), keras, deep, other, images)
    with pytest.raises(ModelError, match=r"3 outputs.*faces/feat.*faces/age/0"):
        load(path)


# ---- Files of the cases, against Keras and scikit-learn by hand ---------------------------------


class _BytesOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return str.encode
        raise pickle.UnpicklingError(f"{module}.{name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "accuracy", "auc"),
    [
        ("k3_softmax.keras", "embedding", 55.83, 0.493889),
        ("k3_logits.h5", "embedding", 65.00, 0.605),
        ("k3_dictout.keras", "embedding", 58.33, 0.583889),
    ],
)
def test_the_cases_give_what_keras_gives_before_the_classes(
    keras: Any, shared: Path, name: str, layer: str, accuracy: float, auc: float
) -> None:
    path, bin_path = shared / "cases/models" / name, shared / "cases/data/base.bin"
    if not path.is_file() or not bin_path.is_file():
        pytest.skip(f"needs {path}")
    images, genuine = _BytesOnly(io.BytesIO(bin_path.read_bytes()), encoding="bytes").load()
    decoded = [np.asarray(Image.open(io.BytesIO(bytes(each))).convert("RGB")) for each in images]
    batch = (np.stack(decoded) / 255).astype(np.float32)
    own = load(path).forward(batch)
    model = keras.models.load_model(path, compile=False)
    by_hand = keras.Model(model.inputs[0], model.get_layer(layer).output).predict(batch, verbose=0)
    np.testing.assert_allclose(own, by_hand, rtol=1e-3, atol=1e-5)
    by_hand = by_hand.astype(np.float64)
    unit = by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True)
    scores = (unit[0::2] * unit[1::2]).sum(axis=1)
    labels = np.asarray(genuine, bool)
    assert roc_auc_score(labels, scores) == pytest.approx(auc, abs=5e-7)
    fmr, tmr, _ = roc_curve(labels, scores, drop_intermediate=False)
    best = (tmr * labels.sum() + (1 - fmr) * (~labels).sum()).max() / len(labels)
    assert 100 * best == pytest.approx(accuracy, abs=0.005)
