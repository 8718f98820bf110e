"""TensorFlow graphs: compiled forward passes, in float32 or bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError, ModelError, OutOfMemoryError, cause_of
from evaluator.images.inputs import Forward
from evaluator.limits import check_tensor
from evaluator.models.foreign import foreign_errors
from evaluator.models.options import LoadOptions
from evaluator.models.protos import messages

# Their outputs are variables and values that are in memory already.
_HELD = frozenset({"ReadVariableOp", "Const", "Placeholder"})


def compiled_forward(
    path: Path, call: Callable[[Any], Any], shape: tuple[int | None, ...], *, options: LoadOptions
) -> Forward:
    """``call``, from a tensor of ``shape`` to embeddings, as one graph; float32 in and out.

    The engine and precision of ``options`` compute it, convolutions and matrix products in bfloat16
    where that is asked for. Raises ModelError, in which ``path`` names the model, where they cannot
    on this machine; the graph raises OutOfMemoryError for a batch that does not fit, and
    ForwardError for one that it cannot compute.
    """
    import tensorflow as tf

    signature = tf.TensorSpec(shape, tf.float32)

    @tf.function(input_signature=[signature], autograph=False)  # type: ignore[untyped-decorator]
    def embed(batch: Any) -> Any:
        return tf.cast(call(batch), tf.float32)

    with foreign_errors(f"{path}: its forward pass cannot be built"):
        function = embed.get_concrete_function()
    check_graph_tensors(path, function.graph, shape[0], held=_HELD)
    if options.engine == "openvino":
        from evaluator.models.openvino import graph_forward

        graph = frozen_function(function).graph.as_graph_def()
        return graph_forward(path, graph, options)
    if options.precision == "bfloat16":
        function = _in_bfloat16(function)

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with foreign_errors("the model cannot compute a batch", ForwardError):
            try:
                embeddings: NDArray[np.float32] = function(tf.constant(batch)).numpy()
            except tf.errors.OpError as error:
                raise _forward_error(error) from None
        return embeddings

    return forward


def cast_batch(batch: Any, kind: Any) -> Any:
    """A batch as numbers of a type: pixels as they are; a resized one lies between two levels."""
    import tensorflow as tf

    if kind.is_integer:
        batch = tf.clip_by_value(tf.round(batch), 0.0, 255.0)
    return tf.cast(batch, kind)


def check_graph_tensors(
    path: Path, graph: Any, batch: int | None, *, held: frozenset[str] = frozenset()
) -> None:
    """Raises ModelError for a graph, or one that it calls, that makes too large a tensor of one
    image.

    Shapes are those that TensorFlow infers; ``batch`` is the size of a batch that is fixed, and an
    open axis counts as one, so that what grows with the image is not counted. Operations of
    ``held`` make none.
    """
    seen: set[str] = set()
    pending = [graph]
    while pending:
        graph = pending.pop()
        for operation in graph.get_operations():
            for tensor in operation.outputs if operation.type not in held else ():
                sizes = tensor.shape.as_list() if tensor.shape.rank else []
                sizes = sizes[1:] if batch is not None and sizes[:1] == [batch] else sizes
                name = f"{operation.type} {cause_of(operation.name)!r}"
                check_tensor(path, name, sizes, itemsize=tensor.dtype.size or 1)
            for name in {each.name for each in messages(operation.node_def, "NameAttrList")} - seen:
                seen.add(name)
                # TensorFlow offers no other way.
                inner = getattr(graph._get_function(name), "graph", None)
                pending += [] if inner is None else [inner]


def _forward_error(error: Any) -> ForwardError:
    """What TensorFlow's error in a forward pass means, in one line."""
    import tensorflow as tf

    # Its message is a heading, the Python stack of the node, the cause, and the node again.
    lines = [line.strip() for line in str(error.message).splitlines()]
    told = [each for each in lines if each and not each.startswith(("[[", "File ", "Detected at"))]
    reason = (told or [type(error).__name__])[-1][:300]
    # A batch that cannot be copied to a full GPU is an InternalError with these words.
    copying = isinstance(error, tf.errors.InternalError) and "Dst tensor" in str(error.message)
    exhausted = isinstance(error, tf.errors.ResourceExhaustedError) or copying
    return (OutOfMemoryError if exhausted else ForwardError)(reason)


def _in_bfloat16(function: Any) -> Any:
    """The function with its variables frozen and Grappler's oneDNN bfloat16 pass applied.

    The pass is run here because as a session option it has no effect once TensorFlow has started.
    Freezing comes first: the pass leaves variables in float32, and each use would be cast.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
    from tensorflow.python.grappler import tf_optimizer
    from tensorflow.python.training import saver

    frozen = frozen_function(function)
    image, embedding = frozen.inputs[0].name, frozen.outputs[0].name
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    rewrites.min_graph_nodes = -1  # else graphs of fewer than four nodes are left as they are
    graph = saver.export_meta_graph(graph_def=frozen.graph.as_graph_def(), graph=frozen.graph)
    graph.collection_def["train_op"].node_list.value.append(embedding)
    optimized = tf_optimizer.OptimizeGraph(config, graph)
    half = tf.bfloat16.as_datatype_enum
    if not any(node.attr["T"].type == half for node in optimized.node if "T" in node.attr):
        raise ModelError(
            "--precision bfloat16: TensorFlow has no bfloat16 arithmetic on this machine for this "
            "model; use --precision float32"
        )
    return pruned(optimized, image, embedding)


def pruned(definition: Any, image: str, embedding: str) -> Any:
    """The function from one tensor of a ``GraphDef`` to another."""
    import tensorflow as tf

    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    return whole.prune(image, embedding)


def frozen_function(function: Any) -> Any:
    """A concrete function with its variables' values in its graph."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)
