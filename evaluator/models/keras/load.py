"""Keras models, .h5 of Keras 2 and 3, and .keras: their part from one image to one embedding."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError, cause_of
from evaluator.images.inputs import Embedder, Forward, InputSpec
from evaluator.limits import check_memory, check_tensor
from evaluator.models.foreign import foreign_errors
from evaluator.models.formats import model_format
from evaluator.models.graph import compiled_forward
from evaluator.models.graph_macs import graph_counts
from evaluator.models.keras.account import named_parts
from evaluator.models.keras.allowed.walk import refuse_code
from evaluator.models.keras.build import build_model, lambda_hints
from evaluator.models.keras.config import check_weights, layers_of, read_config, settings_of
from evaluator.models.keras.folding import folded
from evaluator.models.keras.head import (
    Head,
    Place,
    flat,
    gives_classes,
    head_of,
    output_of,
    part_until,
    places_before,
    settled,
)
from evaluator.models.options import NATIVE, LoadOptions
from evaluator.models.runtime import device
from evaluator.models.shapes import (
    EMBEDDING,
    check_embedding_shape,
    check_image_shape,
    check_one_input,
    chosen_output,
    dense_note,
    input_spec,
)


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
        # Images, or batches of a fixed number of them, may be too large.
        check_tensor(path, "the model's input", shape[1:])
        batch = shape[0] or 1
        size = batch * math.prod(size for size in shape[1:] if size is not None) * 4
        check_memory(path, f"the batches of {batch:,} that it takes", size)


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a Keras file. Raises ModelError."""
    model, notes = embedding_model(path, options)
    file_format = _format(path)
    parameters = int(model.count_params())  # before batch normalisation is folded
    if type(model).__module__.startswith("keras."):  # and not tf_keras, which is on its way out
        with foreign_errors(f"{path}: its batch normalisation cannot be folded"):
            model = folded(model)
    with lambda_hints(path, file_format):
        found = _embedder(path, model, options, model_format=file_format, notes=notes)
    shape = (found.fixed_batch or 1, *found.input.batch_shape)
    backend = _other_backend(model)
    reason = f"they are on TensorFlow's graph; Keras runs on {backend}" if backend else None
    call = _call(model)
    return replace(found, count=graph_counts(path, call, shape, parameters, uncounted=reason))


def _call(model: Any) -> Callable[[Any], Any]:
    return lambda batch: model(batch, training=False)


def _other_backend(model: Any) -> str | None:
    """What a model runs on that is not TensorFlow; tf_keras's runs on nothing else."""
    import keras

    backend = str(keras.backend.backend())
    return backend if backend != "tensorflow" and isinstance(model, keras.Model) else None


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
        device=device(options),
    )


