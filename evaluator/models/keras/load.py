"""Keras models: .h5 of Keras 2 and 3, and .keras."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError, cause_of
from evaluator.images.inputs import Embedder, Forward, InputSpec
from evaluator.limits import check_memory, check_tensor
from evaluator.models.foreign import foreign_errors
from evaluator.models.formats import model_format
from evaluator.models.keras.allowed.walk import refuse_code
from evaluator.models.keras.config import check_weights, read_config
from evaluator.models.keras.embedding import checked_part
from evaluator.models.options import NATIVE, LoadOptions
from evaluator.models.shapes import check_image_shape, check_one_input, input_spec


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError for what the file's own description shows to be unusable."""
    file_format = _format(path)
    config = read_config(path, file_format)
    if not options.trusted:
        refuse_code(path, config)
    check_weights(path, file_format, config)
    shapes = _declared_input_shapes(path, config)
    images = [shape for shape in shapes if len(shape) == 4]
    if len(shapes) > 1 and len(images) != 1:
        check_one_input(path, shapes)
    elif shapes:
        shape = (images or shapes)[0]
        check_image_shape(path, shape)
        _check_input_size(path, shape)


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a Keras file. Raises ModelError."""
    from evaluator.models.keras.build import lambda_hints
    from evaluator.models.keras.folding import folded

    model, notes = embedding_model(path, options)
    file_format = _format(path)
    if type(model).__module__.startswith("keras."):  # and not tf_keras, which is on its way out
        with foreign_errors(f"{path}: its batch normalisation cannot be folded"):
            model = folded(model)
    with lambda_hints(path, file_format):
        return _embedder(path, model, options, model_format=file_format, notes=notes)


def live_embedder(model: Any, options: LoadOptions, *, name: str) -> Embedder:
    """The Embedder of a keras.Model that is in memory, with the weights it has now.

    Nothing in it is refused: its code is the caller's own. Messages name it ``name``. Raises
    ModelError for a model that is no image -> embedding network, or declares no input.
    """
    path = Path(name)
    if not getattr(model, "built", False) or not getattr(model, "inputs", None):
        raise ModelError(
            f"{name}: the Keras model declares no input (it is a subclass, or was never built); "
            "call it on a batch first, or give a function: lambda images: model(images)"
        )
    import keras

    if isinstance(model, keras.Sequential):
        # One that was never called has outputs, but no `output`; layers and weights are shared.
        model = keras.Model(model.inputs, model.outputs)
    part, notes = checked_part(path, model, options)
    return _embedder(path, part, options, model_format="keras", notes=notes)


def _embedder(
    path: Path, model: Any, options: LoadOptions, *, model_format: str, notes: tuple[str, ...]
) -> Embedder:
    shape = tuple(model.inputs[0].shape)
    spec, input_notes = input_spec(path, shape, options)
    fixed = shape[0] if isinstance(shape[0], int) else None
    return Embedder(
        forward=_compiled(path, model, spec, options),
        input=spec,
        format=model_format,
        fixed_batch=fixed,
        notes=(*notes, *input_notes),
    )


def embedding_model(path: Path, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The Keras 3 or tf_keras model from image to embedding, and notes. Raises ModelError."""
    from evaluator.models.keras.build import build_model, lambda_hints

    check(path, options)
    file_format = _format(path)
    with lambda_hints(path, file_format):
        model, notes = build_model(path, file_format, options)
    with foreign_errors(f"{path}: its network cannot be followed"):
        model, output_notes = checked_part(path, model, options)
    return model, (*notes, *output_notes)


def _format(path: Path) -> str:
    found = model_format(path)
    if found is None:
        raise ModelError(f"{path}: not a Keras model")
    return found


def _declared_input_shapes(path: Path, config: dict[str, Any]) -> list[tuple[int | None, ...]]:
    """Input shapes that the config states, batch axis first; empty if it states none.

    Raises ModelError for sizes that are no sizes.
    """
    layers = config.get("config", {})
    layers = layers.get("layers", []) if isinstance(layers, dict) else layers
    found = []
    for layer in layers if isinstance(layers, list) else []:
        if not isinstance(layer, dict) or layer.get("class_name") != "InputLayer":
            continue
        settings = layer.get("config")
        if isinstance(settings, dict):
            shape = settings.get("batch_shape") or settings.get("batch_input_shape")
            if isinstance(shape, list):
                for size in shape:
                    if size is not None and (type(size) is not int or size < 1):
                        raise ModelError(
                            f"{path}: an input of its config has a size of "
                            f"{cause_of(repr(size))[:60]}; expected a whole number from 1"
                        )
                found.append(tuple(shape))
    return found


def _check_input_size(path: Path, shape: tuple[int | None, ...]) -> None:
    """Raises ModelError for images, or batches of a fixed number of them, that are too large."""
    check_tensor(path, "the model's input", shape[1:])
    image = math.prod(size for size in shape[1:] if size is not None) * 4
    check_memory(path, f"the batches of {shape[0] or 1:,} that it takes", (shape[0] or 1) * image)


def _compiled(path: Path, model: Any, spec: InputSpec, options: LoadOptions) -> Forward:
    """The forward pass as one compiled graph, float32 in and out."""
    import keras

    from evaluator.models.graph import compiled_forward

    if keras.backend.backend() != "tensorflow" and isinstance(model, keras.Model):
        asked = ("--precision", options.precision, "float32"), ("--engine", options.engine, NATIVE)
        for option, value, usual in asked:
            if value != usual:
                raise ModelError(
                    f"{path}: {option} {value} needs the TensorFlow backend; "
                    f"Keras runs on {keras.backend.backend()}"
                )

        def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            with foreign_errors("Keras cannot compute a batch", ForwardError):
                return np.asarray(model.predict_on_batch(batch), dtype=np.float32)

        return predict
    return compiled_forward(
        path,
        lambda batch: model(batch, training=False),
        (model.inputs[0].shape[0], *spec.batch_shape),
        options=options,
    )
