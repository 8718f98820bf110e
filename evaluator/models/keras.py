"""Keras models: .h5 of Keras 2 and 3, and .keras."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import ModelError
from evaluator.inputs import Embedder, Forward, InputSpec
from evaluator.models import LoadOptions, model_format
from evaluator.models.graph import compiled_forward
from evaluator.models.keras_code import refuse_code
from evaluator.models.keras_config import read_config
from evaluator.models.runtime import import_keras

# What Keras raises, by version and file, for a config or weights it cannot use.
_LOAD_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    NotImplementedError,
    ImportError,
    RuntimeError,
    OSError,
)

# A size for fully convolutional models that leave it open: the one of every public face bin.
_FREE_SIZE = (112, 112)


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError for what the file's own description shows to be unusable."""
    config = read_config(path, _format(path))
    if not options.trust:
        refuse_code(path, config)
    shapes = _declared_input_shapes(config)
    if len(shapes) > 1:
        raise ModelError(f"{path}: the model takes {len(shapes)} inputs; expected one image")
    if shapes:
        _check_input_shape(path, shapes[0])


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a Keras file. Raises ModelError."""
    check(path, options)
    model, notes = _load_model(path, options)
    if len(model.inputs) != 1:
        raise ModelError(f"{path}: the model takes {len(model.inputs)} inputs; expected one image")
    model, output_notes = _embedding_model(path, model)
    shape = tuple(model.inputs[0].shape)
    _check_input_shape(path, shape)
    spec, input_notes = input_spec(shape[1:], options)
    fixed = shape[0] if isinstance(shape[0], int) else None
    return Embedder(
        forward=_compiled(path, model, spec, options.precision),
        input=spec,
        format=_format(path),
        fixed_batch=fixed,
        notes=(*notes, *output_notes, *input_notes),
    )


def input_spec(
    shape: Sequence[int | None], options: LoadOptions
) -> tuple[InputSpec, tuple[str, ...]]:
    """The InputSpec of an image input (three axes, no batch), and notes on what was assumed."""
    notes = []
    first, second, third = shape
    channels_first = first in (1, 3) and third not in (1, 3)
    height, width = (second, third) if channels_first else (first, second)
    depth = first if channels_first else third
    if options.profile is None:
        notes.append("no --input given: assuming 'unit', RGB in [0, 1]")
    channels = options.channels
    if depth == 1:
        if channels == "bgr":
            raise ModelError("the model takes one channel: --channels bgr does not apply to it")
        channels = "gray"
        notes.append("the model takes one channel: images are turned to gray")
    if height is None or width is None:
        height, width = options.size or _FREE_SIZE
        if options.size is None:
            notes.append(f"the model takes any image size: using {height}x{width}")
    profile = options.profile or "unit"
    layout = "NCHW" if channels_first else "NHWC"
    return InputSpec(height, width, profile, channels, layout), tuple(notes)


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


def _check_input_shape(path: Path, shape: Sequence[int | None]) -> None:
    if len(shape) == 2:
        raise ModelError(
            f"{path}: the model takes a vector of {shape[1]} numbers, not an image; "
            "expected (height, width, channels)"
        )
    if len(shape) != 4:
        raise ModelError(f"{path}: the model's input has shape {shape}; expected one image")
    if not {shape[1], shape[3]} & {1, 3}:
        raise ModelError(
            f"{path}: the model's input has shape {shape}; expected 1 or 3 channels, first or last"
        )


def _load_model(path: Path, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The model built by Keras 3, or by tf_keras where Keras 3 cannot."""
    keras = import_keras()
    suffix = ".h5" if _format(path) == "keras-h5" else ".keras"
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        # Keras goes by the file's name; we go by its content.
        named = path if path.suffix == suffix else Path(folder) / f"model{suffix}"
        if named != path:
            named.symlink_to(path.resolve())
        try:
            return _load_with(keras, named, options), ()
        except _LOAD_ERRORS as error:
            first = _cause(error)
        if importlib.util.find_spec("tf_keras") is None:
            raise ModelError(
                f"{path}: Keras {keras.__version__} cannot load it ({first}). It may be a Keras 2 "
                "file: install the extra that reads those: pip install 'face-zoo[legacy]'"
            )
        import tf_keras

        try:
            model = _load_with(tf_keras, named, options)
        except _LOAD_ERRORS as error:
            raise ModelError(
                f"{path}: neither Keras {keras.__version__} ({first}) "
                f"nor tf_keras {tf_keras.__version__} ({_cause(error)}) can load it"
            ) from None
    return model, (f"loaded with tf_keras, since Keras {keras.__version__} cannot: {first}",)


