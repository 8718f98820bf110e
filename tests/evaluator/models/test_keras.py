"""Keras files of both generations: what loads, what it gives, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.formats import model_format
from evaluator.models.keras.build import named_objects
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, loaded_by_tf_keras, network, trunk

UNIT = LoadOptions(profile="unit")


def load(path: Path, **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", **options}))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# ---- What loads, and that it gives what the model in memory gives ------------------------------


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_a_saved_model_embeds_as_the_one_in_memory(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str
) -> None:
    model = network(package)
    embedder = load(saved(model, name))
    np.testing.assert_allclose(
        embedder.forward(images), model(images, training=False).numpy(), atol=1e-6
    )
    assert (embedder.input.height, embedder.input.width) == SIZE
    assert embedder.format == ("keras-h5" if name.endswith("h5") else "keras")


@pytest.mark.parametrize(
    ("name", "shown"), [("a.h5", "a.keras"), ("a.keras", "a.h5"), ("a.h5", "a.onnx")]
)
def test_the_content_and_not_the_name_tells_the_format(
    keras: Any, saved: Callable[..., Path], images: np.ndarray, name: str, shown: str
) -> None:
    model = network(keras)
    path = saved(model, name)
    before = model_format(path)
    path = path.rename(path.with_name(shown))
    assert model_format(path) == before
    np.testing.assert_allclose(
        load(path).forward(images), model(images, training=False).numpy(), atol=1e-6
    )


def test_tf_functions_of_keras_2_load_through_tf_keras(
    tf_keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    import tensorflow as tf

    image = tf_keras.Input((*SIZE, 3))
    unit = tf.math.l2_normalize(trunk(tf_keras, image), axis=1)
    embedder = load(saved(tf_keras.Model(image, unit)))
    np.testing.assert_allclose(np.linalg.norm(embedder.forward(images), axis=1), 1, atol=1e-6)
    assert any("tf_keras" in note for note in embedder.notes)


def test_a_mixed_float16_model_loads(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = package.Input((*SIZE, 3))
    half = package.layers.Conv2D(4, 3, dtype="mixed_float16", name="half")(image)
    pooled = package.layers.GlobalAveragePooling2D(dtype="mixed_float16")(half)
    model = package.Model(image, package.layers.Dense(6, name="embedding", dtype="float32")(pooled))
    got = load(saved(model)).forward(images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, model(images, training=False).numpy(), atol=1e-3)


def test_a_fixed_batch_is_stated_and_a_free_one_is_not(
    keras: Any, saved: Callable[..., Path]
) -> None:
    image = keras.Input(batch_shape=(4, *SIZE, 3))
    assert load(saved(keras.Model(image, trunk(keras, image)))).fixed_batch == 4
    assert load(saved(network(keras), "free.h5")).fixed_batch is None


def test_a_free_size_is_112_unless_one_is_given(keras: Any, saved: Callable[..., Path]) -> None:
    path = saved(network(keras, (None, None, 3)))
    usual = load(path)
    assert (usual.input.height, usual.input.width) == (112, 112)
    assert any("any image size" in note for note in usual.notes)
    chosen = load(path, size=(20, 24))
    assert (chosen.input.height, chosen.input.width) == (20, 24)
    assert chosen.forward(np.zeros((1, 20, 24, 3), np.float32)).shape == (1, 6)


def test_a_channel_first_input_is_told_by_its_shape(
    keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = keras.Input((3, *SIZE))
    last = keras.layers.Permute((2, 3, 1))(image)
    model = keras.Model(image, trunk(keras, last))
    embedder = load(saved(model))
    assert embedder.input.layout == "NCHW"
    assert embedder.input.batch_shape == (3, *SIZE)
    batch = images.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        embedder.forward(batch), model(batch, training=False).numpy(), atol=1e-6
    )


def test_a_one_channel_input_means_gray(keras: Any, saved: Callable[..., Path]) -> None:
    path = saved(network(keras, (*SIZE, 1)))
    embedder = load(path)
    assert embedder.input.channels == "gray"
    assert any("gray" in note for note in embedder.notes)
    with pytest.raises(ModelError, match="one channel: --channels bgr"):
        load(path, channels="bgr")


def test_no_profile_means_unit_and_a_note(keras: Any, saved: Callable[..., Path]) -> None:
    path = saved(network(keras))
    assert any("assuming 'unit'" in note for note in load(path, profile=None).notes)
    assert load(path, profile="raw").notes == ()


def has_bfloat16() -> bool:
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "avx512f" in cpu.read_text()


@pytest.mark.skipif(not has_bfloat16(), reason="TensorFlow has bfloat16 on CPUs with AVX-512 only")
def test_bfloat16_moves_embeddings_a_little_and_float32_not_at_all(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    path = saved(network(package))
    exact = load(path).forward(images)
    rounded = load(path, precision="bfloat16").forward(images)
    assert rounded.dtype == np.float32
    assert np.array_equal(load(path).forward(images), exact)
    # Eight bits of mantissa: 0.4 % a product, and not zero.
    difference = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-6 < difference < 0.02


# ---- Which output is the embedding --------------------------------------------------------------


def test_of_two_outputs_the_one_named_embedding_is_used(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = package.Input((*SIZE, 3))
    embedding = trunk(package, image)
    logits = package.layers.Dense(9, name="logits")(embedding)
    embedder = load(saved(package.Model(image, [logits, embedding])))
    expected = package.Model(image, embedding)(images, training=False).numpy()
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-6)
    assert any("'embedding'" in note for note in embedder.notes)


def test_two_outputs_without_that_name_are_listed(keras: Any, saved: Callable[..., Path]) -> None:
    image = keras.Input((*SIZE, 3))
    features = trunk(keras, image, name="features")
    model = keras.Model(image, [features, keras.layers.Dense(9, name="age")(features)])
    message = refusal(saved(model))
    assert "features" in message
    assert "age" in message


def test_output_names_one_of_several_outputs_or_a_layer(
    keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = keras.Input((*SIZE, 3))
    features = trunk(keras, image, name="features")
    model = keras.Model(image, [features, keras.layers.Dense(9, name="age")(features)])
    path = saved(model)
    both = model(images, training=False)
    for name, expected in zip(("features", "age"), both, strict=True):
        got = load(path, output=name).forward(images)
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)
    assert load(path, output="pool").forward(images).shape == (5, 4)
    assert "no output is named 'nose'" in refusal(path, output="nose")


def test_an_output_of_a_dict_is_named_by_its_key(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = package.Input((*SIZE, 3))
    vector = trunk(package, image, name="vector")
    outputs = {"age": package.layers.Dense(9)(vector), "embedding": vector}
    model = package.Model(image, outputs)
    got = load(saved(model, "m.keras")).forward(images)
    np.testing.assert_allclose(got, model(images, training=False)["embedding"].numpy(), atol=1e-6)


def test_labels_as_a_second_input_are_left_out(
    keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image, label = keras.Input((*SIZE, 3)), keras.Input((1,))
    embedding = trunk(keras, image)
    head = keras.layers.Concatenate()([embedding, label])
    embedder = load(saved(keras.Model([image, label], keras.layers.Dense(9)(head))))
    expected = keras.Model(image, embedding)(images, training=False).numpy()
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-6)
    assert any("2 inputs" in note for note in embedder.notes)


def test_an_embedding_that_needs_the_labels_is_refused(
    keras: Any, saved: Callable[..., Path]
) -> None:
    image, label = keras.Input((*SIZE, 3)), keras.Input((6,))
    mixed = keras.layers.Add(name="embedding")([trunk(keras, image, name="before"), label])
    message = refusal(saved(keras.Model([image, label], keras.layers.Dense(9)(mixed))))
    assert "from the image alone" in message


def test_a_size_that_the_model_does_not_take_is_refused(
    keras: Any, saved: Callable[..., Path]
) -> None:
    path = saved(network(keras))
    assert load(path, size=SIZE).input.height == SIZE[0]
    assert "images of 16x12, not the 112x112" in refusal(path, size=(112, 112))


CUSTOM_LAYER = """
import {package} as keras

