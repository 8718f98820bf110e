"""OpenVINO in place of a format's own runtime: TensorFlow's graphs, and .onnx and .tflite files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError, OutOfMemoryError, cause_of
from evaluator.images.inputs import Embedder, Forward, InputSpec
from evaluator.models.foreign import check_extra
from evaluator.models.formats import model_format
from evaluator.models.onnx.load import as_input
from evaluator.models.onnx.macs import onnx_counts
from evaluator.models.onnx.proto import check_onnx_installed
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import native_messages_held
from evaluator.models.shapes import (
    FRACTIONAL,
    WHOLE,
    check_embedding_shape,
    check_one_input,
    chosen_output,
    input_spec,
)

# OpenVINO's names of the two ways to compute.
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}

_CI = "CI"

_UNCONVERTED = re.compile(r"No conversion rule found for operations: ([\w., :-]+)")
# Words of OpenVINO's allocator, and of C++'s.
_NO_MEMORY = re.compile(r"Failed to allocate|bad_alloc|[Oo]ut of memory")
# Where in OpenVINO's sources an error was raised, and from where: not what it is.
_WHERE = re.compile(r"Exception from |Check '.*' failed at |FrontEnd API failed|While validating ")


def check_installed(what: str = "--engine openvino needs") -> None:
    """Raises ModelError, which names the extra, where OpenVINO is not installed."""
    check_extra("openvino", f"{what} OpenVINO", "openvino")


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError where OpenVINO, or what checks a file before it, is not installed."""
    del options
    check_installed()
    if model_format(path) == "onnx":
        check_onnx_installed(path)
    else:
        needs = f"{path}: .tflite files are checked by LiteRT's schema before they run"
        check_extra("ai_edge_litert", needs, "tflite")


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of an .onnx or .tflite file. Raises ModelError."""
    check(path, options)
    loader = _load_onnx if model_format(path) == "onnx" else _load_tflite
    return loader(path, options)


def _load_tflite(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a .tflite file, which LiteRT's schema has checked first."""
    from evaluator.models.tflite.graph import read_tflite
    from evaluator.models.tflite.load import counts_of

    file = read_tflite(path, options)
    openvino = import_openvino()
    model = _read_bytes(openvino, path, file.data, ".tflite")
    shapes = [shape_of(each) for each in model.inputs]
    check_one_input(path, shapes)
    spec, input_notes = input_spec(path, shapes[0], options)
    _, output, notes = output_of(path, model, options.output)
    cut = None if options.output else file.without_classes(output)
    if cut is not None:
        model, notes = _read_bytes(openvino, path, cut.data, ".tflite"), (*notes, cut.note)
    # Of quantised files, whose images are whole numbers, OpenVINO does not tell the scale.
    found = compiled_embedder(
        openvino,
        path,
        model,
        spec,
        options=options,
        output=output,
        kinds=frozenset({"float32"}),
    )
    data = file.data if cut is None else cut.data
    return replace(
        found,
        format="tflite",
        notes=(*notes, *input_notes, *found.notes),
        count=lambda: counts_of(path, data, spec),
    )


