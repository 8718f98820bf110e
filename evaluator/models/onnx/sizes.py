"""How large the tensors are that an .onnx model makes of one image, told before it makes them.

The few numbers that a graph computes shapes from are computed without running it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, reduce
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.limits import check_memory, check_tensor
from evaluator.models.onnx.proto import is_external
from evaluator.models.onnx.weights import bytes_of
from evaluator.models.protos import Message

# How deep a chain of computed shapes is followed: each round may tell the sizes for the next.
_ROUNDS = 8


def check_sizes(path: Path, model: Message, image: str, shape: tuple[int, ...]) -> None:
    """Raises ModelError for a tensor of one image that is larger than any network's.

    ``image`` is the name of the input and ``shape`` its sizes, the batch among them. What the
    model computes from the image, in loops or branches, is told where ONNX's own inference tells
    it; the rest is left to the memory that the process may have.
    """
    for inferred in _rounds(model, image, shape):
        _check_values(path, inferred, image, shape[0])
        _check_one_hots(path, inferred)


def inferred_model(model: Message, image: str, shape: tuple[int, ...]) -> Message | None:
    """The graph of a model with the shapes of all that can be told; None where ONNX infers none.

    Functions are written out, and nodes that compute shapes are the constants that they give.
    """
    *_, last = (None, *_rounds(model, image, shape))
    return last


def _rounds(model: Message, image: str, shape: tuple[int, ...]) -> Iterator[Message]:
    """The graph with ever more shapes known; the last has them all."""
    known = _inlined(_without_weights(model, image, shape))
    nodes = list(_opened(known.graph.node, {}, itertools.count(), known.graph))
    del known.graph.node[:]
    known.graph.node.extend(nodes)
    for _ in range(_ROUNDS):
        inferred = _inferred(known)
        if inferred is None:
            return
        yield inferred
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


#: Numbers of a tensor that may say a shape, an axis or a scale; weights are more.
FEW = 4_096

# How a Constant gives its numbers where not as a tensor, and which these are.
_LISTS = (
    ("value_ints", "ints", np.int64),
    ("value_floats", "floats", np.float32),
    ("value_int", "i", np.int64),
    ("value_float", "f", np.float32),
)

_Array = NDArray[Any]
_Attributes = Mapping[str, Any]


def fold_constants(model: Message, inferred: Message) -> bool:
    """Puts constants in place of the nodes of a model that compute a few numbers from constants.

    ``inferred`` is the same model with the shapes known so far. Says whether there were such.
    """
    from onnx import numpy_helper

    known = known_constants(model)
    shapes = known_shapes(inferred)
    kept, folded = [], False
    for node in model.graph.node:
        value = _value(node, known, shapes)
        if value is None or value.size > FEW:
            kept.append(node)
            continue
        known[node.output[0]] = value
        if node.op_type == "Constant":  # is one already
            kept.append(node)
            continue
        folded = True
        model.graph.initializer.add().CopyFrom(numpy_helper.from_array(value, node.output[0]))
    if folded:
        rest = [type(node).FromString(node.SerializeToString()) for node in kept]
        del model.graph.node[:]
        model.graph.node.extend(rest)
    return folded


def known_constants(model: Message) -> dict[str, _Array]:
    """The weights of a graph that are a few numbers, by their names."""
    constants = {each.name: _array(each) for each in model.graph.initializer}
    return {name: value for name, value in constants.items() if value is not None}


def known_shapes(model: Message) -> dict[str, tuple[int, ...]]:
    """The shapes that are known whole, by the tensor's name."""
    found = {each.name: tuple(each.dims) for each in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(
            each.HasField("dim_value") for each in tensor.shape.dim
        ):
            found[value.name] = tuple(int(each.dim_value) for each in tensor.shape.dim)
    return found


def _value(
    node: Message, known: Mapping[str, _Array], shapes: Mapping[str, tuple[int, ...]]
) -> _Array | None:
    """What a node gives, if that is plain from constants and shapes; else None."""
    from onnx import helper

    if node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        return None
    given = {each.name: each for each in node.attribute}
    if node.op_type == "Constant":
        return _array(given["value"].t) if "value" in given else _listed(given)
    if node.op_type == "Shape" and len(node.input) == 1 and node.input[0] in shapes:
        start, end = (given[key].i if key in given else None for key in ("start", "end"))
        return np.array(shapes[node.input[0]][start:end], np.int64)
    compute = _COMPUTED.get(node.op_type)
    if compute is None or not all(name in known for name in node.input if name):
        return None
    inputs = [known[name] for name in node.input if name]
    if sum(each.size for each in inputs) > 2 * FEW:  # one name may stand there a million times
        return None
    try:
        attributes = {name: helper.get_attribute_value(each) for name, each in given.items()}
        with np.errstate(all="ignore"):
            return np.asarray(compute(inputs, attributes))
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, ZeroDivisionError):
        return None  # the runtime will say what is wrong with it


def _array(tensor: Message) -> _Array | None:
    """A tensor's numbers; None where they are many, elsewhere, or not what it declares."""
    from onnx import numpy_helper

    if is_external(tensor) or prod(tensor.dims) > FEW:
        return None
    try:
        value = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return None
    return value if value.dtype.kind in "biuf" else None


