"""The few numbers that an .onnx graph computes shapes from, computed without running the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.models.onnx.proto import Message, is_external

#: Numbers of a tensor that may say a shape, an axis or a scale; weights are more.
FEW = 4_096

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
    for value in (*model.graph.value_info, *model.graph.input):
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
        tensor = given["value"].t if "value" in given else None
        return _listed(given) if tensor is None else _array(tensor)
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
    for name, kind in (("value_ints", np.int64), ("value_floats", np.float32)):
        if name in given:
            return np.array(given[name].ints or given[name].floats, kind)
    if "value_int" in given:
        return np.array(given["value_int"].i, np.int64)
    return np.array(given["value_float"].f, np.float32) if "value_float" in given else None


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


def _reduced(function: Any) -> Callable[[Sequence[_Array], _Attributes], _Array]:
    def reduced(inputs: Sequence[_Array], attributes: _Attributes) -> _Array:
        keep = bool(attributes.get("keepdims", 1))
        return np.asarray(function(inputs[0], axis=_axes(inputs, attributes), keepdims=keep))

    return reduced


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


def _few(function: Any) -> Callable[[Sequence[_Array], _Attributes], _Array]:
    """A function of one array or two, taken over all inputs, if their sizes give few numbers."""

    def bounded(inputs: Sequence[_Array], _: _Attributes) -> _Array:
        shape = np.broadcast_shapes(*(each.shape for each in inputs))
        if np.prod(shape, dtype=float) > FEW:
            raise ValueError("more than a few numbers")
        return np.asarray(function(*inputs) if len(inputs) < 2 else reduce(function, inputs))

    return bounded


# What exporters compute shapes with. Each result has few numbers, or is not computed.
_COMPUTED: dict[str, Callable[[Sequence[_Array], _Attributes], _Array]] = {
    "Abs": _few(np.abs),
    "Add": _few(np.add),
    "Cast": _cast,
    "Ceil": _few(np.ceil),
    "Concat": lambda inputs, given: np.concatenate(inputs, axis=given["axis"]),
    "Div": _few(_divided),
    "Floor": _few(np.floor),
    "Gather": _gathered,
    "Identity": lambda inputs, _: inputs[0],
    "Max": _few(np.maximum),
    "Min": _few(np.minimum),
    "Mod": _few(np.mod),
    "Mul": _few(np.multiply),
    "Neg": _few(np.negative),
    "Pow": _few(lambda base, power: np.power(base, power).astype(base.dtype)),
    "Range": _ranged,
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "Reshape": _reshaped,
    "Round": _few(np.round),
    "Size": lambda inputs, _: np.array(inputs[0].size, np.int64),
    "Slice": _sliced,
    "Sqrt": _few(np.sqrt),
    "Squeeze": lambda inputs, given: np.squeeze(inputs[0], axis=_axes(inputs, given)),
    "Sub": _few(np.subtract),
    "Unsqueeze": lambda inputs, given: np.expand_dims(inputs[0], _axes(inputs, given) or (0,)),
}