class Scale(keras.layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {{**super().get_config(), "factor": self.factor}}
"""


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_a_custom_layer_loads_when_the_user_names_it(
    package: Any,
    saved: Callable[..., Path],
    images: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    module = f"layers_of_{package.__name__}_{name.partition('.')[2]}"
    (tmp_path / f"{module}.py").write_text(CUSTOM_LAYER.format(package=package.__name__))
    monkeypatch.chdir(tmp_path)
    (scale,) = named_objects([f"{module}:Scale"]).values()
    image = package.Input((*SIZE, 3))
    model = package.Model(image, scale(factor=3.0)(trunk(package, image)))
    path = saved(model, name)
    refusal(path)
    got = load(path, custom=(f"{module}:Scale",)).forward(images)
    np.testing.assert_allclose(got, model(images, training=False).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("Scale", "expected module:Class"),
        ("nowhere_to_be_found:Scale", "No module named"),
        ("json:Scale", "has no Scale"),
    ],
)
def test_a_custom_class_that_is_not_there_is_named(name: str, cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        named_objects([name])


def test_a_keras_2_depthwise_convolution_with_groups_loads(
    tf_keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = tf_keras.Input((*SIZE, 3))
    deep = tf_keras.layers.DepthwiseConv2D(3, name="deep")(image)
    model = tf_keras.Model(image, tf_keras.layers.GlobalAveragePooling2D()(deep))
    path = saved(model)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 1  # as Keras 2.3 to 2.12 saved it
        file.attrs["model_config"] = json.dumps(config)
    got = load(path).forward(images)
    np.testing.assert_allclose(got, model(images, training=False).numpy(), atol=1e-6)


def norm_dense(package: Any, key: str) -> Any:
    """The head of the founding training code, saving its width under ``key``."""

    class NormDense(package.layers.Layer):
        def __init__(self, classes: int = 9, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.classes = classes

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight(
                name="norm_dense_w", shape=(input_shape[-1], self.classes), trainable=True
            )

        def call(self, inputs: Any) -> Any:
            import tensorflow as tf

            return tf.matmul(inputs, tf.nn.l2_normalize(self.w, axis=0))

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (*input_shape[:-1], self.classes)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), key: self.classes}

    NormDense.__module__ = "__main__"
    return NormDense


@pytest.mark.parametrize("key", ["classes", "output_dim"])
@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_a_training_checkpoint_gives_its_embedding(
    package: Any, saved: Callable[..., Path], images: np.ndarray, key: str, name: str
) -> None:
    image = package.Input((*SIZE, 3))
    embedding = trunk(package, image)
    logits = norm_dense(package, key)(classes=9, name="logits")(embedding)
    whole = package.layers.Concatenate(name="both")([embedding, logits])
    embedder = load(saved(package.Model(image, whole), name))
    expected = package.Model(image, embedding)(images, training=False).numpy()
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-6)
    assert any("training checkpoint" in note for note in embedder.notes)


def test_a_training_checkpoint_with_a_plain_head_gives_its_embedding(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = package.Input((*SIZE, 3))
    embedding = trunk(package, image)
    logits = package.layers.Dense(9, name="logits")(embedding)
    model = package.Model(image, package.layers.concatenate([embedding, logits]))
    got = load(saved(model)).forward(images)
    expected = package.Model(image, embedding)(images, training=False).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_concatenated_features_are_an_embedding_as_a_whole(
    keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    image = keras.Input((*SIZE, 3))
    two = [trunk(keras, image), keras.layers.Dense(4)(keras.layers.Flatten()(image))]
    model = keras.Model(image, keras.layers.concatenate(two))
    assert load(saved(model)).forward(images).shape == (5, 10)


# ---- What is no embedding model of images -------------------------------------------------------


def test_a_vector_input_is_named(keras: Any, saved: Callable[..., Path]) -> None:
    vector = keras.Input((512,))
    path = saved(keras.Model(vector, keras.layers.Dense(8)(vector)))
    assert "vector of 512 numbers" in refusal(path)


def test_two_inputs_are_named(keras: Any, saved: Callable[..., Path]) -> None:
    pair = [keras.Input((*SIZE, 3)), keras.Input((*SIZE, 3))]
    path = saved(keras.Model(pair, trunk(keras, keras.layers.add(pair))))
    assert "2 inputs" in refusal(path)
    with pytest.raises(ModelError, match="2 inputs"):
        check_model(path, UNIT)


@pytest.mark.parametrize(
    ("channels", "cause"), [(4, "1 or 3 channels"), (2, "1 or 3 channels"), (None, "channels")]
)
def test_other_numbers_of_channels_are_named(
    keras: Any, saved: Callable[..., Path], channels: int | None, cause: str
) -> None:
    image = keras.Input((*SIZE, channels))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    assert cause in refusal(saved(keras.Model(image, pooled)))


def test_an_output_of_rank_4_is_named(keras: Any, saved: Callable[..., Path]) -> None:
    image = keras.Input((*SIZE, 3))
    message = refusal(saved(keras.Model(image, keras.layers.Conv2D(8, 3)(image))))
    assert "(None, 14, 10, 8)" in message
    assert "pooling" in message


def test_an_output_of_rank_3_is_named(keras: Any, saved: Callable[..., Path]) -> None:
    image = keras.Input((*SIZE, 3))
    boxes = keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(8, 3)(image))
    assert "detector" in refusal(saved(keras.Model(image, boxes)))


def test_one_number_an_image_is_no_embedding(keras: Any, saved: Callable[..., Path]) -> None:
    image = keras.Input((*SIZE, 3))
    path = saved(keras.Model(image, trunk(keras, image, units=1)))
    assert "one number" in refusal(path)


# ---- What needs tf_keras where there is none ----------------------------------------------------


def test_a_missing_tf_keras_names_the_extra(
    tf_keras: Any, saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    import tensorflow as tf

    image = tf_keras.Input((*SIZE, 3))
    path = saved(tf_keras.Model(image, tf.math.l2_normalize(trunk(tf_keras, image), axis=1)))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf_keras" else real(name)
    )
    assert "face-zoo[legacy]" in refusal(path)


# ---- A real network -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_published_network_loads_with_its_own_size(tf_keras: Any, shared: Path) -> None:
    path = shared / "models" / "faceapi_resnet.h5"
    embedder = load(path, profile="raw")
    assert embedder.input.batch_shape == (150, 150, 3)
    batch = np.random.default_rng(0).uniform(0, 255, (2, 150, 150, 3)).astype(np.float32)
    model = loaded_by_tf_keras(path)
    np.testing.assert_allclose(
        embedder.forward(batch), model(batch, training=False).numpy(), atol=1e-5
    )
