"""Tiny face networks for tests, in Keras 2 or Keras 3."""

import json
import warnings
from pathlib import Path
from typing import Any

import h5py

SIZE = (16, 12)  # not square, so that swapped axes show


def trunk(package: Any, image: Any, **last: Any) -> Any:
    """A small convolutional network that ends in a Dense layer; ``last`` are that layer's."""
    layers = package.layers
    x = layers.Conv2D(4, 3, strides=2, name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(**{"units": 6, "name": "embedding", **last})(x)


def network(package: Any, shape: tuple[int | None, ...] = (*SIZE, 3)) -> Any:
    """The small network with an image input of that shape."""
    package.utils.set_random_seed(1)
    image = package.Input(shape, name="image")
    return package.Model(image, trunk(package, image))


def save(model: Any, path: Path) -> Path:
    """Saves a model; Keras 2 warns that .h5 is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.save(str(path))
    return path


def loaded_by_tf_keras(path: Path) -> Any:
    """An .h5 of tf_keras 2.21 as tf_keras itself reads it, 2.20 too."""
    import tf_keras

    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])["config"]
    for layer in config["layers"]:
        layer["config"].pop("optional", None)  # a key that 2.20 does not know
    model = tf_keras.Model.from_config(config)
    model.load_weights(str(path))
    return model