def _load_with(package: Any, path: Path, options: LoadOptions) -> Any:
    norm_dense = _norm_dense(package)
    return package.models.load_model(
        path if package.__name__ == "keras" else str(path),
        compile=False,
        safe_mode=not options.trust,
        custom_objects={"NormDense": norm_dense, "Custom>NormDense": norm_dense},
    )


def _norm_dense(package: Any) -> Any:
    """The weight-normalised head of training checkpoints, for Keras 3 or tf_keras.

    Accepts both names under which its width has been saved, ``classes`` and ``output_dim``.
    """

    class NormDense(package.layers.Layer):  # type: ignore[misc]
        def __init__(
            self, classes: int | None = None, output_dim: int | None = None, **kwargs: Any
        ) -> None:
            super().__init__(**kwargs)
            self.classes = classes or output_dim

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight(
                name="norm_dense_w", shape=(input_shape[-1], self.classes), trainable=True
            )
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            if package.__name__ == "keras":
                return package.ops.matmul(inputs, package.ops.normalize(self.w, axis=0))
            import tensorflow as tf

            return tf.matmul(inputs, tf.nn.l2_normalize(self.w, axis=0))

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (*input_shape[:-1], self.classes)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "classes": self.classes}

    return NormDense


@dataclass(frozen=True)
class _Output:
    """One tensor that could be the embedding: the layer it comes from and its shape."""

    layer: str
    tensor: Any

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.tensor.shape)


def _embedding_model(path: Path, model: Any) -> tuple[Any, tuple[str, ...]]:
    """The part of the model that ends in the embedding, and a note where that is a part."""
    names = list(model.output_names) if hasattr(model, "output_names") else []
    outputs = [
        _Output(names[i] if i < len(names) else f"output {i}", tensor)
        for i, tensor in enumerate(model.outputs)
    ]
    notes: tuple[str, ...] = ()
    if len(outputs) > 1:
        chosen = [output for output in outputs if output.layer == "embedding"]
        if not chosen:
            listed = ", ".join(f"{output.layer} {output.shape}" for output in outputs)
            raise ModelError(
                f"{path}: the model has {len(outputs)} outputs ({listed}) and none is named "
                "'embedding'; save a model that ends in the embedding alone"
            )
        notes = (f"of {len(outputs)} outputs, the one named 'embedding' is used",)
        model = _submodel(model, chosen[0].tensor)
    elif (part := _before_concatenated_logits(model)) is not None:
        notes = (
            "a training checkpoint (embedding and logits concatenated): "
            f"the embedding, its first {part.shape[-1]} values, is used",
        )
        model = _submodel(model, part)
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 2:
        raise ModelError(
            f"{path}: the model's output has shape {shape}; expected one embedding an image, "
            "(batch, size). Is it a detector, or a backbone without its pooling layer?"
        )
    if shape[1] is not None and shape[1] < 2:
        raise ModelError(f"{path}: the model's output is one number an image, not an embedding")
    return model, notes


def _submodel(model: Any, tensor: Any) -> Any:
    package = importlib.import_module(type(model).__module__.split(".")[0])
    return package.Model(model.inputs, tensor)


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


def _compiled(path: Path, model: Any, spec: InputSpec, precision: str) -> Forward:
    """The forward pass as one compiled graph, float32 in and out."""
    import keras

    if keras.backend.backend() != "tensorflow" and isinstance(model, keras.Model):
        if precision != "float32":
            raise ModelError(
                f"{path}: --precision {precision} needs the TensorFlow backend; "
                f"Keras runs on {keras.backend.backend()}"
            )
        return lambda batch: np.asarray(model.predict_on_batch(batch), dtype=np.float32)
    return compiled_forward(
        lambda batch: model(batch, training=False),
        (model.inputs[0].shape[0], *spec.batch_shape),
        precision=precision,
    )


def _cause(error: Exception) -> str:
    """The first telling line of a Keras error, short enough for one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160].rstrip(".:")
