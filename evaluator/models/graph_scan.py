"""What a TensorFlow graph may not hold, of SavedModels and frozen graphs alike: operations that do
more than compute, and constants larger than memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, plain_name
from evaluator.limits import check_memory, check_tensor
from evaluator.models import protos
from evaluator.models.foreign import listed


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that TensorFlow's parser gets. Raises ModelError, OSError."""
    return protos.read_bytes(path, f"{{:,}} bytes; TensorFlow reads {protos.LARGEST:,} at most")


def parsed(path: Path, message_class: Any, data: bytes) -> protos.Message:
    """The message of a class of TensorFlow's that bytes are. Raises ModelError."""
    try:
        return protos.parse(message_class, data)
    except ValueError:
        raise ModelError(f"{path}: damaged or truncated: TensorFlow cannot parse it") from None


def node_of(tensor: str) -> str:
    """'save/Identity' of 'save/Identity:0' or '^save/Identity'."""
    return tensor.removeprefix("^").partition(":")[0]


def reached(start: Iterable[str], after: Callable[[str], Iterable[str]]) -> set[str]:
    """The names of ``start`` and all that come ``after`` them, at any distance."""
    found = set(start)
    waiting = list(found)
    while waiting:
        more = set(after(waiting.pop())) - found
        found |= more
        waiting += more
    return found


def unknown_operations(graph: Any, allowed: frozenset[str]) -> Iterator[str]:
    """'WriteFile in function F' and the like for what in a ``GraphDef`` is not allowed, and no
    function of its own; and its functions of a name that is taken.
    """
    from tensorflow.python.framework import op_def_registry

    library = graph.library.function
    functions = {each.signature.name for each in library}
    known = allowed | functions
    for node in graph.node:
        if node.op not in known:
            yield f"{node.op} in the graph's node {node.name!r}"
    if len(functions) != len(library):
        yield "two functions of one name"
    for function in library:
        name = function.signature.name
        if op_def_registry.get(name) is not None:
            yield f"a function with the name of the operation {name}"
        for op in sorted({node.op for node in function.node_def} - known):
            yield f"{op} in function {name!r}"


def refuse_unsafe(path: Path, found: Iterable[str]) -> None:
    """Raises ModelError, which names them, where a graph has unsafe parts."""
    unsafe = list(dict.fromkeys(found))
    if unsafe:
        raise ModelError(
            f"{path}: not loaded, because its graph could reach beyond its own numbers: "
            f"{listed(unsafe)}. If you know who made it, repeat with --trust"
        )


def check_constants(path: Path, graph: Any) -> None:
    """Raises ModelError where the constants of a ``GraphDef`` are larger than memory."""
    constants = [
        _constant_bytes(path, node.name, tensor)
        for node in protos.messages(graph, "NodeDef")
        for tensor in protos.messages(node, "TensorProto")
    ]
    check_memory(path, "its constants", sum(constants))


def _constant_bytes(path: Path, name: str, tensor: Any) -> int:
    """Bytes of a constant; one that is larger than its description may not be too large."""
    found = declared_bytes(tensor.tensor_shape, tensor.dtype)
    if found > tensor.ByteSize():
        check_tensor(path, f"its constant {plain_name(name)}", [found], itemsize=1)
    return found


def declared_bytes(shape: Any, kind: int) -> int:
    """Bytes of a ``TensorShapeProto`` of numbers of a type; 0 where a size is open. A type that
    TensorFlow has not, or that has no size, counts one byte.
    """
    import tensorflow as tf

    sizes = [axis.size for axis in shape.dim]
    if shape.unknown_rank or min(sizes, default=0) < 0:
        return 0
    try:
        itemsize: int = tf.dtypes.as_dtype(kind).size or 1
    except TypeError:  # no such type
        itemsize = 1
    return int(math.prod(sizes)) * itemsize
