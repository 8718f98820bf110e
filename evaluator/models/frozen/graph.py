"""A frozen graph, parsed by TensorFlow's classes: what of it makes the embedding, and whether that
computes and does nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.models.graph_scan import (
    check_constants,
    node_of,
    parsed,
    reached,
    read_bytes,
    refuse_unsafe,
    unknown_operations,
)
from evaluator.models.protos import check_written_out, messages, unknown_bytes
from evaluator.models.savedmodel.ops import ALLOWED
from evaluator.models.shapes import Shape, chosen_output, fed_values

_INPUTS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
# What old training scripts (FaceNet's) call the images, whatever makes them: queues, in a training.
_IMAGE = "input"
_EMBEDDINGS = ("embedding", "embeddings")
# Nodes that are run for what they do, not for what they give.
_NO_OUTPUTS = ("NoOp", "Assert", "Const", *_INPUTS)
# tensorflow.DataType.
_BOOL = 10


@dataclass(frozen=True)
class FrozenGraph:
    """A ``GraphDef`` from ``image`` to ``output``, names of nodes; ``kind`` is the image's type by
    TensorFlow's number, ``shape`` its sizes, None where the file does not say how many; ``fed``
    are the boolean inputs that it gets besides.
    """

    definition: Any
    image: str
    output: str
    kind: int
    shape: Shape | None
    notes: tuple[str, ...]
    fed: tuple[str, ...]


def read_graph(path: Path) -> Any:
    """The ``GraphDef`` of a file, by TensorFlow's parser. Raises ModelError, OSError."""
    import tensorflow as tf
    from tensorflow.core.framework import graph_pb2

    graph = parsed(path, graph_pb2.GraphDef, read_bytes(path))
    if unknown_bytes(graph):
        raise ModelError(
            f"{path}: not loaded: it holds what TensorFlow {tf.__version__} does not read, and a "
            "newer one might"
        )
    return graph


def embedding_graph(
    path: Path, graph: Any, output: str | None, *, trusted: bool, profile: str | None = None
) -> FrozenGraph:
    """The part of a graph that makes an embedding of an image. Raises ModelError.

    Truth values that the network asks for beside the image (``phase_train``) are fed what the
    profile says, else False. What is neither needed for the embedding nor behind the image is left
    out, and need not be harmless.
    """
    whole = _Graph(path, graph)
    name, notes = whole.output(output)
    image = whole.image(name)
    nodes = whole.needed(name, until=image)
    flags, fed_notes = fed_values(
        [node.name for node in nodes if _is_flag(node) and node.name != image], profile
    )
    part = type(graph)()
    part.versions.CopyFrom(graph.versions)
    for node in nodes:
        _add(part, node, image=image, flags=flags)
    for function in whole.used_functions(nodes):
        part.library.function.add().CopyFrom(function)
    if not trusted:
        refuse_unsafe(path, unknown_operations(part, ALLOWED))
    check_constants(path, part)
    node = whole.nodes[image]
    kind = (node.attr["dtype"] if node.op in _INPUTS else node.attr["T"]).type
    return FrozenGraph(
        part, image, name, kind, _declared_shape(node), (*notes, *fed_notes), tuple(flags)
    )


def _add(part: Any, node: Any, *, image: str, flags: Mapping[str, bool]) -> None:
    """Adds a node to a graph: as it is, as the place where images go in, or as a truth value."""
    import tensorflow as tf

    added = part.node.add()
    if node.name == image:
        added.name, added.op = node.name, "Placeholder"
        # What a queue gives is images as numbers, whatever has its type.
        kind = node.attr["dtype"] if node.op in _INPUTS else node.attr["T"]
        added.attr["dtype"].CopyFrom(kind)
        shape = _declared(node)
        if shape is not None:
            added.attr["shape"].shape.CopyFrom(shape)
    elif node.name in flags:
        added.name, added.op = node.name, "Const"
        added.attr["dtype"].type = _BOOL
        added.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(flags[node.name]))
    else:
        added.CopyFrom(node)


def _is_flag(node: Any) -> bool:
    """Whether a node is an input that takes one truth value, or does not say how many."""
    shape = _declared(node)
    scalar = shape is None or shape.unknown_rank or not shape.dim
    return node.op in _INPUTS and node.attr["dtype"].type == _BOOL and scalar


def _asked(nodes: Sequence[Any], but: str = "") -> list[str]:
    """The inputs among nodes that take more than a truth value."""
    inputs = [node for node in nodes if node.op in _INPUTS and node.name != but]
    return [str(node.name) for node in inputs if not _is_flag(node)]


