"""MACs and parameters of a .tflite model, by the sizes that its tensors have after a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from evaluator.images.inputs import Counts
from evaluator.models.macs import Operands, Sizes, counts, kernel, multiplications, product
from evaluator.models.tflite.graph import TFLiteFile

# Whole numbers of 32 and 64 bits say shapes, but for a quantised layer's bias.
_NO_WEIGHTS = ("INT32", "INT64", "UINT32", "UINT64", "BOOL", "STRING", "RESOURCE", "VARIANT")
_LAYERS = ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def tflite_counts(file: TFLiteFile, sizes: Callable[[], Sequence[Sizes]], images: int) -> Counts:
    """The parameters of a file, and the MACs of an image.

    ``sizes`` gives the shape of each tensor of its network for a batch of so many images.
    """

    def macs() -> int:
        found = sizes()
        return sum(_macs(file, *each, found) for each in file.operators()) // images

    return counts(lambda: _parameters(file), macs)


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


def _macs(file: TFLiteFile, operation: str, operator: Any, sizes: Sequence[Sizes]) -> int:
    def operands() -> Operands:
        inputs = [sizes[index] if index >= 0 else () for index in file.inputs_of(operator)]
        turned = operation == "BATCH_MATMUL" and _turned(operator)
        return Operands(inputs, sizes[operator.Outputs(0)], turned=turned)

    return multiplications(operation, "", _FORMULAS, operands)


def _turned(operator: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    settings = schema.BatchMatMulOptions()
    table = operator.BuiltinOptions()
    if table is None:
        return False
    settings.Init(table.Bytes, table.Pos)
    return bool(settings.AdjX())


_FORMULAS = {
    "CONV_2D": kernel(slice(1, None)),  # (out, height, width, in a group)
    "DEPTHWISE_CONV_2D": kernel(slice(1, 3)),  # (1, height, width, out)
    # The shape of the output, the kernel (out, height, width, in), and what goes in.
    "TRANSPOSE_CONV": kernel(slice(3), counted=2),
    "FULLY_CONNECTED": kernel(slice(-1, None)),  # (out, in)
    "BATCH_MATMUL": product,
}
