"""TensorFlow Lite models, float or quantised, run by LiteRT."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError
from evaluator.images.inputs import Counts, Embedder, Forward, InputSpec
from evaluator.models.foreign import check_extra
from evaluator.models.macs import Sizes
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import native_messages_held
from evaluator.models.shapes import (
    check_embedding_shape,
    check_one_input,
    chosen_output,
    dense_note,
    input_spec,
)
from evaluator.models.tflite.graph import TFLiteFile, read_tflite, short_name
from evaluator.models.tflite.macs import tflite_counts


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError if the extra that runs .tflite files is missing, or cannot do as asked."""
    check_extra("ai_edge_litert", f"{path}: .tflite files need LiteRT", "tflite")
    if options.precision != "float32":
        raise ModelError(
            f"{path}: --precision {options.precision} does not apply: a .tflite file has its own"
        )


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a .tflite file. Raises ModelError.

    Its operations are read first, by the schema, and refused unless they only compute.
    """
    check(path, options)
    file = read_tflite(path, options)
    interpreter = _interpreter(path, file.data, options.threads)
    inputs = interpreter.get_input_details()
    shapes = [_signature_shape(detail) for detail in inputs]
    check_one_input(path, shapes)
    image = inputs[0]
    scaled = image["quantization"][0] and np.dtype(image["dtype"]).kind in "iu"
    kind = "float32" if scaled else np.dtype(image["dtype"]).name
    spec, input_notes = input_spec(path, shapes[0], options, kind=kind)
    interpreter, embedding, output_notes, data = _embedding(path, file, interpreter, options)
    notes = [*output_notes, *input_notes]
    for what, detail in (("input", image), ("output", embedding)):
        if detail["quantization"][0]:
            notes.append(f"its {what} is quantised to {np.dtype(detail['dtype']).name}")
    return Embedder(
        forward=_forward(interpreter, image, embedding),
        input=spec,
        format="tflite",
        fixed_batch=shapes[0][0],
        notes=tuple(notes),
        count=lambda: counts_of(path, data, spec),
    )


def counts_of(path: Path, data: bytes, spec: InputSpec) -> Counts:
    """The parameters and MACs of a file's bytes, which are run once to see their sizes."""

    def sizes() -> list[Sizes]:
        interpreter = _interpreter(path, data, 1)
        image = interpreter.get_input_details()[0]
        shape = (images, *spec.batch_shape)
        if tuple(image["shape"]) != shape:
            interpreter.resize_tensor_input(image["index"], shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(image["index"], np.zeros(shape, image["dtype"]))
        interpreter.invoke()
        shapes = {each["index"]: each["shape"] for each in interpreter.get_tensor_details()}
        return [tuple(map(int, shapes.get(i, ()))) for i in range(max(shapes) + 1)]

    file = TFLiteFile(path, data)
    images = file.fixed_batch or 1
    return tflite_counts(file, sizes, images)


def _embedding(
    path: Path, file: TFLiteFile, interpreter: Any, options: LoadOptions
) -> tuple[Any, Mapping[str, Any], tuple[str, ...], bytes]:
    """The interpreter, its output that is the embedding, notes, and the bytes that it runs.

    Raises ModelError.
    """
    data = file.data
    details = interpreter.get_output_details()
    places = {short_name(detail["name"]): i for i, detail in enumerate(details)}
    named = {name: _signature_shape(details[i]) for name, i in places.items()}
    output, notes = chosen_output(path, named, options.output)
    if options.output is None and (cut := file.without_classes(places[output])) is not None:
        data = cut.data
        interpreter = _interpreter(path, data, options.threads)
        embedding, notes = interpreter.get_output_details()[0], (*notes, cut.note)
    else:
        embedding = details[places[output]]
        dense = None if options.output is not None else file.unnamed_dense(places[output])
        if dense is not None:
            notes = (*notes, dense_note(dense, named[output], inner=False))
    notes = (*notes, *check_embedding_shape(path, _signature_shape(embedding)))
    if np.dtype(embedding["dtype"]).kind not in "fiu":
        raise ModelError(
            f"{path}: the model's output is {np.dtype(embedding['dtype']).name}; expected numbers"
        )
    return interpreter, embedding, notes, data


def _forward(interpreter: Any, image: Mapping[str, Any], embedding: Mapping[str, Any]) -> Forward:
    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            if tuple(interpreter.get_input_details()[0]["shape"]) != batch.shape:
                interpreter.resize_tensor_input(image["index"], batch.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(image["index"], _quantised(batch, image))
            interpreter.invoke()
            found = interpreter.get_tensor(embedding["index"])
        except (RuntimeError, ValueError) as error:
            raise ForwardError(str(error).partition("\n")[0]) from None
        return _dequantised(found, embedding)

    return forward


def _interpreter(path: Path, data: bytes, threads: int | None) -> Any:
    with native_messages_held():
        from ai_edge_litert.interpreter import Interpreter

        try:
            # From bytes, not by name: only bytes are verified before they are believed.
            number = threads or os.cpu_count() or 1
            interpreter = Interpreter(model_content=data, num_threads=number)
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
