"""Weights to go on from: another model's, layer by layer."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import keras

from evaluator.errors import InputError
from evaluator.models.formats import model_format
from evaluator.models.keras.load import embedding_model
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions
from evaluator.models.torch_weights.read import weights_kind
from training.network.centers import CenterLoss  # noqa: F401 - registers what a model file may hold
from training.network.pytorch import model_of_weights

_FORMATS = ("keras", "keras-h5")


def start_weights(model: keras.Model, start: str) -> None:
    """Puts the weights of a model file, or of a run's folder, into a model of the same layers.

    The file is ``.keras`` or ``.h5``, also one that Keras 2 wrote; of one with more outputs than
    the embedding, as the founding checkpoints have, the part up to it. Or it is PyTorch's, of a
    network that `pytorch` knows.

    Raises:
        InputError: no such file, no weights to train on, or other layers.
    """
    path = Path(start)
    if path.is_dir() and (path / "basic_model.keras").is_file():
        path = path / "basic_model.keras"
    found = _network(path)
    shapes = [tuple(weight.shape) for weight in model.weights]
    others = [tuple(weight.shape) for weight in found.weights]
    if shapes != others:
        pairs = enumerate(zip_longest(shapes, others, fillvalue="no more"), start=1)
        number, (expected, has) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        raise InputError(
            f"{path}: expected the layers of {model.name} with {len(shapes)} weights, found "
            f"{len(others)}; weight {number} is {has} and not {expected}: set model.backbone, "
            "model.embedding_size and model.pooling to what the file was trained with"
        )
    model.set_weights(found.get_weights())


def _network(path: Path) -> keras.Model:
    if weights_kind(path) is not None:
        return model_of_weights(path).model
    check_model(path, LoadOptions())
    if model_format(path) not in _FORMATS:
        raise InputError(
            f"model.start {path}: expected a Keras model (.keras, .h5), PyTorch weights or a run's "
            f"folder, whose weights can be trained on; found {model_format(path)}"
        )
    found, _ = embedding_model(path, LoadOptions())
    return found
