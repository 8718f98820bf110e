"""Frozen graphs by field and wire type: small networks, and what an attacker makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.models.runtime import import_keras
from evaluator.models.savedmodel.ops import ALLOWED
from fuzz import protos
from fuzz.differential import Places
from fuzz.passing import FileFormat
from fuzz.saved_models import DANGEROUS, OF_ONE, fill, operations, operations_of


class FrozenFormat(FileFormat):
    """Frozen graphs: a plain one, one with a condition of TensorFlow 1, one with functions."""

    name = "frozen"
    file = "model.pb"
    builds = ("evaluator.models.frozen.load", "pruned")

    def __init__(self, folder: Path, places: Places) -> None:
        import_keras()
        super().__init__(folder, places)
        self._seeds = [_plain(), _conditional(), _with_functions()]
        self._texts = (
            *DANGEROUS,
            *("CANARY", "../CANARY", places.canary, "MARKER", "file://MARKER", "/dev/zero"),
            *("input", "image", "embedding", "embeddings", "phase_train", "^image", "image:1"),
            *("x" * 300, "\0", *sorted(operations())[::20]),
        )

    def draw(self, draw: random.Random) -> bytes:
        """A network with up to three changes of its messages, in a quarter of cases of bytes."""
        seed = draw.choice(self._seeds)
        graph = type(seed)()
        graph.CopyFrom(seed)
        for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 2, 3))):
            draw.choice(_CHANGES)(self, draw, graph)
        data = graph.SerializeToString()
        if draw.random() < 0.25:
            data = protos.rewritten(draw, data, graph.DESCRIPTOR, self._texts)
        return data

    # Changes

    def change_field(self, draw: random.Random, graph: Any) -> None:
        """Any field of any message."""
        protos.change(draw, graph, self._texts)

    def change_operation(self, draw: random.Random, graph: Any) -> None:
        """Another operation in a node's place."""
        nodes = draw.choice(_node_lists(graph))
        if len(nodes):
            node = draw.choice(nodes)
            alike = operations_of(len(node.input)) if draw.random() < 0.5 else ()
            node.op = draw.choice(alike or tuple(operations()))
            fill(draw, node, operations()[node.op])

    def change_harmless(self, draw: random.Random, graph: Any) -> None:
        """An operation of one tensor for another one."""
        for nodes in _node_lists(graph):
            for node in nodes:
                if node.op in OF_ONE and draw.random() < 0.5:
                    node.op = draw.choice(OF_ONE)

    def insert_operation(self, draw: random.Random, graph: Any) -> None:
        """An operation of any kind, which the embedding waits for or is made by."""
        name = draw.choice((draw.choice(DANGEROUS), draw.choice(sorted(ALLOWED & {*operations()}))))
        kind = operations().get(name)
        if kind is None or not len(graph.node):
            return
        known = [node.name for node in graph.node]
        new = graph.node.add(name=f"drawn_{draw.randrange(1000)}", op=name)
        new.input.extend(draw.choices(known, k=len(kind.input_arg)))
        fill(draw, new, kind)
        user = draw.choice(graph.node)
        user.input.append(f"^{new.name}")
        if len(user.input) > 1 and draw.random() < 0.3:
            user.input[0] = new.name

    def add_call(self, draw: random.Random, graph: Any) -> None:
        """A function that is called: one that there is, or a new one that calls another."""
        library = graph.library.function
        if draw.random() < 0.5 or not len(library):
            new = library.add()
            new.signature.name = draw.choice(("f", "g", "ReadFile", "Relu", ""))
            call = new.node_def.add(name="c", op=draw.choice(("f", "g", "ReadFile", "Relu")))
            call.attr["f"].func.name = draw.choice(("f", "g", "h"))
        if len(graph.node):
            node = draw.choice(graph.node)
            node.op = draw.choice((draw.choice(library).signature.name, "PartitionedCall"))
            node.attr["f"].func.name = draw.choice(library).signature.name


def _node_lists(graph: Any) -> list[Any]:
    return [graph.node, *(each.node_def for each in graph.library.function)]


def _body(image: Any) -> Any:
    import tensorflow as tf

    kernel = tf.constant(np.linspace(-1, 1, 108, dtype=np.float32).reshape(3, 3, 3, 4))
    x = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))
    return tf.reduce_mean(tf.tanh(x), axis=[1, 2])


def _plain() -> Any:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 3), name="image")
        tf.identity(_body(image), name="embedding")
        return graph.as_graph_def()


def _conditional() -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        try:
            image = v1.placeholder(tf.float32, (None, 8, 8, 3), name="input")
            training = v1.placeholder(tf.bool, name="phase_train")
            x = _body(image)
            x = v1.cond(training, lambda: x * 2, lambda: tf.abs(x))
            tf.nn.l2_normalize(x, 1, name="embeddings")
        finally:
            v1.enable_control_flow_v2()
        return graph.as_graph_def()


def _with_functions() -> Any:
    import tensorflow as tf

    inner = tf.function(_body, autograph=False)
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 3), name="image")
        x = inner(image)
        x = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.tanh(x), lambda: tf.abs(x))
        tf.identity(x, name="embedding")
        return graph.as_graph_def()


_CHANGES: tuple[Callable[[FrozenFormat, random.Random, Any], None], ...] = (
    FrozenFormat.change_field,
    FrozenFormat.change_field,
    FrozenFormat.change_field,
    FrozenFormat.change_operation,
    FrozenFormat.change_harmless,
    FrozenFormat.change_harmless,
    FrozenFormat.insert_operation,
    FrozenFormat.insert_operation,
    FrozenFormat.add_call,
)
