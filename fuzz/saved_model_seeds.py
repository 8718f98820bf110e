"""Small SavedModels that run, written once by TensorFlow: what mutation starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.models.runtime import import_keras

SEEDS: tuple[str, ...] = ("module", "session", "keras_3", "keras_2")


def write_seed(name: str, folder: Path) -> None:
    """Writes a SavedModel of that name: image (n, 8, 8, 3) -> embedding (n, 4)."""
    import_keras()
    _WRITERS[name](folder)


def _module(folder: Path) -> None:
    """Branches, loops and functions that call functions."""
    import tensorflow as tf

    class Net(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(np.ones((3, 3, 3, 4), np.float32), name="kernel")
            self.matrix = tf.Variable(np.eye(4, dtype=np.float32), name="matrix")
            self.scale = tf.constant(2.0)

        @tf.function  # type: ignore[untyped-decorator]
        def inner(self, x: Any) -> Any:
            return tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "SAME")) * self.scale

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")]
        )
        def embed(self, image: Any) -> Any:
            x = tf.reduce_mean(self.inner(image), axis=[1, 2])
            x = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.tanh(x), lambda: tf.abs(x))
            _, x = tf.while_loop(
                lambda i, _: i < 3, lambda i, y: (i + 1, tf.matmul(y, self.matrix)), (0, x)
            )
            return {"embedding": x}

    net = Net()
    tf.saved_model.save(net, str(folder), signatures=net.embed)


def _session(folder: Path) -> None:
    """A graph of TensorFlow 1, with a saver, an initialisation and an asset."""
    import tensorflow as tf

    v1 = tf.compat.v1
    asset = folder.with_name("names.txt")
    asset.write_text("a\nb\n")
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, (None, 8, 8, 3), name="image")
        matrix = v1.get_variable("matrix", (192, 4), use_resource=True)
        flat = tf.reshape(image, (-1, 192))
        embedding = tf.identity(tf.matmul(flat, matrix), name="embedding")
        name = tf.constant(str(asset), name="asset")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, name)
        start = tf.group(v1.tables_initializer(), name="start")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        signature = v1.saved_model.predict_signature_def({"image": image}, {"embedding": embedding})
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={"serving_default": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=start,
        )
        builder.save()


def _keras_network(package: Any) -> Any:
    layers = package.layers
    image = package.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(image))
    return package.Model(image, layers.Dense(4, name="embedding")(layers.Flatten()(x)))


def _keras_3(folder: Path) -> None:
    import keras

    _keras_network(keras).export(str(folder), verbose=False)


def _keras_2(folder: Path) -> None:
    import tf_keras

    _keras_network(tf_keras).save(str(folder), save_format="tf", include_optimizer=False)


_WRITERS: dict[str, Callable[[Path], None]] = {
    "module": _module,
    "session": _session,
    "keras_3": _keras_3,
    "keras_2": _keras_2,
}
