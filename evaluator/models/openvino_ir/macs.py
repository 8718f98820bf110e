"""MACs and parameters of a model that OpenVINO has read."""

from __future__ import annotations

from math import prod
from typing import Any

from evaluator.images.inputs import Counts
from evaluator.models.macs import (
    Operands,
    UncountedError,
    counts,
    kernel,
    multiplications,
    named_einsum,
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
    def operands() -> Operands:
        settings = operation.get_attributes()
        return Operands(
            [shape_of(each.get_source_output()) for each in operation.inputs()],
            shape_of(operation.output(0)),
            turned=settings.get("transpose_a", False),
            equation=settings.get("equation", ""),
        )

    name = operation.get_friendly_name()
    return multiplications(operation.get_type_name(), name, _FORMULAS, operands)


# A kernel is (out, in, ...), a transposed one (in, out, ...), behind the axis of groups.
_FORMULAS = {
    "Convolution": kernel(slice(1, None)),
    "GroupConvolution": kernel(slice(2, None)),
    "ConvolutionBackpropData": kernel(slice(1, None), counted=0),
    "GroupConvolutionBackpropData": kernel(slice(2, None), counted=0),
    "MatMul": product,
    "Einsum": named_einsum,
}
