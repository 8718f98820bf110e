"""Ordinary networks load without trust, and compute what Keras itself computes."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, published, trunk

UNIT = LoadOptions(profile="unit")


def assert_same(path: Path, model: Any, images: np.ndarray, tolerance: float = 1e-5) -> None:
    expected = np.asarray(model(images, training=False), np.float32)
    np.testing.assert_allclose(
        load_embedder(path, UNIT).forward(images), expected, atol=tolerance, rtol=1e-3
    )


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str, policy: str
) -> None:
    image = package.Input((*SIZE, 3))
    x = package.layers.Conv2D(4, 3, dtype=package.mixed_precision.Policy(policy))(image)
    x = package.layers.Dense(3, dtype=policy)(package.layers.Flatten()(x))
    x = package.layers.Activation("linear", dtype="float32")(x)
    model = package.Model(image, x)
    # The pass is compiled, and rounds elsewhere than Keras's own.
    assert_same(saved(model, name), model, images, tolerance=0.05)


@pytest.mark.parametrize("policy", ["Policy", "PolicyV1"])
def test_the_policy_of_old_files(tf_keras: Any, policy: str) -> None:
    from evaluator.models.keras.allowed.walk import code_in_config

    scale = {"class_name": "DynamicLossScale", "config": {"initial_loss_scale": 32768}}
    old = {"class_name": policy, "config": {"name": "mixed_float16", "loss_scale": scale}}
    layer = {"class_name": "Dense", "config": {"name": "d", "units": 3, "dtype": old}}
    assert code_in_config({"class_name": "Sequential", "config": [layer]}) == []
    assert tf_keras.layers.Dense(3, dtype=old).dtype_policy.name == "mixed_float16"


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_depthwise_convolutions(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str
) -> None:
    image = package.Input((*SIZE, 3))
    x = package.layers.DepthwiseConv2D(3, activation="relu", depthwise_regularizer="l2")(image)
    x = package.layers.Conv2D(6, 3, groups=3, kernel_constraint="max_norm")(x)
    model = package.Model(image, trunk(package, x))
    assert_same(saved(model, name), model, images)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_layers_of_many_kinds(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str
) -> None:
    layers = package.layers
    image = package.Input((*SIZE, 3))
    x = layers.Rescaling(2.0, offset=-1)(image)
    x = layers.RandomFlip("horizontal")(x)
    x = layers.RandomRotation(0.1, fill_mode="nearest", interpolation="bilinear")(x)
    x = layers.CenterCrop(12, 12)(layers.Resizing(14, 14)(x))
    x = layers.Normalization(mean=0.5, variance=0.2)(x)
    x = layers.GroupNormalization(groups=3)(x)
    x = layers.Conv2D(4, 3, kernel_initializer="he_normal", activation="hard_sigmoid")(x)
    x = layers.TimeDistributed(layers.Dense(3, activation="swish"))(x)
    x = layers.Reshape((10, 30))(x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x = layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(4)]))(x)
    x = layers.LeakyReLU()(layers.UnitNormalization()(x))
    model = package.Model(image, layers.Dense(4, activity_regularizer="l1")(x))
    assert_same(saved(model, name), model, images)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_a_model_inside_that_was_compiled(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str
) -> None:
    image = package.Input((*SIZE, 3))
    inner = package.Model(image, trunk(package, image, name="fc"), name="inner")
    rate = package.optimizers.schedules.CosineDecay(0.1, 10)
    metrics = ["mae", package.metrics.CosineSimilarity()]
    inner.compile(package.optimizers.SGD(rate), loss="mse", metrics=metrics)
    again = package.Input((*SIZE, 3))
    model = package.Model(again, package.layers.Dense(3)(inner(again)))
    assert_same(saved(model, name), model, images)


def test_operations_of_keras_3(keras: Any, saved: Callable[..., Path], images: np.ndarray) -> None:
    ops = keras.ops
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 3, activation=ops.silu)(image)
    x = ops.where(x > 0.1, x, x * 0.2)[:, ::2, 1:]
    x = (x + 1) / 2 - 0.5
    x = ops.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]], mode="reflect")
    x = ops.image.resize(x, (8, 8), interpolation="bilinear")
    x = ops.clip(ops.transpose(x, (0, 2, 1, 3)), -1, 1) ** 2
    x = ops.concatenate([x, -x], axis=-1)
    x = ops.nn.gelu(ops.leaky_relu(x, 0.1))
    x = ops.einsum("bhwc,bhwd->bcd", x, x)
    x = ops.normalize(ops.mean(x, axis=1), axis=-1)
    x = x / ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6)
    x = x / ops.norm(x, ord=2, axis=-1, keepdims=True)
    x = ops.reshape(ops.stack([x, x], axis=1), (-1, 32))
    x = ops.max(ops.expand_dims(ops.cast(x, "float32"), 1), axis=1)
    model = keras.Model(image, keras.layers.Dense(6)(ops.take(x, [0, 1, 2, 3], axis=1)))
    assert_same(saved(model, "m.keras"), model, images)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized_layers(
    keras: Any, saved: Callable[..., Path], images: np.ndarray, mode: str, name: str
) -> None:
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(4, name="embedding")(x))
    try:
        for layer in model.layers[2:]:
            layer.quantize(mode)
    except (ValueError, NotImplementedError):
        pytest.skip(f"this Keras has no {mode}")
    if (mode, name) == ("float8", "m.h5"):
        pytest.skip("Keras itself does not bring it back from an .h5")
    assert_same(saved(model, name), model, images)


def test_functions_of_tensorflow(
    tf_keras: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    import tensorflow as tf

    image = tf_keras.Input((*SIZE, 3))
    x = tf.image.per_image_standardization(image)
    x = tf.concat([tf.image.rgb_to_grayscale(x), tf.image.flip_left_right(x)], axis=-1)
    x = tf.pad((x / 127.5 - 1)[:, ::2], [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = tf.nn.depthwise_conv2d(x, tf.ones((3, 3, 4, 1)), [1, 1, 1, 1], "SAME")
    x = tf.where(x > 0, x, -x) ** 2
    x = tf.image.resize(tf.transpose(x, [0, 2, 1, 3]), (4, 4), method="nearest")
    x = tf_keras.activations.swish(tf_keras.backend.batch_flatten(x))
    x = x / (tf.norm(x, axis=1, keepdims=True) + 1e-9)
    x = tf.math.l2_normalize(tf.nn.relu6(x), axis=1) + tf.reduce_sum(x, axis=1, keepdims=True)
    model = tf_keras.Model(image, x)
    assert_same(saved(model, "m.h5"), model, images)
    assert_same(saved(model, "m.keras"), model, images)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_blocks_of_published_networks(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str
) -> None:
    """Layers that Keras has beside its layers, where an .h5 does not find them."""
    source = f"{package.__name__}.src.applications"
    convnext = importlib.import_module(f"{source}.convnext")
    inception = importlib.import_module(f"{source}.inception_resnet_v2")
    image = package.Input((*SIZE, 3))
    x = package.layers.Conv2D(4, 3, padding="same")(image)
    scaled = convnext.StochasticDepth(0.3)(convnext.LayerScale(0.5, 4)(x))
    x = inception.CustomScaleLayer(0.17)([x, scaled])
    model = package.Model(image, package.layers.GlobalAveragePooling2D()(x))
    assert_same(saved(model, name), model, images)


# Keras 3 says so where the one input of a file is in a list.
@pytest.mark.filterwarnings("ignore:The structure of .inputs. does")
@pytest.mark.parametrize("family", ["MobileNetV2", "EfficientNet", "ResNetV2", "ConvNeXt"])
def test_published_networks(package: Any, saved: Callable[..., Path], family: str) -> None:
    from evaluator.models.keras.build import build_model

    model = published(package, family)
    images = np.random.default_rng(0).random((1, 32, 32, 3), dtype=np.float32)
    expected = model(images, training=False)
    for suffix, kind in (("h5", "keras-h5"), ("keras", "keras")):
        if (package.__name__, family, suffix) == ("keras", "ConvNeXt", "h5"):
            continue  # Keras 3 takes the operation Add of an .h5 for the layer of that name
        path = saved(model, f"m.{suffix}")
        check_model(path, UNIT)
        loaded, _ = build_model(path, kind, UNIT)
        np.testing.assert_allclose(loaded(images, training=False), expected, atol=1e-5)


# ---- Heads of other training code ---------------------------------------------------------------


def insightface(package: Any, virtual: bool) -> Any:
    """Keras_insightface's head as far as a file goes: its name, its config and its weights."""

    class Head(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, **settings: Any) -> None:
            own = ("name", "trainable", "dtype")
            super().__init__(**{key: settings.pop(key) for key in own if key in settings})
            self.settings = settings

        def build(self, shape: Any) -> None:
            units, size = self.settings["units"], shape[-1]
            if virtual:
                rows = self.settings["batch_size"]
                self.add_weight(name="norm_features", shape=(rows, size), trainable=False)
                self.add_weight(name="queue_features", shape=(units, size), trainable=False)
                for name, extent in (("queue_iters", (units,)), ("iters", ())):
                    self.add_weight(
                        name=name,
                        shape=extent,
                        initializer="zeros",
                        dtype="int64",
                        trainable=False,
                    )
            split = self.settings["partial_fc_split"]
            if split > 1:
                self.add_weight(
                    name="cur_id", shape=(), initializer="zeros", dtype="int64", trainable=False
                )
            shape = (size, units * self.settings["loss_top_k"])
            self.w = self.add_weight(name="w", shape=(split, *shape) if split > 1 else shape)

        def call(self, inputs: Any) -> Any:
            weight = self.w[0] if self.settings["partial_fc_split"] > 1 else self.w
            return inputs @ weight

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), **self.settings}

    Head.__name__ = "NormDenseVPL" if virtual else "NormDense"
    Head.__module__ = "models"
    return package.utils.register_keras_serializable(package="keras_insightface")(Head)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss_top_k": 3, "append_norm": True},
        {"partial_fc_split": 4},
        {"batch_size": 8, "vpl_lambda": 0.15},
    ],
    ids=["plain", "sub-centers", "split", "virtual prototypes"],
)
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_heads_of_keras_insightface(
    package: Any,
    saved: Callable[..., Path],
    images: np.ndarray,
    settings: dict[str, Any],
    suffix: str,
) -> None:
    if suffix == "keras" and "batch_size" in settings:
        pytest.skip("a .keras finds weights by the class's name, and the head is cut by ours")
    plain = {"units": 9, "loss_top_k": 1, "append_norm": False, "partial_fc_split": 0}
    objects = importlib_objects(package)
    image = package.Input((*SIZE, 3), name="image")
    x = trunk(package, image, name="before")
    embedding = package.layers.Activation("linear", dtype="float32", name="embedding")(x)
    head = insightface(package, "batch_size" in settings)
    whole = package.Model(
        image, head(name="arcface", **{**plain, "kernel_regularizer": None, **settings})(embedding)
    )
    path = saved(whole, f"m.{suffix}")
    for name in [name for name in objects if name.startswith("keras_insightface>")]:
        del objects[name]  # as where nobody has imported what wrote it
    assert_same(path, package.Model(image, embedding), images)


