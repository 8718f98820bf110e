"""Tiny face networks for tests, in Keras 2 or Keras 3."""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import h5py

SIZE = (16, 12)  # not square, so that swapped axes show


class Lazy:
    """A package that is imported when something of it is first asked for, not while tests are
    collected.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """What the package has of that name. pytest asks objects of modules for private ones."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


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


def published(package: Any, family: str) -> Any:
    """A family of Keras's applications by Keras's own builder: its first blocks, for 32 px.

    The whole network has more of the same, which takes minutes to save, trace and compile.
    """
    source = f"{package.__name__}.src.applications"

    def stages(x: Any) -> Any:
        resnet = importlib.import_module(f"{source}.resnet")
        two = package.__name__ == "tf_keras"
        stack = resnet.stack2 if two else resnet.stack_residual_blocks_v2
        return stack(stack(x, 8, 2, name="conv2"), 16, 2, name="conv3")

    module, builder, settings = {
        "MobileNetV2": ("mobilenet_v2", "MobileNetV2", {"alpha": 0.35}),
        "MobileNetV3": ("mobilenet_v3", "MobileNetV3Small", {"alpha": 0.75}),
        "EfficientNet": (
            "efficientnet",
            "EfficientNet",
            {"width_coefficient": 0.25, "depth_coefficient": 0.25, "default_size": 32},
        ),
        "EfficientNetV2": ("efficientnet_v2", "EfficientNetV2B0", {}),
        "ResNetV2": ("resnet", "ResNet", {"stack_fn": stages, "preact": True, "use_bias": True}),
        "ConvNeXt": (
            "convnext",
            "ConvNeXt",
            {"depths": [1] * 4, "projection_dims": [8, 8, 16, 16], "drop_path_rate": 0.1},
        ),
    }[family]
    whole = getattr(importlib.import_module(f"{source}.{module}"), builder)(
        weights=None, include_top=False, input_shape=(32, 32, 3), **settings
    )
    images = [layer.output for layer in whole.layers[:40] if len(layer.output.shape) == 4]
    return package.Model(whole.input, package.layers.GlobalAveragePooling2D()(images[-1]))


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
