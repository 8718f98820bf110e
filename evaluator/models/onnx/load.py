"""ONNX models, run by onnxruntime: insightface's own, and exported ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError, OutOfMemoryError, cause_of
from evaluator.images.inputs import Embedder
from evaluator.models.foreign import check_extra
from evaluator.models.onnx.macs import onnx_counts
from evaluator.models.onnx.model import read_onnx
from evaluator.models.onnx.proto import check_onnx_installed
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import native_messages_held
from evaluator.models.shapes import check_embedding_shape


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError if the extra that runs .onnx files is missing, or cannot do as asked."""
    check_extra("onnxruntime", f"{path}: .onnx files need onnxruntime", "onnx")
    check_onnx_installed(path)
    if options.precision != "float32":
        raise ModelError(
            f"{path}: --precision {options.precision} does not apply: an .onnx file has its own"
        )


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of an .onnx file. Raises ModelError."""
    check(path, options)
    model = read_onnx(path, options)
    session = _session(path, model.data, options.threads)
    found = next(each for each in session.get_outputs() if each.name == model.output)
    if not _NUMBERS.fullmatch(found.type):
        raise ModelError(f"{path}: the model's output is a {found.type}; expected an embedding")
    kind = np.dtype(model.kind)
    if kind.kind not in "fiu":  # bfloat16, which has no array to be given in
        raise ModelError(f"{path}: the model's input is {kind}, which onnxruntime does not take")
    # insightface names the batch axis of its inputs only; None is for a named one.
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in found.shape)
    flat_notes = check_embedding_shape(path, shape)
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        values = as_input(batch, kind)
        try:
            embeddings: NDArray[np.float32] = session.run([model.output], {model.image: values})[0]
        except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
            raise _forward_error(error) from None
        return embeddings.astype(np.float32, copy=False)

    return Embedder(
        forward=forward,
        input=model.spec,
        format="onnx",
        fixed_batch=model.shape[0],
        notes=(*model.notes, *flat_notes),
        device="gpu" if _GPU in session.get_providers() else "cpu",
        count=lambda: onnx_counts(path, options),
    )


def as_input(batch: NDArray[np.float32], kind: np.dtype[Any]) -> NDArray[Any]:
    """A batch in an input's type; of whole numbers, pixels between two levels are rounded."""
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        batch = np.clip(np.rint(batch), max(limits.min, 0), min(limits.max, 255))
    return batch.astype(kind, copy=False)


def _forward_error(error: Exception) -> ForwardError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    # It has no class of its own for memory; these are its allocator's words and C++'s.
    exhausted = "Failed to allocate memory" in str(error) or "bad_alloc" in str(error)
    return (OutOfMemoryError if exhausted else ForwardError)(reason)


def _session(path: Path, model: bytes, threads: int | None) -> Any:
    with native_messages_held(ModelError):
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        settings = onnxruntime.SessionOptions()
        # What is said is in the exceptions, without the file's words on the terminal as they are.
        settings.log_severity_level = 4
        # Nothing is written and no library loaded, as by default; the bytes are an ONNX model's.
        settings.add_session_config_entry("session.load_model_format", "ONNX")
        if threads is not None:
            settings.intra_op_num_threads = threads
        available = onnxruntime.get_available_providers()
        providers = [name for name in _PROVIDERS if name in available]
        try:
            return onnxruntime.InferenceSession(model, settings, providers=providers)
        except (
            errors.Fail,
            errors.InvalidArgument,
            errors.InvalidGraph,
            errors.InvalidProtobuf,
            errors.NoSuchFile,
            errors.NotImplemented,
            errors.RuntimeException,
        ) as error:
            raise ModelError(
                f"{path}: a damaged .onnx file, or one that onnxruntime "
                f"{onnxruntime.__version__} cannot run: {cause_of(error)[:200]}"
            ) from None


# What onnxruntime calls tensors of numbers that an embedding may be.
_NUMBERS = re.compile(r"tensor\((float|float16|double|u?int(8|16|32|64))\)")
_GPU = "CUDAExecutionProvider"
_PROVIDERS = (_GPU, "CPUExecutionProvider")
