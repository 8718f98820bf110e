"""MACs and parameters of a TensorFlow graph, of Keras models and SavedModels alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from evaluator.errors import cause_of
from evaluator.images.inputs import Counts
from evaluator.models.foreign import foreign_errors
from evaluator.models.graph import frozen_function
from evaluator.models.macs import (
    Operands,
    UncountedError,
    counts,
    kernel,
    multiplications,
    named_einsum,
    product,
)

Shape = tuple[int | None, ...]

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def graph_counts(
    path: Path,
    call: Callable[[Any], Any],
    shape: tuple[int, ...],
    parameters: int | None = None,
    *,
    uncounted: str | None = None,
) -> Callable[[], Counts]:
    """What counts parameters and MACs of a model's ``call`` when it is asked: the MACs of an image
    in a batch of this shape, and the parameters where they are not given. ``uncounted`` says why
    there is no such graph. Raises ModelError then.
    """

    def found() -> Counts:
        @cache
        def graph() -> Any:
            if uncounted is not None:
                raise UncountedError(uncounted)
            with foreign_errors(f"{path}: its graph cannot be counted"):
                return traced_graph(call, shape)

        return counts(
            lambda: graph_parameters(graph()) if parameters is None else parameters,
            lambda: graph_macs(graph(), shape[0]),
        )

    return found


def traced_graph(call: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    """The graph of ``call`` on an input of this shape: functions written out, variables as
    constants, and the sizes of all tensors inferred anew for it.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)  # type: ignore[untyped-decorator]
    def embed(batch: Any) -> Any:
        return call(batch)

    frozen = frozen_function(embed.get_concrete_function())
    definition = frozen.graph.as_graph_def()
    _forget_shapes(definition.node)
    image = frozen.inputs[0].name.partition(":")[0]
    graph = tf.Graph()
    with graph.as_default():
        batch = tf.compat.v1.placeholder(tf.float32, shape)
        tf.import_graph_def(definition, input_map={f"{image}:0": batch}, name="")
    return graph


def graph_macs(graph: Any, images: int) -> int:
    """The MACs of an image in a graph that gets so many. Raises UncountedError."""
    return sum(map(_macs, graph.get_operations())) // images


def graph_parameters(graph: Any) -> int:
    """How many fractional numbers a frozen graph holds in tensors that have an axis at least."""
    held = [each.outputs[0] for each in graph.get_operations() if each.type == "Const"]
    weights = [each for each in held if each.dtype.is_floating and each.shape.rank]
    return sum(int(each.shape.num_elements()) for each in weights)


def _macs(operation: Any) -> int:
    if operation.type in _CALLS:
        return _called(operation)
    return multiplications(operation.type, operation.name, _FORMULAS, lambda: _operands(operation))


def _called(operation: Any) -> int:
    """The MACs of a function that stays one, as those do that XLA compiles: of its body, for the
    shapes that it is called with.
    """
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    graph, name = operation.graph, operation.get_attr("f").name
    functions = graph.as_graph_def().library.function
    body = next((each for each in functions if each.signature.name == name), None)
    if body is None:
        raise UncountedError(f"it calls a function that is not there, {cause_of(name)[:80]!r}")
    _forget_shapes([*body.node_def, *body.arg_attr.values()])
    with graph.as_default():  # for the functions that the body calls
        shapes = [each.shape for each in operation.inputs]
        inside = function_def_to_graph(body, input_shapes=shapes)
    return sum(map(_macs, inside.get_operations()))


def _forget_shapes(nodes: Iterable[Any]) -> None:
    """Takes out what nodes say of their sizes, which were for batches of any size."""
    for node in nodes:
        node.attr.pop("_output_shapes", None)


def _shape(tensor: Any) -> Shape | None:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def _operands(operation: Any) -> Operands:
    attributes = operation.node_def.attr
    return Operands(
        list(map(_shape, operation.inputs)),
        _shape(operation.outputs[0]),
        turned=attributes["transpose_a"].b or attributes["adj_x"].b,
        equation=attributes["equation"].s.decode(),
    )


# A kernel is (..., in, out), of a depthwise one (height, width, ...). A transposed one is
# (..., out, in).
_FORMULAS = {
    "Conv2D": kernel(slice(-1)),
    "Conv3D": kernel(slice(-1)),
    "DepthwiseConv2dNative": kernel(slice(2)),
    "Conv2DBackpropInput": kernel(slice(-1), counted=2),
    "Conv3DBackpropInputV2": kernel(slice(-1), counted=2),
    "MatMul": product,
    "BatchMatMul": product,
    "BatchMatMulV2": product,
    "BatchMatMulV3": product,
    "Einsum": named_einsum,
}