def _load_onnx(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of an .onnx file, which the onnx package has checked first."""
    from evaluator.models.onnx.model import read_onnx

    known = read_onnx(path, options)
    openvino = import_openvino()
    found = compiled_embedder(
        openvino,
        path,
        _read_bytes(openvino, path, known.data, ".onnx"),
        known.spec,
        options=options,
    )
    notes = (*known.notes, *found.notes)
    return replace(found, format="onnx", notes=notes, count=lambda: onnx_counts(path, options))


def output_of(path: Path, model: Any, wanted: str | None) -> tuple[str, int, tuple[str, ...]]:
    """The output to use, as `chosen_output` chooses: its name, its place, and notes."""
    places = {name_of(each): place for place, each in enumerate(model.outputs)}
    shapes = {name: shape_of(model.outputs[place]) for name, place in places.items()}
    name, notes = chosen_output(path, shapes, wanted)
    return name, places[name], notes


def compiled_embedder(
    openvino: Any,
    path: Path,
    model: Any,
    spec: InputSpec,
    *,
    options: LoadOptions,
    kinds: frozenset[str] = FRACTIONAL | WHOLE,
    output: int = 0,
) -> Embedder:
    """The Embedder of a model that OpenVINO has read, of an image in and an embedding out."""
    (image,), embedding = model.inputs, model.outputs[output]
    batch = shape_of(image)[0]
    # A model that takes any image size gets one: OpenVINO plans better for what it knows.
    model.reshape({0: [batch or -1, *spec.batch_shape]})
    notes = check_embedding_shape(path, shape_of(embedding))
    for what, tensor, taken in (("input", image, kinds), ("output", embedding, FRACTIONAL)):
        found = np.dtype(tensor.element_type.to_dtype()).name
        if found not in taken:
            raise ModelError(
                f"{path}: its {what} is {found}, which --engine openvino does not take; "
                "leave the option out"
            )
    return Embedder(
        forward=_forward(openvino, path, model, options, output=output),
        input=spec,
        fixed_batch=batch,
        notes=notes,
    )


def graph_forward(path: Path, graph: Any, options: LoadOptions) -> Forward:
    """The forward pass of a TensorFlow GraphDef with one input and one output, and no variables.

    OpenVINO reads it as a file, weights included. Raises ModelError for what OpenVINO has
    not; ``path`` names the model in it.
    """
    check_installed()
    openvino = import_openvino()
    try:
        data = graph.SerializeToString()
    except ValueError:
        raise ModelError(
            f"{path}: a graph of more than 2 GB, which no file holds; leave --engine openvino out"
        ) from None
    return _forward(openvino, path, _read_bytes(openvino, path, data, ".pb"), options)


def import_openvino() -> Any:
    """The openvino package, which by itself would report each import to its maker.

    It sends such events and leaves a client's number in the home folder, but not in a CI job, which
    it knows by this variable.
    """
    before = os.environ.get(_CI)
    os.environ[_CI] = "true"
    try:
        with native_messages_held():
            import openvino
    finally:
        del os.environ[_CI]
        if before is not None:
            os.environ[_CI] = before
    return openvino


def compile_settings(
    precision: str, capabilities: Sequence[str], threads: int | None = None
) -> dict[str, Any]:
    """What OpenVINO is told for a precision, on a CPU that can do what it lists.

    Raises ModelError for bfloat16 on a CPU that has none: OpenVINO would compute in float32.
    """
    if precision == "bfloat16" and "BF16" not in capabilities:
        raise ModelError(
            "--precision bfloat16: OpenVINO finds no bfloat16 arithmetic on this machine; use "
            "--precision float32"
        )
    return {
        # Said for float32 too: where the CPU has bfloat16, OpenVINO would use it unasked.
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, on all cores
        "INFERENCE_NUM_THREADS": threads or os.cpu_count() or 1,
        "ENABLE_HYPER_THREADING": True,
        # Images are decoded on the same cores meanwhile.
        "ENABLE_CPU_PINNING": False,
    }


def _forward(
    openvino: Any,
    path: Path,
    model: Any,
    options: LoadOptions,
    *,
    output: int = 0,
) -> Forward:
    """The forward pass of an openvino.Model with one input; float32 in and out."""
    core = openvino.Core()
    can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = compile_settings(options.precision, can, options.threads)
    kind = np.dtype(model.inputs[0].element_type.to_dtype())

    def compiled() -> Any:
        with native_messages_held(RuntimeError):
            return core.compile_model(model, "CPU", settings)

    try:
        current = compiled()
    except RuntimeError as error:
        raise _unconverted(openvino, path, error) from None

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal current
        try:
            current = compiled() if current is None else current
            found = current(as_input(batch, kind))[output]
        except (RuntimeError, MemoryError) as error:
            # It would ask for a failed batch's memory again, for a smaller one too.
            current = None
            raise _forward_error(error) from None
        return np.asarray(found, dtype=np.float32)

    return forward


def _read_bytes(openvino: Any, path: Path, data: bytes, suffix: str) -> Any:
    """The openvino.Model of bytes that were checked, and of nothing beside them."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        # OpenVINO goes by a file's name; we go by its content.
        checked = Path(folder) / f"model{suffix}"
        checked.write_bytes(data)
        return read_parts(openvino, path, checked)


def read_parts(openvino: Any, path: Path, *parts: Path | bytes) -> Any:
    """The openvino.Model of a file, or of the bytes of an .xml and of its .bin; ``path`` names it
    in errors.
    """
    try:
        # What OpenVINO's parsers write on their way to an error is not shown.
        with native_messages_held(Exception):
            return openvino.Core().read_model(*parts)
    except Exception as error:  # noqa: BLE001 - its own errors derive from nothing narrower
        raise _unconverted(openvino, path, error) from None


def _unconverted(openvino: Any, path: Path, error: Exception) -> ModelError:
    """What OpenVINO's error about a model means, in one line."""
    operations = _UNCONVERTED.search(str(error))
    if operations is not None:
        return ModelError(
            f"{path}: OpenVINO {openvino.__version__.partition('-')[0]} has no "
            f"{operations[1].strip()}; leave --engine openvino out"
        )
    return ModelError(
        f"{path}: a damaged file, or one that OpenVINO {openvino.__version__.partition('-')[0]} "
        f"cannot read: {_reason(error)}"
    )


def _forward_error(error: Exception) -> ForwardError:
    exhausted = isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None
    return (OutOfMemoryError if exhausted else ForwardError)(_reason(error))


def _reason(error: Exception) -> str:
    """The cause in OpenVINO's error, without its places in OpenVINO's sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not _WHERE.search(line)]
    return cause_of((told or lines or [type(error).__name__])[0])[:200]


def shape_of(tensor: Any) -> tuple[int | None, ...]:
    """The shape with None for an open axis."""
    shape = tensor.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(size.get_length() if size.is_static else None for size in shape)


def name_of(tensor: Any) -> str:
    """An output's name, as TensorFlow Lite's own runtime has it."""
    from evaluator.models.tflite.graph import short_name

    return short_name(min(tensor.names, default="output"))