def importlib_objects(package: Any) -> dict[str, Any]:
    """What the package has registered."""
    module = importlib.import_module(f"{package.__name__}.src.saving.object_registration")
    underscore = "" if package.__name__ == "keras" else "_"
    found: dict[str, Any] = getattr(module, f"{underscore}GLOBAL_CUSTOM_OBJECTS")
    return found


@pytest.mark.parametrize("name", ["ArcFace", "ArcMarginProduct", "Custom>CosFace"])
@pytest.mark.parametrize("width", ["n_classes", "num_classes", "out_features"])
def test_margin_heads_on_embedding_and_label(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str, width: str
) -> None:
    import json

    import h5py

    class Head(package.layers.Layer):  # type: ignore[misc]
        def build(self, shapes: Any) -> None:
            self.w = self.add_weight(name="W", shape=(shapes[0][-1], 9), trainable=True)

        def call(self, inputs: Any) -> Any:
            return inputs[0] @ self.w

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), width: 9, "s": 64.0, "m": 0.5, "easy_margin": False}

    image, label = package.Input((*SIZE, 3), name="image"), package.Input((9,), name="label")
    embedding = trunk(package, image)
    path = saved(package.Model([image, label], Head(name="head")([embedding, label])), "m.h5")
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["name"] == "head":
                layer["class_name"] = name
        file.attrs["model_config"] = json.dumps(config)
    assert_same(path, package.Model(image, embedding), images)


