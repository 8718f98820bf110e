"""ONNX models, run by onnxruntime: insightface's own, and exported ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError, OutOfMemoryError
from evaluator.inputs import Embedder
from evaluator.models import LoadOptions
from evaluator.models.runtime import native_messages_held
from evaluator.models.shapes import (
    check_embedding_shape,
    check_one_input,
    chosen_output,
    input_spec,
)

# onnxruntime's names of the types that images and embeddings have.
_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError if the extra that runs .onnx files is missing, or cannot do as asked."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise ModelError(
            f"{path}: .onnx files need onnxruntime; install the extra: pip install 'face-zoo[onnx]'"
        )
    if options.precision != "float32":
        raise ModelError(
            f"{path}: --precision {options.precision} does not apply: an .onnx file has its own"
        )


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of an .onnx file. Raises ModelError."""
    check(path, options)
    session = _session(path)
    inputs = session.get_inputs()
    shapes = [_shape(each) for each in inputs]
    check_one_input(path, shapes)
    if inputs[0].type not in _TYPES:
        raise ModelError(f"{path}: the model's input is a {inputs[0].type}; expected an image")
    spec, input_notes = input_spec(path, shapes[0], options)
    named = {each.name: _shape(each) for each in session.get_outputs()}
    output, output_notes = chosen_output(path, named, options.output)
    check_embedding_shape(path, named[output])
    image_name, kind = inputs[0].name, _TYPES[inputs[0].type]

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if kind is np.uint8:  # pixels as they are; a resized one lies between two levels
            batch = np.clip(np.rint(batch), 0, 255)
        values = batch.astype(kind, copy=False)
        try:
            embeddings: NDArray[np.float32] = session.run([output], {image_name: values})[0]
        except _run_errors() as error:
            raise _forward_error(error) from None
        return embeddings.astype(np.float32, copy=False)

    return Embedder(
        forward=forward,
        input=spec,
        format="onnx",
        fixed_batch=shapes[0][0],
        notes=(*output_notes, *input_notes),
    )


def _run_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises where a graph cannot be computed."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return (errors.Fail, errors.InvalidArgument, errors.RuntimeException)


def _forward_error(error: Exception) -> ForwardError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    # It has no class of its own for memory; these are its allocator's words and C++'s.
    exhausted = "Failed to allocate memory" in str(error) or "bad_alloc" in str(error)
    return (OutOfMemoryError if exhausted else ForwardError)(reason)


def _session(path: Path) -> Any:
    with native_messages_held():
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        available = onnxruntime.get_available_providers()
        providers = [name for name in _PROVIDERS if name in available]
        try:
            return onnxruntime.InferenceSession(str(path), settings, providers=providers)
        except (
            errors.Fail,
            errors.InvalidArgument,
            errors.InvalidGraph,
            errors.InvalidProtobuf,
            errors.NoSuchFile,
            errors.NotImplemented,
            errors.RuntimeException,
        ) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise ModelError(
                f"{path}: a damaged .onnx file, or one that onnxruntime "
                f"{onnxruntime.__version__} cannot run: {lines[0][:200]}"
            ) from None


_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def _shape(tensor: Any) -> tuple[int | None, ...]:
    """The shape with None for a named axis. insightface names the batch axis of its inputs only."""
    return tuple(size if isinstance(size, int) and size > 0 else None for size in tensor.shape)
