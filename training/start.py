"""Weights to go on from: another model's, layer by layer."""

from __future__ import annotations

from pathlib import Path

import keras

from evaluator.errors import InputError
from evaluator.models import LoadOptions, check_model
from training.centers import CenterLoss  # noqa: F401 - registers what a model file may hold


def start_weights(model: keras.Model, start: str) -> None:
    """Puts the weights of a model file, or of a run's folder, into a model of the same layers.

    Raises:
        InputError: no such file, not a Keras model, or other layers.
    """
    path = Path(start)
    if path.is_dir() and (path / "basic_model.keras").is_file():
        path = path / "basic_model.keras"
    check_model(path, LoadOptions())
    try:
        found = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError) as error:
        cause = str(error).splitlines()[0]
        raise InputError(f"{path}: Keras cannot read it as a model ({cause})") from None
    shapes = [tuple(weight.shape) for weight in model.weights]
    others = [tuple(weight.shape) for weight in found.weights]
    if shapes != others:
        pairs = zip(shapes, others, strict=False)
        number = next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(map(len, (shapes, others)))
        )
        expected = shapes[number] if number < len(shapes) else "no more"
        has = others[number] if number < len(others) else "no more"
        raise InputError(
            f"{path}: expected the layers of {model.name} with {len(shapes)} weights, found "
            f"{len(others)}; weight {number + 1} is {has} and not {expected}: set model.backbone, "
            "model.embedding_size and model.pooling to what the file was trained with"
        )
    model.set_weights(found.get_weights())
