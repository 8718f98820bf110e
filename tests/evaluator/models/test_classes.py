"""SavedModels and .tflite files that end in classes are cut before them, by signs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.export import ExportOptions, export_model
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, network

# What ends a network in classes: settings of a Dense layer on `embedding`, and the sign that is
# told. TensorFlow Lite's converter leaves names of its own choice.
HEADS: dict[str, tuple[dict[str, Any], str]] = {
    "softmax": ({"activation": "softmax", "name": "out"}, "softmax"),
    "logits": ({"name": "logits"}, "a last layer of that name|behind the one named embedding"),
    "predictions": ({"name": "predictions"}, "of that name|behind the one named embedding"),
    "behind": ({"name": "out"}, "a layer behind the one named embedding"),
}


def with_head(package: Any, head: Any, trunk: Any | None = None) -> tuple[Any, Any]:
    if trunk is None:
        image = package.Input((*SIZE, 3), name="image")
        pooled = package.layers.GlobalAveragePooling2D()(image)
        trunk = package.Model(image, package.layers.Dense(6, name="embedding")(pooled))
    return trunk, package.Model(trunk.input, head(trunk.output))


def written_by_keras(model: Any, path: Path) -> Path:
    if hasattr(model, "export") and type(model).__module__.startswith("keras."):
        model.export(str(path), verbose=False)
    else:
        model.save(str(path), save_format="tf")
    return path


def written_as_tflite(model: Any, path: Path) -> Path:
    pytest.importorskip("ai_edge_litert")
    path = path.with_suffix(".tflite")
    export_model(model, path, "tflite", ExportOptions())
    return path


WRITERS: dict[str, Callable[[Any, Path], Path]] = {
    "savedmodel": written_by_keras,
    "tflite": written_as_tflite,
}


def load(path: Path, **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", **options}))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", HEADS)
def test_classes_are_cut_with_a_note(
    package: Any, tmp_path: Path, images: np.ndarray, writer: str, name: str
) -> None:
    settings, sign = HEADS[name]
    trunk, model = with_head(package, package.layers.Dense(9, **settings))
    embedder = load(WRITERS[writer](model, tmp_path / "m"))
    expected = trunk(images, training=False).numpy()
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-5)
    # The last, smaller batch too.
    np.testing.assert_allclose(embedder.forward(images[:2]), expected[:2], atol=1e-5)
    [note] = [note for note in embedder.notes if "classes" in note]
    assert any(each in note for each in sign.split("|"))
    assert "6 values, is used; --output" in note


@pytest.mark.parametrize("writer", WRITERS)
def test_output_overrules_the_signs(
    keras: Any, tmp_path: Path, images: np.ndarray, writer: str
) -> None:
    _, model = with_head(keras, keras.layers.Dense(9, activation="softmax"))
    path = WRITERS[writer](model, tmp_path / "m")
    with pytest.raises(ModelError, match="no output is named 'nose'") as told:
        load(path, output="nose")
    # The converter chose the name, which the message tells.
    name = str(told.value).partition("it has ")[2].partition(" (")[0]
    embedder = load(path, output=name)
    got = embedder.forward(images)
    np.testing.assert_allclose(got, model(images, training=False).numpy(), atol=1e-5)
    assert not any("classes" in note for note in embedder.notes)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_last_dense_layer_without_a_sign_stays(
    package: Any, tmp_path: Path, images: np.ndarray, writer: str
) -> None:
    layers = package.layers
    image = package.Input((*SIZE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = package.Model(image, layers.Dense(8, name="features")(layers.Dense(7, name="fc")(x)))
    embedder = load(WRITERS[writer](model, tmp_path / "m"))
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-5)
    [note] = [note for note in embedder.notes if "classes" in note]
    assert note.startswith("its last layer, ")
    assert "of 8 values, is taken for the embedding; if it gives classes" in note


@pytest.mark.parametrize("writer", WRITERS)
def test_an_embedding_that_is_normalised_last_stays(
    keras: Any, tmp_path: Path, images: np.ndarray, writer: str
) -> None:
    _, model = with_head(keras, keras.layers.UnitNormalization())
    got = load(WRITERS[writer](model, tmp_path / "m")).forward(images)
    np.testing.assert_allclose(got, model(images, training=False).numpy(), atol=1e-5)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_softmax_without_a_layer_before_it_is_refused(
    keras: Any, tmp_path: Path, writer: str
) -> None:
    layers = keras.layers
    image = keras.Input((*SIZE, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(9, 3)(image))
    path = WRITERS[writer](keras.Model(image, layers.Softmax()(pooled)), tmp_path / "m")
    with pytest.raises(ModelError, match=r"classes \(softmax\).*--output NAME"):
        load(path)


def test_a_margin_head_is_told_by_its_normalised_weights(
    keras: Any, tmp_path: Path, images: np.ndarray
) -> None:
    import tensorflow as tf

    trunk = network(keras)
    made = tf.Module()
    made.trunk = trunk
    made.centers = tf.Variable(tf.random.stateless_normal((6, 9), (1, 2)))

    def cosines(batch: Any) -> Any:
        found = tf.nn.l2_normalize(trunk(batch, training=False), axis=1)
        return {"cosines": found @ tf.nn.l2_normalize(made.centers, axis=0)}

    signature = [tf.TensorSpec((None, *SIZE, 3), tf.float32)]
    made.serve = tf.function(cosines, input_signature=signature, autograph=False)
    tf.saved_model.save(made, str(tmp_path / "m"), signatures=made.serve)
    embedder = load(tmp_path / "m")
    whole = trunk(images, training=False).numpy()
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-5)
    assert any("a margin head" in note for note in embedder.notes)


def test_attention_inside_a_network_is_no_end_in_classes(
    keras: Any, tmp_path: Path, images: np.ndarray
) -> None:
    layers = keras.layers
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3)(image)
    x = layers.GlobalAveragePooling2D()(layers.Multiply()([x, layers.Softmax()(x)]))
    model = keras.Model(image, layers.Dense(5, name="fc")(x))
    got = load(written_by_keras(model, tmp_path / "m")).forward(images)
    np.testing.assert_allclose(got, model(images, training=False).numpy(), atol=1e-5)
