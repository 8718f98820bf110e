"""TensorFlow Lite models, float or quantised, run by LiteRT."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError
from evaluator.inputs import Embedder
from evaluator.models import LoadOptions
from evaluator.models.runtime import native_messages_held
from evaluator.models.shapes import (
    check_embedding_shape,
    check_one_input,
    chosen_output,
    input_spec,
)


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError if the extra that runs .tflite files is missing, or cannot do as asked."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ModelError(
            f"{path}: .tflite files need LiteRT; install the extra: pip install 'face-zoo[tflite]'"
        )
    if options.precision != "float32":
        raise ModelError(
            f"{path}: --precision {options.precision} does not apply: a .tflite file has its own"
        )


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a .tflite file. Raises ModelError."""
    check(path, options)
    interpreter = _interpreter(path)
    inputs = interpreter.get_input_details()
    shapes = [_signature_shape(detail) for detail in inputs]
    check_one_input(path, shapes)
    spec, input_notes = input_spec(path, shapes[0], options)
    outputs = {short_name(detail["name"]): detail for detail in interpreter.get_output_details()}
    named = {name: _signature_shape(detail) for name, detail in outputs.items()}
    output, output_notes = chosen_output(path, named, options.output)
    check_embedding_shape(path, named[output])
    image, embedding = inputs[0], outputs[output]
    notes = [*output_notes, *input_notes]
    for what, detail in (("input", image), ("output", embedding)):
        if detail["dtype"] != np.float32:
            notes.append(f"its {what} is quantised to {np.dtype(detail['dtype']).name}")

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            if tuple(interpreter.get_input_details()[0]["shape"]) != batch.shape:
                interpreter.resize_tensor_input(image["index"], batch.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(image["index"], _quantised(batch, image))
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ForwardError(str(error).partition("\n")[0]) from None
        return _dequantised(interpreter.get_tensor(embedding["index"]), embedding)

    return Embedder(
        forward=forward,
        input=spec,
        format="tflite",
        fixed_batch=shapes[0][0],
        notes=tuple(notes),
    )


def _interpreter(path: Path) -> Any:
    with native_messages_held():
        from ai_edge_litert.interpreter import Interpreter

        try:
            # From bytes, not by name: only bytes are verified before they are believed.
            interpreter = Interpreter(
                model_content=path.read_bytes(), num_threads=os.cpu_count() or 1
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise ModelError(
                f"{path}: a damaged .tflite file, or one with operations that LiteRT has not: "
                f"{lines[0][:160]}"
            ) from None
    return interpreter


def _signature_shape(detail: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The shape with None for an axis that is open, which LiteRT has as -1."""
    signature = detail["shape_signature"]
    shape = signature if len(signature) else detail["shape"]
    return tuple(int(size) if size > 0 else None for size in shape)


def short_name(name: str) -> str:
    """'embedding' of 'StatefulPartitionedCall_1:0' or 'model/embedding/BiasAdd' and the like."""
    parts = name.split(";")[0].split(":")[0].split("/")
    return "embedding" if "embedding" in parts else parts[-1]


def _quantised(batch: NDArray[np.float32], detail: Mapping[str, Any]) -> NDArray[Any]:
    scale, zero = detail["quantization"]
    kind = np.dtype(detail["dtype"])
    if kind.kind == "f":
        return batch.astype(kind, copy=False)
    limits = np.iinfo(kind)
    levels = batch if scale == 0 else batch / np.float32(scale) + zero
    return np.clip(np.rint(levels), limits.min, limits.max).astype(kind)


def _dequantised(values: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[np.float32]:
    scale, zero = detail["quantization"]
    if values.dtype.kind == "f" or scale == 0:
        return values.astype(np.float32)
    return (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)