def _declared(node: Any) -> Any | None:
    """The ``TensorShapeProto`` that a node states for what it gives."""
    if "shape" in node.attr and node.attr["shape"].HasField("shape"):
        return node.attr["shape"].shape
    if "_output_shapes" in node.attr and len(node.attr["_output_shapes"].list.shape):
        return node.attr["_output_shapes"].list.shape[0]
    return None


def _declared_shape(node: Any) -> Shape | None:
    shape = _declared(node)
    # TensorFlow before 1.0 wrote no shape where it knew none; a scalar is no image either.
    if shape is None or shape.unknown_rank or not shape.dim:
        return None
    return tuple(axis.size if axis.size > 0 else None for axis in shape.dim)


@dataclass(frozen=True)
class _Graph:
    path: Path
    graph: Any

    @cached_property
    def nodes(self) -> dict[str, Any]:
        found = {node.name: node for node in self.graph.node}
        if not found or len(found) < len(self.graph.node):
            what = "two nodes of one name" if found else "no nodes"
            raise ModelError(f"{self.path}: damaged: it has {what}")
        return found

    @cached_property
    def functions(self) -> dict[str, Any]:
        found = {each.signature.name: each for each in self.graph.library.function}
        if len(found) < len(self.graph.library.function):
            raise ModelError(f"{self.path}: damaged: it has two functions of one name")
        return found

    def output(self, wanted: str | None) -> tuple[str, tuple[str, ...]]:
        """The node that gives the embedding: of all that nothing else uses, or the one named so."""
        used = {node_of(source) for node in self.graph.node for source in node.input}
        ends = [name for name, node in self.nodes.items() if name not in used]
        found = [name for name in ends if self.nodes[name].op not in _NO_OUTPUTS]
        named = [name for name in _EMBEDDINGS if name in self.nodes]
        if wanted is not None and wanted.removesuffix(":0") in self.nodes:
            return wanted.removesuffix(":0"), ()
        if wanted is None and named:
            beside = len([name for name in found if name != named[0]])
            note = f"of {beside + 1} outputs, the one named {named[0]!r} is used"
            return named[0], (note,) if beside else ()
        if not found:
            raise ModelError(f"{self.path}: its graph ends nowhere; name its output with --output")
        return chosen_output(
            self.path, {name: _declared_shape(self.nodes[name]) or () for name in found}, wanted
        )

    def image(self, output: str) -> str:
        """The node that images go into. Raises ModelError where it cannot be told."""
        needed = self.needed(output)
        if output != _IMAGE and any(node.name == _IMAGE for node in needed):
            needed = self.needed(output, until=_IMAGE)
            names = [_IMAGE, *_asked(needed, but=_IMAGE)]
        else:
            names = _asked(needed)
        if len(names) != 1:
            shown = cause_of(", ".join(names[:5])) if names else "none"
            raise ModelError(
                f"{self.path}: the graph takes {len(names)} inputs ({shown}); expected one image, "
                f"or one node named {_IMAGE!r}"
            )
        return names[0]

    def needed(self, output: str, until: str | None = None) -> list[Any]:
        """The nodes that an output needs, in the file's order; not what is before ``until``."""

        def sources(name: str) -> Iterable[str]:
            if name not in self.nodes:
                raise ModelError(
                    f"{self.path}: damaged: it needs a node {cause_of(name)[:80]!r} and has none"
                )
            return () if name == until else map(node_of, self.nodes[name].input)

        found = reached([output], sources)
        return [node for node in self.graph.node if node.name in found]

    def used_functions(self, nodes: Sequence[Any]) -> list[Any]:
        """The functions that nodes call, themselves or by others.

        Raises ModelError for one that calls itself, or too many when they are written out.
        """
        calls = self._calls(nodes)
        functions: dict[str, Counter[str]] = {}

        def called(name: str) -> Iterable[str]:
            if name not in self.functions:
                return ()
            functions[name] = self._calls(self.functions[name].node_def)
            return functions[name]

        reached(calls, called)
        order = check_written_out(
            self.path, calls, functions, lambda name: repr(cause_of(name)[:80])
        )
        return [self.functions[name] for name in order]

    def _calls(self, nodes: Iterable[Any]) -> Counter[str]:
        """How often nodes call each operation or function."""
        found: Counter[str] = Counter()
        for node in nodes:
            named = [each.name for each in messages(node, "NameAttrList") if each.name]
            for name in named:
                if name not in self.functions:
                    raise ModelError(
                        f"{self.path}: not loaded: it calls the function {cause_of(name)[:80]!r} "
                        "and does not hold it"
                    )
            found.update([node.op, *named])
        return found
