"""Tiny face networks for tests, in Keras 2 or Keras 3."""

import warnings
from pathlib import Path
from typing import Any

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
