"""MACs and parameters of a .tflite model, by the sizes that its tensors have after a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from evaluator.images.inputs import Counts
from evaluator.models.macs import Sizes, check_counted, convolution, counts, known, product
from evaluator.models.tflite.graph import TFLiteFile

# Whole numbers of 32 and 64 bits say shapes, but for a quantised layer's bias.
_NO_WEIGHTS = ("INT32", "INT64", "UINT32", "UINT64", "BOOL", "STRING", "RESOURCE", "VARIANT")
_LAYERS = ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def tflite_counts(file: TFLiteFile, sizes: Callable[[], Sequence[Sizes]], images: int) -> Counts:
    """The parameters of a file, and the MACs of an image.

    ``sizes`` gives the shape of each tensor of its network for a batch of so many images.
    """
    return counts(lambda: _parameters(file), lambda: _all_macs(file, sizes()) // images)


def _parameters(file: TFLiteFile) -> int:
    found = 0
    seen: set[int] = set()
    for operation, operator in file.operators():
        for place, index in enumerate(file.inputs_of(operator)):
            tensor = file.held(index)
            if tensor is None or index in seen:
                continue
            bias = place == 2 and operation in _LAYERS
            if bias or file.type_of(tensor) not in _NO_WEIGHTS:
                sizes = tensor.ShapeLength()
                found += prod(tensor.Shape(i) for i in range(sizes)) if sizes else 0
                seen.add(index)
    return found


def _all_macs(file: TFLiteFile, sizes: Sequence[Sizes]) -> int:
    total = 0
    for operation, operator in file.operators():
        formula = _FORMULAS.get(operation)
        if formula is None:
            check_counted(operation)
            continue
        inputs = [sizes[index] if index >= 0 else () for index in file.inputs_of(operator)]
        total += formula(operation, operator, inputs, sizes[operator.Outputs(0)])
    return total


_Formula = Callable[[str, Any, list[Sizes], Sizes], int]


def _convolution(operation: str, _: Any, inputs: list[Sizes], output: Sizes) -> int:
    # The kernel is (out, height, width, in a group).
    sizes, kernel = known(operation, output, inputs[1])
    return convolution(sizes, kernel[1:])


def _depthwise(operation: str, _: Any, inputs: list[Sizes], output: Sizes) -> int:
    # The kernel is (1, height, width, out).
    sizes, kernel = known(operation, output, inputs[1])
    return convolution(sizes, kernel[1:3])


def _transposed(operation: str, _: Any, inputs: list[Sizes], _output: Sizes) -> int:
    # Shape of the output, kernel (out, height, width, in), and what goes in.
    kernel, given = known(operation, inputs[1], inputs[2])
    return convolution(given, kernel[:3])


def _dense(operation: str, _: Any, inputs: list[Sizes], output: Sizes) -> int:
    weights, sizes = known(operation, inputs[1], output)
    return product(sizes, weights[-1])


def _product(operation: str, operator: Any, inputs: list[Sizes], output: Sizes) -> int:
    from ai_edge_litert import schema_py_generated as schema

    settings = schema.BatchMatMulOptions()
    table = operator.BuiltinOptions()
    if table is not None:
        settings.Init(table.Bytes, table.Pos)
    turned = table is not None and settings.AdjX()
    left, sizes = known(operation, inputs[0], output)
    return product(sizes, left[-2 if turned else -1])


_FORMULAS: dict[str, _Formula] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
}