def test_acon_c(package: Any) -> None:
    from evaluator.models.keras.training_layers import training_layers

    layer = training_layers(package)["keras_insightface>AconC"]()
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 4)).astype(np.float32)
    layer(x)
    weights = [np.random.default_rng(i).normal(size=(1, 1, 1, 4)).astype("f4") for i in range(3)]
    layer.set_weights(weights)
    p1, p2, beta = (np.float64(weight) for weight in weights)
    by_hand = p1 * x / (1 + np.exp(-beta * x)) + p2 * x
    np.testing.assert_allclose(np.asarray(layer(x)), by_hand, atol=1e-5)


# ---- Handed files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "accuracy", "area"),
    [("k2_ki_arcface", 56.67, 0.534722), ("k2_tfnorm", 55.0, 0.520556)],
)
def test_handed_files_give_their_figures(
    shared: Path, name: str, accuracy: float, area: float
) -> None:
    """By pickle, Pillow and scikit-learn: nothing of ours but the forward pass."""
    metrics = pytest.importorskip("sklearn.metrics")
    from PIL import Image

    path = shared / "cases" / "models" / f"{name}.h5"
    if not path.is_file():
        pytest.skip("needs the handed cases")
    bins, genuine = pickle.loads((shared / "cases/data/base.bin").read_bytes(), encoding="bytes")
    pixels = [np.asarray(Image.open(BytesIO(bytes(each))).convert("RGB")) for each in bins]
    images = np.stack(pixels).astype(np.float32) / 255
    embeddings = np.float64(load_embedder(path, UNIT).forward(images))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = np.sum(embeddings[::2] * embeddings[1::2], axis=1)
    truth = np.asarray(genuine, bool)
    best = max(np.mean((scores >= threshold) == truth) for threshold in [*scores, np.inf])
    assert round(100 * best, 2) == accuracy
    assert round(metrics.roc_auc_score(truth, scores), 6) == area


@pytest.mark.parametrize("name", ["op_std", "op_gray"])
def test_handed_files_of_plain_arithmetic_load(shared: Path, name: str) -> None:
    path = shared / "cases" / "models" / f"{name}.h5"
    if not path.is_file():
        pytest.skip("needs the handed cases")
    images = np.random.default_rng(0).random((2, 112, 112, 3), dtype=np.float32)
    assert load_embedder(path, UNIT).forward(images).shape == (2, 64)


def test_a_head_of_keras_insightface_on_embedding_and_label(package: Any) -> None:
    from evaluator.models.keras.training_layers import training_layers

    head = training_layers(package)["keras_insightface>NormDense"](units=9)
    embeddings = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    found = np.asarray(head([embeddings, np.zeros((4, 1), np.float32)]))
    weight = np.float64(head.get_weights()[0])
    cosines = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = cosines @ (weight / np.linalg.norm(weight, axis=0))
    np.testing.assert_allclose(found, cosines, atol=1e-5)
    np.testing.assert_allclose(np.asarray(head(embeddings)), cosines, atol=1e-5)
