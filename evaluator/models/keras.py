"""Keras models: .h5 of Keras 2 and 3, and .keras."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import ModelError
from evaluator.inputs import Embedder, Forward, InputSpec
from evaluator.models import NATIVE, LoadOptions, model_format
from evaluator.models.keras_code import refuse_code
from evaluator.models.keras_config import check_weights, read_config
from evaluator.models.shapes import (
    EMBEDDING,
    check_embedding_shape,
    check_image_shape,
    check_one_input,
    chosen_output,
    input_spec,
)


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError for what the file's own description shows to be unusable."""
    file_format = _format(path)
    config = read_config(path, file_format)
    if not options.trusted:
        refuse_code(path, config)
    check_weights(path, file_format, config)
    shapes = _declared_input_shapes(config)
    images = [shape for shape in shapes if len(shape) == 4]
    if len(shapes) > 1 and len(images) != 1:
        check_one_input(path, shapes)
    elif shapes:
        check_image_shape(path, (images or shapes)[0])


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a Keras file. Raises ModelError."""
    from evaluator.models.folding import folded

    model, notes = embedding_model(path, options)
    if type(model).__module__.startswith("keras."):  # and not tf_keras, which is on its way out
        model = folded(model)
    return _embedder(path, model, options, model_format=_format(path), notes=notes)


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
    part, notes = _checked_part(path, model, options)
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
    from evaluator.models.keras_build import build_model

    check(path, options)
    model, notes = build_model(path, _format(path), options)
    model, output_notes = _checked_part(path, model, options)
    return model, (*notes, *output_notes)


def _checked_part(path: Path, model: Any, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The part from one image to one embedding, and notes. Raises ModelError."""
    part, notes = _embedding_part(path, model, options)
    check_one_input(path, [tuple(tensor.shape) for tensor in part.inputs])
    check_embedding_shape(path, tuple(part.outputs[0].shape))
    return part, notes


def _format(path: Path) -> str:
    found = model_format(path)
    if found is None:
        raise ModelError(f"{path}: not a Keras model")
    return found


def _declared_input_shapes(config: dict[str, Any]) -> list[tuple[int | None, ...]]:
    """Input shapes that the config states, batch axis first; empty if it states none."""
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
                found.append(tuple(shape))
    return found


def _embedding_part(path: Path, model: Any, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The part of the model that ends in the embedding, and a note where that is a part."""
    outputs = _outputs(model)
    wanted = options.output
    images = [tensor for tensor in model.inputs if len(tensor.shape) == 4]
    layers = {layer.name: layer for layer in model.layers}
    if wanted is not None and wanted not in outputs and wanted in layers:
        # Not an output of the whole, but a layer of it: the network up to there.
        return _submodel(path, model, images, layers[wanted].output), ()
    if len(model.inputs) > 1 and len(images) == 1 and EMBEDDING in layers and wanted is None:
        # Training code hands the labels to its head as a second input.
        part = _submodel(path, model, images, layers[EMBEDDING].output)
        return part, (f"of a model with {len(model.inputs)} inputs, its layer 'embedding' is used",)
    if wanted is None and (part := _before_concatenated_logits(model)) is not None:
        note = (
            "a training checkpoint (embedding and logits concatenated): "
            f"the embedding, its first {part.shape[-1]} values, is used"
        )
        return _submodel(path, model, model.inputs, part), (note,)
    if wanted is None and (part := _before_head(model)) is not None:
        note = "a whole training model: what goes into its head, the embedding, is used"
        return _submodel(path, model, images or model.inputs, part), (note,)
    shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
    name, notes = chosen_output(path, shapes, wanted)
    if len(outputs) == 1:
        return model, notes
    return _submodel(path, model, model.inputs, outputs[name]), notes


def _outputs(model: Any) -> dict[str, Any]:
    """Output name -> tensor; the keys of a model that returns a dict, else its layers' names."""
    whole = model.output
    if isinstance(whole, dict):
        return dict(whole)
    names = list(getattr(model, "output_names", None) or [])
    if len(set(names)) != len(model.outputs):
        names = [f"output_{i}" for i in range(len(model.outputs))]
    return dict(zip(names, model.outputs, strict=True))


def _submodel(path: Path, model: Any, inputs: Any, tensor: Any) -> Any:
    package = importlib.import_module(type(model).__module__.split(".")[0])
    try:
        part = package.Model(inputs, tensor)
    except ValueError:
        part = None
    # Keras 3.12 leaves another input that it meets in the model, later ones refuse.
    if part is None or len(part.inputs) < sum(_is_input(layer) for layer in part.layers):
        raise ModelError(f"{path}: its embedding cannot be computed from the image alone")
    return part


def _is_input(layer: Any) -> bool:
    return type(layer).__name__ == "InputLayer"


def _before_concatenated_logits(model: Any) -> Any | None:
    """The embedding tensor, if the model ends in concatenate([embedding, head(embedding)])."""
    last = model.layers[-1]
    if type(last).__name__ != "Concatenate" or not isinstance(last.input, list):
        return None
    if len(last.input) != 2:
        return None
    embedding, logits = last.input
    heads = [layer for layer in model.layers if layer.output is logits]
    if len(heads) != 1 or heads[0].input is not embedding:
        return None
    return embedding


def _before_head(model: Any) -> Any | None:
    """The embedding tensor, if the model ends in the head that `training` puts on one.

    That is NormDense, or a Dense layer called head on a nested model whose own last layer is called
    embedding; between them CenterLoss may hand the embedding through.
    """
    head = model.layers[-1]
    if len(model.outputs) != 1 or len(model.layers) < 2 or head.output is not model.outputs[0]:
        return None
    if type(head).__name__ != "NormDense":
        nested = [layer.layers[-1].name for layer in model.layers if getattr(layer, "layers", None)]
        if (type(head).__name__, head.name, nested) != ("Dense", "head", [EMBEDDING]):
            return None
    centers = [layer for layer in model.layers if type(layer).__name__ == "CenterLoss"]
    handed = [layer.input[0] for layer in centers if layer.output is head.input]
    return handed[0] if handed else head.input


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
        return lambda batch: np.asarray(model.predict_on_batch(batch), dtype=np.float32)
    return compiled_forward(
        path,
        lambda batch: model(batch, training=False),
        (model.inputs[0].shape[0], *spec.batch_shape),
        options=options,
    )
