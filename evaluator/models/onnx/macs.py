"""MACs and parameters of an .onnx model, by the shapes that ONNX infers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

from evaluator.images.inputs import Counts
from evaluator.models.macs import (
    Operands,
    Sizes,
    UncountedError,
    check_counted,
    counts,
    kernel,
    multiplications,
    named_einsum,
    product,
)
from evaluator.models.onnx.model import read_onnx
from evaluator.models.onnx.proto import parsed
from evaluator.models.onnx.sizes import inferred_model, known_shapes
from evaluator.models.options import LoadOptions
from evaluator.models.protos import Message, messages

# Of onnx.TensorProto: numbers that are no weights are whole and of 32 or 64 bits, or truth values.
_FRACTIONAL = frozenset({1, 10, 11, 16, *range(17, 21), 23, 24, 25})
_SMALL_WHOLE = frozenset({2, 3, 21, 22, 26})


def onnx_counts(path: Path, options: LoadOptions) -> Counts:
    """The parameters of an .onnx file's embedding, and the MACs of an image.

    The file is read again, so that its bytes are not held until somebody asks.
    """
    read = read_onnx(path, options)
    model = parsed(path, read.data)
    images = read.shape[0] or 1
    shape = (images, *read.spec.batch_shape)
    return counts(
        lambda: onnx_parameters(model), lambda: onnx_macs(model, read.image, shape) // images
    )


def onnx_parameters(model: Message) -> int:
    """How many numbers the weights are, those in branches and in Constant nodes too.

    Fractional ones, and quantised ones: of one or two bits up to eight. Whole numbers of 32 and 64
    bits say shapes, but for a quantised layer's bias.
    """
    found = 0
    biases = {
        node.input[8]
        for node in messages(model, "NodeProto")
        if node.op_type == "QLinearConv" and len(node.input) > 8
    }
    for tensor in messages(model, "TensorProto"):
        weighs = tensor.data_type in _FRACTIONAL | _SMALL_WHOLE or tensor.name in biases
        found += prod(tensor.dims) if weighs and tensor.dims else 0
    return found


def onnx_macs(model: Message, image: str, shape: tuple[int, ...]) -> int:
    """The MACs of a batch, whose shape is the input's. Raises UncountedError."""
    for node in model.graph.node:
        if any(each.HasField("g") or each.graphs for each in node.attribute):
            check_counted(node.op_type, node.name)
    inferred = inferred_model(model, image, shape)
    if inferred is None:
        raise UncountedError("ONNX cannot infer the sizes of its tensors")
    shapes = known_shapes(inferred)
    return sum(_macs(node, shapes) for node in inferred.graph.node)


def _macs(node: Message, shapes: Mapping[str, Sizes]) -> int:
    def operands() -> Operands:
        given = {each.name: each for each in node.attribute}
        return Operands(
            [shapes.get(name) for name in node.input],
            shapes.get(node.output[0]),
            turned="transA" in given and bool(given["transA"].i),
            equation=given["equation"].s.decode() if "equation" in given else "",
        )

    formulas = _FORMULAS if node.domain in ("", "ai.onnx") else {}
    return multiplications(node.op_type, node.name, formulas, operands)


# A kernel is (out, in a group, ...); a transposed one (in, out a group, ...).
_FORMULAS = {
    "Conv": kernel(slice(1, None)),
    "ConvInteger": kernel(slice(1, None)),
    "QLinearConv": kernel(slice(1, None), at=3),
    "ConvTranspose": kernel(slice(1, None), counted=0),
    "Gemm": product,
    "MatMul": product,
    "MatMulInteger": product,
    "QLinearMatMul": product,
    "Einsum": named_einsum,
}