def _listed(given: Mapping[str, Message]) -> _Array | None:
    """The numbers of a Constant that are no tensor."""
    for name, field, kind in _LISTS:
        if name in given:
            return np.array(getattr(given[name], field), kind)
    return None


def _divided(left: _Array, right: _Array) -> _Array:
    if left.dtype.kind != "f":  # towards zero, as C has it
        return (np.sign(left) * np.sign(right) * (abs(left) // abs(right))).astype(left.dtype)
    return np.asarray(left / right)


def _cast(inputs: Sequence[_Array], attributes: _Attributes) -> _Array:
    from onnx import helper

    return inputs[0].astype(helper.tensor_dtype_to_np_dtype(attributes["to"]))


def _axes(inputs: Sequence[_Array], attributes: _Attributes) -> tuple[int, ...] | None:
    """The axes of a node, an attribute in older versions and an input in newer ones."""
    if len(inputs) > 1:
        return tuple(int(axis) for axis in inputs[1].ravel())
    return tuple(attributes["axes"]) if "axes" in attributes else None


def _reduced(function: Any, inputs: Sequence[_Array], attributes: _Attributes) -> _Array:
    keep = bool(attributes.get("keepdims", 1))
    return np.asarray(function(inputs[0], axis=_axes(inputs, attributes), keepdims=keep))


def _sliced(inputs: Sequence[_Array], attributes: _Attributes) -> _Array:
    data, *rest = inputs
    if not rest:
        rest = [
            np.array(attributes[key]) for key in ("starts", "ends", "axes") if key in attributes
        ]
    starts, ends = rest[0].ravel(), rest[1].ravel()
    axes = rest[2].ravel() if len(rest) > 2 else np.arange(len(starts))
    steps = rest[3].ravel() if len(rest) > 3 else np.ones(len(starts), np.int64)
    at = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Below the first element, going down, is beyond all negative indices.
        last = None if step < 0 and end < -data.shape[axis] else int(end)
        at[int(axis)] = slice(int(start), last, int(step))
    return data[tuple(at)]


def _gathered(inputs: Sequence[_Array], attributes: _Attributes) -> _Array:
    data, indices = inputs
    axis = attributes.get("axis", 0)
    if data.size // max(1, data.shape[axis]) * indices.size > FEW:
        raise ValueError("more than a few numbers")
    return np.take(data, indices.astype(np.int64), axis=axis)


def _ranged(inputs: Sequence[_Array], _: _Attributes) -> _Array:
    start, limit, delta = (each.item() for each in inputs)
    if not 0 <= (limit - start) / delta <= FEW:
        raise ValueError("a long range")
    return np.arange(start, limit, delta, dtype=inputs[0].dtype)


def _reshaped(inputs: Sequence[_Array], _: _Attributes) -> _Array:
    data, shape = inputs
    kept = [data.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)]
    return data.reshape(kept)


def _few(function: Any, inputs: Sequence[_Array], _: _Attributes) -> _Array:
    """A function of one array or two, taken over all inputs, if their sizes give few numbers."""
    shape = np.broadcast_shapes(*(each.shape for each in inputs))
    if np.prod(shape, dtype=float) > FEW:
        raise ValueError("more than a few numbers")
    return np.asarray(function(*inputs) if len(inputs) < 2 else reduce(function, inputs))


# What exporters compute shapes with. Each result has few numbers, or is not computed.
_COMPUTED: dict[str, Callable[[Sequence[_Array], _Attributes], _Array]] = {
    "Abs": partial(_few, np.abs),
    "Add": partial(_few, np.add),
    "Cast": _cast,
    "Ceil": partial(_few, np.ceil),
    "Concat": lambda inputs, given: np.concatenate(inputs, axis=given["axis"]),
    "Div": partial(_few, _divided),
    "Floor": partial(_few, np.floor),
    "Gather": _gathered,
    "Identity": lambda inputs, _: inputs[0],
    "Max": partial(_few, np.maximum),
    "Min": partial(_few, np.minimum),
    "Mod": partial(_few, np.mod),
    "Mul": partial(_few, np.multiply),
    "Neg": partial(_few, np.negative),
    "Pow": partial(_few, lambda base, power: np.power(base, power).astype(base.dtype)),
    "Range": _ranged,
    "ReduceMax": partial(_reduced, np.max),
    "ReduceMin": partial(_reduced, np.min),
    "ReduceProd": partial(_reduced, np.prod),
    "ReduceSum": partial(_reduced, np.sum),
    "Reshape": _reshaped,
    "Round": partial(_few, np.round),
    "Size": lambda inputs, _: np.array(inputs[0].size, np.int64),
    "Slice": _sliced,
    "Sqrt": partial(_few, np.sqrt),
    "Squeeze": lambda inputs, given: np.squeeze(inputs[0], axis=_axes(inputs, given)),
    "Sub": partial(_few, np.subtract),
    "Unsqueeze": lambda inputs, given: np.expand_dims(inputs[0], _axes(inputs, given) or (0,)),
}
