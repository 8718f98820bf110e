"""MACs and parameters of a model that OpenVINO has read."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from evaluator.images.inputs import Counts
from evaluator.models.macs import (
    Sizes,
    UncountedError,
    check_counted,
    convolution,
    counts,
    einsum,
    known,
    product,
)
from evaluator.models.openvino import shape_of

# Numbers that are no weights are whole and of 32 or 64 bits, or truth values.
_NO_WEIGHTS = ("i32", "i64", "u32", "u64", "boolean")


def openvino_counts(model: Any, shape: tuple[int, ...]) -> Counts:
    """The parameters of a model, and the MACs of an image in a batch of that shape."""

    def macs() -> int:
        whole = model.clone()
        try:
            whole.reshape(list(shape))
        except RuntimeError:
            raise UncountedError("OpenVINO cannot infer the sizes of its tensors") from None
        return sum(map(_macs, whole.get_ops())) // shape[0]

    return counts(lambda: openvino_parameters(model), macs)


def openvino_parameters(model: Any) -> int:
    """How many numbers the weights are: in constants that have an axis at least."""
    held = [each.output(0) for each in model.get_ops() if each.get_type_name() == "Constant"]
    weights = [e for e in held if e.get_element_type().get_type_name() not in _NO_WEIGHTS]
    return sum(prod(sizes) for each in weights if (sizes := tuple(each.get_shape())))


def _macs(operation: Any) -> int:
    kind = operation.get_type_name()
    formula = _FORMULAS.get(kind)
    if formula is None:
        check_counted(kind, operation.get_friendly_name())
        return 0
    inputs = [shape_of(each.get_source_output()) for each in operation.inputs()]
    sizes = known(kind, *inputs[:2], shape_of(operation.output(0)))
    return formula(operation, *sizes)


# From an operation, the sizes of its first two inputs and of its output.
_Formula = Callable[[Any, Sizes, Sizes, Sizes], int]


def _convolution(groups: int) -> _Formula:
    """Of a kernel (out, in, ...) behind so many axes of groups."""
    return lambda _, _image, kernel, output: convolution(output, kernel[groups + 1 :])


def _transposed(groups: int) -> _Formula:
    """Of a kernel (in, out, ...), which counts for each number that goes in."""
    return lambda _, image, kernel, _output: convolution(image, kernel[groups + 1 :])


def _product(operation: Any, left: Sizes, _right: Sizes, output: Sizes) -> int:
    turned = operation.get_attributes().get("transpose_a", False) and len(left) > 1
    return product(output, (1, *left)[-2 if turned else -1])


def _einsum(operation: Any, left: Sizes, right: Sizes, _output: Sizes) -> int:
    return einsum(operation.get_attributes()["equation"], [left, right])


_FORMULAS: dict[str, _Formula] = {
    "Convolution": _convolution(0),
    "GroupConvolution": _convolution(1),
    "ConvolutionBackpropData": _transposed(0),
    "GroupConvolutionBackpropData": _transposed(1),
    "MatMul": _product,
    "Einsum": _einsum,
}
