"""OpenVINO's own models, run by OpenVINO whatever ``--engine`` says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import ModelError, cause_of
from evaluator.files import read_bounded
from evaluator.images.inputs import Embedder
from evaluator.limits import check_memory, check_tensor
from evaluator.models.foreign import foreign_errors
from evaluator.models.identity import data_files
from evaluator.models.openvino import (
    check_installed,
    compiled_embedder,
    import_openvino,
    output_of,
    read_parts,
    shape_of,
)
from evaluator.models.openvino_ir.document import checked_xml
from evaluator.models.openvino_ir.macs import openvino_counts
from evaluator.models.options import LoadOptions
from evaluator.models.shapes import (
    EMBEDDING,
    check_one_input,
    class_note,
    class_refusal,
    class_sign,
    input_spec,
)


def check(path: Path, options: LoadOptions) -> None:
    """Raises ModelError where OpenVINO is not installed, or the .bin is missing or cut short, and
    for what the .xml may not say; OSError.
    """
    del options
    check_installed(f"{path}: OpenVINO models need")
    [weights] = data_files(path).values()
    checked_xml(path, weights.stat().st_size)


def load(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of an .xml and its .bin. Raises ModelError; OSError.

    OpenVINO gets the .xml as it was checked and written anew, and ``--trust`` changes nothing.
    """
    check_installed(f"{path}: OpenVINO models need")
    [weights] = data_files(path).values()
    size = weights.stat().st_size
    check_memory(path, "its weights", 3 * size)
    data = read_bounded(weights, size)
    document = checked_xml(path, len(data))
    openvino = import_openvino()
    model = read_parts(openvino, path, document, data)
    shapes = [shape_of(each) for each in model.inputs]
    check_one_input(path, shapes)
    kind = np.dtype(model.inputs[0].element_type.to_dtype()).name
    spec, input_notes = input_spec(path, shapes[0], options, kind=kind)
    output, index, notes = output_of(path, model, options.output)
    if options.output is None and output != EMBEDDING:
        cut = _without_classes(openvino, path, model, index)
        if cut is not None:
            model, index, notes = cut[0], 0, (*notes, cut[1])
    with foreign_errors(f"{path}: does not take images of {spec.height}x{spec.width}"):
        model.reshape({0: [shapes[0][0] or -1, *spec.batch_shape]})
    check_sizes(path, model, shapes[0][0])
    found = compiled_embedder(openvino, path, model, spec, options=options, output=index)
    return replace(
        found,
        format="openvino-ir",
        notes=(*notes, *input_notes, *found.notes),
        count=lambda: openvino_counts(model, (shapes[0][0] or 1, *spec.batch_shape)),
    )


def check_sizes(path: Path, model: Any, batch: int | None) -> None:
    """Raises ModelError where an operation makes too large a tensor of one image. An axis that
    OpenVINO does not know counts as one.
    """
    for operation in model.get_ordered_ops():
        for tensor in operation.outputs():
            sizes = shape_of(tensor)
            sizes = sizes[1:] if batch is not None and sizes[:1] == (batch,) else sizes
            bits = tensor.get_element_type().bitwidth
            name = f"{operation.get_type_name()} {cause_of(operation.get_friendly_name())[:80]!r}"
            check_tensor(path, name, sizes, itemsize=max(1, math.ceil(bits / 8)))


# What hands its first input on, as far as classes are concerned.
_HANDING = ("Convert", "Reshape", "Result", "Squeeze", "Unsqueeze")
_SOFTMAX = ("Softmax", "LogSoftmax")


def _without_classes(openvino: Any, path: Path, model: Any, index: int) -> tuple[Any, str] | None:
    """The model that ends before its classes and a note; None if that output is none by any sign.

    Raises ModelError where there are classes and no layer before them.
    """
    last = _source(model.outputs[index].get_node())
    softmax = last.get_type_name() in _SOFTMAX
    if softmax:
        last = _source(last.input_value(0).get_node())
    own = list(_parts(last))
    if last.get_type_name() == "Add":
        last = _source(last.input_value(0).get_node())
    if last.get_type_name() != "MatMul":
        if softmax:
            raise ModelError(class_refusal(path, "softmax"))
        return None
    embedding = last.input_value(0)
    before = list(_parts(_source(embedding.get_node())))
    sign = "softmax" if softmax else class_sign([*own, *_parts(last)], before)
    if sign is None:
        return None
    return openvino.Model([embedding], model.get_parameters()), class_note(
        sign, shape_of(embedding)
    )


def _source(operation: Any) -> Any:
    """The operation whose values an operation hands on."""
    while operation.get_type_name() in _HANDING and operation.get_input_size():
        operation = operation.input_value(0).get_node()
    return operation


def _parts(operation: Any) -> Iterator[str]:
    yield from operation.get_friendly_name().split("/")
