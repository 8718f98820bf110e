"""How large the tensors are that an .onnx model makes of one image, told before it makes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from evaluator.limits import check_memory, check_tensor
from evaluator.models.onnx.constants import (
    FEW,
    fold_constants,
    known_constants,
    known_shapes,
)
from evaluator.models.onnx.proto import Message, is_external
from evaluator.models.onnx.weights import bytes_of

# How deep a chain of computed shapes is followed: each round may tell the sizes for the next.
_ROUNDS = 8


def check_sizes(path: Path, model: Message, image: str, shape: tuple[int, ...]) -> None:
    """Raises ModelError for a tensor of one image that is larger than any network's.

    ``image`` is the name of the input and ``shape`` its sizes, the batch among them. What the
    model computes from the image, in loops or branches, is told where ONNX's own inference tells
    it; the rest is left to the memory that the process may have.
    """
    known = _inlined(_without_weights(model, image, shape))
    nodes = list(_opened(known.graph.node, {}, itertools.count(), known.graph))
    del known.graph.node[:]
    known.graph.node.extend(nodes)
    for _ in range(_ROUNDS):
        inferred = _inferred(known)
        if inferred is None:
            return
        _check_values(path, inferred, image, shape[0])
        _check_one_hots(path, inferred)
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
    _add_weights(graph, model.graph, {})
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


def _add_weights(graph: Message, source: Message, renamed: Mapping[str, str]) -> None:
    """Adds the weights of another graph: the few numbers of some, the shapes of the others."""
    for tensor in source.initializer:
        name = renamed.get(tensor.name, tensor.name)
        if not is_external(tensor) and bytes_of(tensor.data_type, _product(tensor.dims)) <= 8 * FEW:
            added = graph.initializer.add()
            added.CopyFrom(tensor)
            added.name = name
        else:
            _add_input(graph, name, tensor.data_type, tensor.dims)
    for sparse in source.sparse_initializer:
        name = renamed.get(sparse.values.name, sparse.values.name)
        _add_input(graph, name, sparse.values.data_type, sparse.dims)


def _opened(
    nodes: Iterable[Message], renamed: Mapping[str, str], numbers: Iterator[int], graph: Message
) -> Iterator[Message]:
    """The nodes with those of their branches and loops before them, under names of their own.

    ONNX's inference looks into these and does not say what it finds there. A loop's body stands
    for its first round, and a condition goes on with its first branch; what a scan hands to its
    body stays unknown.
    """
    import onnx

    for source in nodes:
        node = onnx.NodeProto.FromString(source.SerializeToString())
        node.input[:] = [renamed.get(name, name) for name in source.input]
        node.output[:] = [renamed.get(name, name) for name in source.output]
        bodies = [each.g for each in source.attribute if each.HasField("g")]
        bodies += [body for each in source.attribute for body in each.graphs]
        if not bodies:
            yield node
        for number, body in enumerate(bodies):
            prefix = f"{next(numbers)}/"
            own = (
                {each.name for each in (*body.input, *body.initializer)}
                | {each.values.name for each in body.sparse_initializer}
                | {name for inner in body.node for name in inner.output if name}
            )
            inside = {**renamed, **{name: prefix + name for name in own}}
            _add_weights(graph, body, inside)
            if node.op_type == "Loop":
                for given, taken in zip(node.input[2:], body.input[2:], strict=False):
                    yield onnx.helper.make_node("Identity", [given], [inside[taken.name]])
            yield from _opened(body.node, inside, numbers, graph)
            # A loop's body says first whether it goes on.
            given_on = body.output[1:] if node.op_type == "Loop" else body.output
            for inner, outer in zip(given_on, node.output if not number else (), strict=False):
                if outer:
                    yield onnx.helper.make_node(
                        "Identity", [inside.get(inner.name, inner.name)], [outer]
                    )


def _add_input(graph: Message, name: str, kind: int, dims: Iterable[int]) -> None:
    import onnx

    graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info(name, kind, list(dims)))


def _inlined(model: Message) -> Message:
    """The model with its functions written out, if that can be done."""
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model) if model.functions else model
    except (RuntimeError, ValueError):
        return model  # its functions' calls are wrong, which the runtime will say better


def _inferred(model: Message) -> Message | None:
    """The model with the shapes that ONNX infers; None where it cannot say."""
    from onnx import shape_inference

    try:
        # Without its data propagation, which makes a range of any length to know its size.
        return shape_inference.infer_shapes(model)
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return None  # of a graph that is wrong, which the runtime will say better


def _check_values(path: Path, model: Message, image: str, batch: int) -> None:
    """Raises ModelError for a tensor that is too large, and for constants that are so together."""
    makers = {name: node for node in model.graph.node for name in node.output if name}
    moving = {image}
    for node in model.graph.node:
        if any(name in moving for name in node.input):
            moving.update(node.output)
    constants = 0
    for value in model.graph.value_info:
        tensor = value.type.tensor_type
        if not tensor.HasField("shape") or value.name not in makers:
            continue
        sizes = [
            int(each.dim_value) if each.HasField("dim_value") else None for each in tensor.shape.dim
        ]
        # One image's share, where the batch is not one axis of several.
        if sizes and sizes[0] is not None and sizes[0] % batch == 0:
            sizes[0] //= batch
        count = _product(size for size in sizes if size is not None)
        maker = makers[value.name].op_type
        itemsize = max(1, bytes_of(tensor.elem_type, 8) // 8)
        check_tensor(path, f"{maker} {value.name[:80]!r}", [count], itemsize=itemsize)
        constants += count * itemsize if value.name not in moving and None not in sizes else 0
    # The runtimes compute these first of all, and keep them.
    check_memory(path, "the constants that it computes", constants)


def _check_one_hots(path: Path, model: Message) -> None:
    """Raises ModelError for a large OneHot, of which not every version of ONNX infers the shape."""
    shapes, constants = known_shapes(model), known_constants(model)
    for node in model.graph.node:
        if node.op_type == "OneHot" and len(node.input) == 3 and node.output:
            indices, depth = shapes.get(node.input[0]), constants.get(node.input[1])
            if indices is not None and depth is not None and depth.size == 1 and depth > 0:
                count = _product([*indices, int(min(depth.item(), 2**80))])
                check_tensor(path, f"OneHot {node.output[0][:80]!r}", [count])


def _product(sizes: Iterable[int]) -> int:
    """The product, which stops growing where it has more digits than a line may have."""
    count = 1
    for size in sizes:
        count = min(count * max(0, size), 2**80)
    return count
