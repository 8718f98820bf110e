"""How large the tensors are that an .onnx model makes of one image, told before it makes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evaluator.models.limits import check_tensor
from evaluator.models.onnx_constants import FEW, fold_constants
from evaluator.models.onnx_proto import Message, is_external, messages
from evaluator.models.onnx_weights import bytes_of

# How deep a chain of computed shapes is followed: each round may tell the sizes for the next.
_ROUNDS = 8


def check_sizes(path: Path, model: Message, image: str, shape: tuple[int, ...]) -> None:
    """Raises ModelError for a tensor of one image that is larger than any network's.

    ``image`` is the name of the input and ``shape`` its sizes, the batch among them. What the
    model computes from the image, in loops or branches, is told where ONNX's own inference tells
    it; the rest is left to the memory that the process may have.
    """
    from onnx import inliner

    known = _without_weights(model, image, shape)
    if model.functions:
        known = inliner.inline_local_functions(known)
    for _ in range(_ROUNDS):
        inferred = _inferred(known)
        if inferred is None:
            return
        _check_values(path, inferred)
        if not fold_constants(known, inferred):
            return


def _without_weights(model: Message, image: str, shape: tuple[int, ...]) -> Message:
    """A model of the same graph with the shapes of its weights in place of them."""
    import onnx

    graph = onnx.GraphProto(name="graph", node=model.graph.node)
    found = onnx.ModelProto(
        ir_version=max(model.ir_version, 4),
        opset_import=model.opset_import,
        functions=model.functions,
        graph=graph,
    )
    graph = found.graph
    for tensor in model.graph.initializer:
        if not is_external(tensor) and bytes_of(tensor.data_type, _count(tensor.dims)) <= 8 * FEW:
            graph.initializer.add().CopyFrom(tensor)
        else:
            _add_input(graph, tensor.name, tensor.data_type, tensor.dims)
    for sparse in model.graph.sparse_initializer:
        _add_input(graph, sparse.values.name, sparse.values.data_type, sparse.dims)
    for given in model.graph.input:
        if given.name == image:
            _add_input(graph, image, given.type.tensor_type.elem_type, shape)
    for output in model.graph.output:
        graph.output.add().CopyFrom(
            onnx.helper.make_tensor_value_info(
                output.name, output.type.tensor_type.elem_type or 1, None
            )
        )
    return found


def _count(dims: Message) -> int:
    count = 1
    for size in dims:
        count *= size
    return count


def _add_input(graph: Message, name: str, kind: int, dims: Iterable[int]) -> None:
    import onnx

    graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info(name, kind, list(dims)))


def _inferred(model: Message) -> Message | None:
    """The model with the shapes that ONNX infers; None where it cannot say."""
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return None  # of a graph that is wrong, which the runtime will say better


def _check_values(path: Path, model: Message) -> None:
    makers = {
        name: node.op_type for node in messages(model, "NodeProto") for name in node.output if name
    }
    for value in messages(model, "ValueInfoProto"):
        tensor = value.type.tensor_type
        if not tensor.HasField("shape") or value.name not in makers:
            continue
        sizes = [
            int(each.dim_value) if each.HasField("dim_value") else None for each in tensor.shape.dim
        ]
        bits = bytes_of(tensor.elem_type, 8)
        check_tensor(
            path,
            f"{makers[value.name]} {value.name[:80]!r}",
            [size for size in sizes if size is None or size >= 0],
            itemsize=max(1, bits // 8),
        )
