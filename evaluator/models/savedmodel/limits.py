"""What a SavedModel declares to be large, held against its checkpoint and this machine's memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, plain_name
from evaluator.limits import check_memory, check_tensor

# What variables beside the checkpoint may come to: counters, seeds and the like.
_UNSAVED = 64 * 2**20
_VARIABLES = ("VarHandleOp", "Variable", "VariableV2")


def check_declared(path: Path, meta: Any) -> None:
    """Raises ModelError where a ``MetaGraphDef`` declares more than its files hold, or memory does.

    Constants may be written as one number and a shape; variables have their values in the
    checkpoint.
    """
    constants = 0
    for node in _all_nodes(meta.graph_def):
        for value in node.attr.values():
            for tensor in (value.tensor, *value.list.tensor):
                constants += _constant_bytes(path, node.name, tensor)
    check_memory(path, "its constants", constants)
    held = _checkpoint_bytes(path)
    declared = _variable_bytes(meta)
    if declared > held + _UNSAVED:
        raise ModelError(
            f"{path}: not loaded: it declares variables of {declared:,} bytes, and its checkpoint "
            f"holds {held:,}"
        )


def check_checkpoint(path: Path) -> None:
    """Raises ModelError where the checkpoint's index names more than its data files hold.

    What TensorFlow cannot read raises its own errors, a missing index none: there may be no
    variables.
    """
    import tensorflow as tf

    prefix = path / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return
    reader = tf.train.load_checkpoint(str(prefix))
    kinds = reader.get_variable_to_dtype_map()
    declared = 0
    for name, shape in reader.get_variable_to_shape_map().items():
        declared += math.prod(max(0, size) for size in shape) * (kinds[name].size or 1)
    held = _checkpoint_bytes(path)
    if declared > held:
        raise ModelError(
            f"{path}: damaged: its checkpoint's index names {declared:,} bytes of variables, and "
            f"the data beside it has {held:,}"
        )
    check_memory(path, "its variables", declared)


def check_graph_tensors(path: Path, function: Any, batch: int | None) -> None:
    """Raises ModelError where a concrete function's graph has a tensor that is too large.

    Shapes are those that TensorFlow infers, for one image; ``batch`` is the size of a batch that
    is fixed. An open axis counts as one, so that what grows with the image is not counted.
    """
    seen: set[str] = set()
    pending = [function.graph]
    while pending:
        graph = pending.pop()
        for operation in graph.get_operations():
            for tensor in operation.outputs:
                if tensor.shape.rank is not None:
                    shape = tensor.shape.as_list()
                    shape = shape[1:] if batch is not None and shape[:1] == [batch] else shape
                    itemsize = tensor.dtype.size or 1
                    check_tensor(
                        path,
                        f"its operation {plain_name(operation.name)}",
                        shape,
                        itemsize=itemsize,
                    )
            for name in _called(operation.node_def):
                if name not in seen:
                    seen.add(name)
                    pending += _graph_of(graph, name)


def _graph_of(graph: Any, name: str) -> list[Any]:
    found = graph._get_function(name)  # TensorFlow offers no other way
    inner = getattr(found, "graph", None)
    return [] if inner is None else [inner]


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.func.name:
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _all_nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _constant_bytes(path: Path, name: str, tensor: Any) -> int:
    """Bytes of a constant; one that is larger than its description may not be too large."""
    shape = [axis.size for axis in tensor.tensor_shape.dim]
    itemsize = _itemsize(tensor.dtype)
    found = _declared_bytes(tensor.tensor_shape, tensor.dtype)
    if found > tensor.ByteSize():
        check_tensor(path, f"its constant {plain_name(name)}", shape, itemsize=itemsize)
    return found


def _variable_bytes(meta: Any) -> int:
    """Bytes of the variables that have a whole shape. The graph and the objects declare each."""
    nodes = [node.attr for node in meta.graph_def.node if node.op in _VARIABLES]
    graph = sum(_declared_bytes(attr["shape"].shape, attr["dtype"].type) for attr in nodes)
    variables = [node.variable for node in meta.object_graph_def.nodes if node.HasField("variable")]
    return max(graph, sum(_declared_bytes(each.shape, each.dtype) for each in variables))


def _declared_bytes(shape: Any, kind: int) -> int:
    sizes = [axis.size for axis in shape.dim]
    if shape.unknown_rank or min(sizes, default=0) < 0:
        return 0
    return int(math.prod(sizes)) * _itemsize(kind)


def _itemsize(kind: int) -> int:
    """Bytes of a number of a type, by TensorFlow's number for the type; 1 where there is none."""
    import tensorflow as tf

    try:
        size: int = tf.dtypes.as_dtype(kind).size
    except TypeError:  # no such type
        return 1
    return size or 1


def _checkpoint_bytes(path: Path) -> int:
    """Bytes of the checkpoint's data files."""
    shards: Sequence[Path] = sorted((path / "variables").glob("variables.data-*"))
    return sum(shard.stat().st_size for shard in shards)