def embedding_model(path: Path, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The Keras 3 or tf_keras model from image to embedding, and notes. Raises ModelError."""
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
    found = []
    for layer in layers_of(config):
        if not isinstance(layer, dict) or layer.get("class_name") != "InputLayer":
            continue
        settings = settings_of(layer)
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


def _compiled(path: Path, model: Any, spec: InputSpec, options: LoadOptions) -> Forward:
    """The forward pass as one compiled graph, float32 in and out."""
    backend = _other_backend(model)
    if backend is not None:
        asked = ("--precision", options.precision, "float32"), ("--engine", options.engine, NATIVE)
        for option, value, usual in asked:
            if value != usual:
                raise ModelError(
                    f"{path}: {option} {value} needs the TensorFlow backend; "
                    f"Keras runs on {backend}"
                )

        def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            with foreign_errors("Keras cannot compute a batch", ForwardError):
                return np.asarray(model.predict_on_batch(batch), dtype=np.float32)

        return predict
    return compiled_forward(
        path,
        _call(model),
        (model.inputs[0].shape[0], *spec.batch_shape),
        options=options,
    )


def checked_part(path: Path, model: Any, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The part from one image to one embedding, and notes. Raises ModelError."""
    part, notes = _embedding_part(path, model, options)
    check_one_input(path, [tuple(tensor.shape) for tensor in part.inputs])
    check_embedding_shape(path, tuple(part.outputs[0].shape))
    return part, notes


def _embedding_part(path: Path, model: Any, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The part of the model that ends in the embedding, and a note where that is a part."""
    outputs = _outputs(model)
    wanted = options.output
    images = [tensor for tensor in model.inputs if len(tensor.shape) == 4]
    several = len(model.inputs) > 1 and len(images) == 1
    if wanted is not None:
        if wanted not in outputs and (place := output_of(model, wanted)) is not None:
            # Not an output of the whole, but a layer of it: the network up to there.
            return part_until(path, model, images or model.inputs, place), ()
    elif several and (named := output_of(model, EMBEDDING, nested=False)) is not None:
        # Training code hands the labels to its head as a second input.
        part = part_until(path, model, images, named)
        return part, (f"of a model with {len(model.inputs)} inputs, its layer 'embedding' is used",)
    elif len(outputs) == 1 and (found := _before_concatenated_logits(model)) is not None:
        note = (
            "a training checkpoint (embedding and logits concatenated): "
            f"the embedding, its first {found.tensor.shape[-1]} values, is used"
        )
        return part_until(path, model, images or model.inputs, found), (note,)
    elif len(outputs) == 1 and (head := head_of(model.outputs[0])) is not None:
        return _before_head(path, model, images or model.inputs, head)
    return _chosen(path, model, outputs, wanted)


def _chosen(
    path: Path, model: Any, outputs: dict[str, Any], wanted: str | None
) -> tuple[Any, tuple[str, ...]]:
    """The model up to one of its outputs, and a note where that needs one."""
    shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
    name, notes = chosen_output(path, shapes, wanted)
    if len(outputs) == 1 and wanted is None:
        notes = (*notes, *_last_dense_note(model))
    if len(outputs) == 1 and hasattr(model.output, "shape"):
        return model, notes
    return part_until(path, model, model.inputs, settled(outputs[name])), notes


def _last_dense_note(model: Any) -> tuple[str, ...]:
    """What to know of a network that ends in a dense layer without a telling name."""
    last = settled(model.outputs[0])
    if last.is_input:
        return ()
    layer = last.layer
    if type(layer).__name__ == "Concatenate" and len(places_before(last)) == 2:
        return (
            f"its last layer, {layer.name!r}, joins two outputs, which are the embedding; "
            "if one gives classes, name the layer of the other with --output",
        )
    if type(layer).__name__ != "Dense" or layer.name == EMBEDDING:
        return ()
    return (dense_note(layer.name, (layer.units,)),)


def _outputs(model: Any) -> dict[str, Any]:
    """Output name -> tensor: the keys of what the model returns, joined by a slash where it is
    nested; the names of its layers where it returns a list.
    """
    whole = model.output
    nested = isinstance(whole, list | tuple) and len(whole) != len(model.outputs)
    if isinstance(whole, dict) or nested:
        return dict(named_parts(whole))
    names = list(getattr(model, "output_names", None) or [])
    if len(set(names)) != len(model.outputs):
        names = [f"output_{i}" for i in range(len(model.outputs))]
    return dict(zip(names, model.outputs, strict=True))


def _before_head(path: Path, model: Any, images: Any, head: Head) -> tuple[Any, tuple[str, ...]]:
    """The network up to what goes into its classes, and a note. Raises ModelError where that is no
    vector that the image alone decides.
    """
    layer = head.layer.name
    package = importlib.import_module(type(model).__module__.split(".")[0])
    found, refused = None, None
    for place in head.places:
        if len(flat(package, place.tensor).shape) != 2 or place.is_input:
            continue
        try:
            found = part_until(path, model, images, place)
            break
        except ModelError as error:
            refused = error
    if found is None:
        if refused is not None:
            raise refused
        raise ModelError(
            f"{path}: it ends in classes (layer {layer!r}: {head.sign}), and what goes into them "
            f"is no vector; name the layer that gives the embedding with --output, or {layer!r} "
            "for the classes"
        )
    size, classes = found.outputs[0].shape[-1], model.outputs[0].shape[-1]
    note = (
        f"a whole training model, which ends in {classes} classes (layer {layer!r}: {head.sign}): "
        f"what goes into them, {size} values, is the embedding; --output {layer} gives the classes"
    )
    return found, (note,)


def _before_concatenated_logits(model: Any) -> Place | None:
    """The embedding, if the model ends in concatenate([embedding, head(embedding)])."""
    last = settled(model.outputs[0])
    if type(last.layer).__name__ != "Concatenate":
        return None
    before = places_before(last)
    if len(before) != 2 or before[1].is_input:
        return None
    embedding, logits = before
    source = places_before(logits)
    if len(source) != 1 or source[0].tensor is not embedding.tensor:
        return None
    return embedding if gives_classes(logits.layer, embedding.tensor.shape[-1]) else None
