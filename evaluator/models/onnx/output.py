"""Which tensor of an .onnx graph is the embedding: its output, or what its classes are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import ModelError, cause_of
from evaluator.models.onnx.proto import Message, messages
from evaluator.models.shapes import (
    EMBEDDING,
    Shape,
    chosen_output,
    class_note,
    class_refusal,
    dense_note,
)

# What changes neither which numbers there are nor what they mean.
_SHAPING = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
# What may stand between a dense layer and the output of its layer: bias, scale, temperature.
_SCALING = frozenset({"Add", "Div", "Mul", "Sub"})
# What may stand between an embedding and the dense layer of its classes.
_NORMALISING = frozenset(
    {"BatchNormalization", "Clip", "LayerNormalization", "LpNormalization", "PRelu", "Relu"}
)
_SOFTMAX = frozenset({"LogSoftmax", "Softmax"})
_DENSE = frozenset({"FusedGemm", "FusedMatMul", "Gemm", "MatMul"})

# Not "logit": CLIP's last number is its logit_scale.
_CLASS_WORDS = re.compile(r"(^|[/.:_])(logits|predictions?)($|[/.:_])", re.IGNORECASE)
_EMBEDDING_WORD = re.compile(rf"(^|[/.:_]){EMBEDDING}s?($|[/.:_])", re.IGNORECASE)


@dataclass(frozen=True)
class _Graph:
    """A graph by its tensors: who makes each, and which depend on the image."""

    producers: dict[str, Message]
    moving: frozenset[str]

    def moving_inputs(self, node: Message) -> list[str]:
        """The inputs of a node that depend on the image: not its weights."""
        return [name for name in node.input if name in self.moving]

    def back(self, name: str, passed: frozenset[str]) -> Iterator[Message]:
        """The nodes behind a tensor, nearest first, while they are of these operators and have
        one input that depends on the image; and the node after them.
        """
        seen: set[str] = set()  # a damaged graph may go round in a circle
        while (node := self.producers.get(name)) is not None and name not in seen:
            seen.add(name)
            yield node
            inputs = self.moving_inputs(node)
            if node.op_type not in passed or len(inputs) != 1:
                return
            name = inputs[0]


def _read(graph: Message, image: str) -> _Graph:
    moving = {image}
    producers = {}
    for node in graph.node:  # in the order in which they are computed, as ONNX demands
        if any(name in moving for name in _inputs(node)):
            moving.update(node.output)
        producers.update({name: node for name in node.output if name})
    return _Graph(producers, frozenset(moving))


def _inputs(node: Message) -> set[str]:
    """The tensors that a node takes, and those that its branches and loops take."""
    return {name for each in messages(node, "NodeProto") for name in each.input} | {
        output.name for inner in messages(node, "GraphProto") for output in inner.output
    }


def embedding_output(
    path: Path, graph: Message, image: str, *, outputs: dict[str, Shape], wanted: str | None
) -> tuple[str, tuple[str, ...]]:
    """The tensor to take as the embedding, and notes: the one wanted, be it inside the graph; else
    the output, or what goes into the classes' layer where the output is classes.

    Raises ModelError for an unknown name, and for classes that no dense layer makes.
    """
    read = _read(graph, image)
    if wanted is not None and wanted not in outputs and wanted in read.producers:
        return wanted, ()
    output, notes = chosen_output(path, outputs, wanted)
    if wanted is not None:
        return output, notes
    sign, end = _softmax(read, output)
    dense = _dense(read, end)
    if sign is None and dense is not None:
        sign = _named_sign(read, end, dense)
    if sign is None and dense is not None and not _named_embedding(read, output):
        size = outputs[output][-1] if outputs[output] else None
        notes = (*notes, dense_note(output, size if isinstance(size, int) else None))
    if sign is None:
        return output, notes
    if dense is None:
        raise ModelError(class_refusal(path, sign))
    return read.moving_inputs(dense)[0], (*notes, class_note(sign, None))


def _softmax(read: _Graph, output: str) -> tuple[str | None, str]:
    """How a softmax at the end is called, and the tensor that goes into it; or the output."""
    *_, end = (None, *read.back(output, _SHAPING | {"Log"}))
    if end is None or end.op_type not in _SOFTMAX or not end.input:
        return None, output
    return f"{end.op_type} {cause_of(end.name or end.output[0])[:80]!r}", str(end.input[0])


def _dense(read: _Graph, output: str) -> Message | None:
    """The dense layer that makes a tensor, but for shape, bias and scale."""
    *_, end = (None, *read.back(output, _SHAPING | _SCALING))
    if end is None or end.op_type not in _DENSE or len(read.moving_inputs(end)) != 1:
        return None
    return end


def _named_sign(read: _Graph, output: str, dense: Message) -> str | None:
    """What in the names of a dense layer and of those behind it says that it makes classes."""
    for name in _last_names(read, output):
        if _CLASS_WORDS.search(name):
            return f"named {cause_of(name)[:80]!r}"
    if _named_embedding(read, output):
        return None  # the dense layer is the embedding's own
    behind = read.moving_inputs(dense)[0]
    before = list(read.back(behind, _SHAPING | _NORMALISING))
    for name in (behind, *(each for node in before for each in (node.name, *node.output))):
        if _EMBEDDING_WORD.search(name):
            return f"behind {cause_of(name)[:80]!r}"
    return None


def _named_embedding(read: _Graph, output: str) -> bool:
    return any(_EMBEDDING_WORD.search(name) for name in _last_names(read, output))


def _last_names(read: _Graph, output: str) -> list[str]:
    """The names of an output, of the dense layer that makes it and of what is behind that."""
    layer = read.back(output, _SHAPING | _SCALING)
    return [output, *(name for node in layer for name in (node.name, *node.output))]


def keep_only(graph: Message, output: str) -> bool:
    """Makes a tensor the only output of a graph, and takes out what does not lead to it.

    Says whether that changed the graph.
    """
    if [each.name for each in graph.output] == [output]:
        return False
    wanted = {output}
    kept = []
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output):
            kept.append(node)
            wanted |= _inputs(node)
    nodes = [type(node).FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(nodes)
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name not in wanted:
            del graph.initializer[at]
    for at in reversed(range(len(graph.sparse_initializer))):
        if graph.sparse_initializer[at].values.name not in wanted:
            del graph.sparse_initializer[at]
    listed = [each.name for each in graph.output]
    first = listed.index(output) if output in listed else None
    for at in reversed(range(len(graph.output))):
        if at != first:
            del graph.output[at]
    if not graph.output:
        graph.output.add(name=output)  # the runtime tells its type and shape
    return True
