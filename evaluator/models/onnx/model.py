"""An .onnx file as it may run: read once, checked whole, and with the embedding as its output:
the output itself, or what its classes are made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import ModelError, cause_of
from evaluator.images.inputs import InputSpec
from evaluator.models.onnx.proto import check_operators, read_model, written_once
from evaluator.models.onnx.sizes import check_sizes
from evaluator.models.onnx.weights import check_weights, read_data
from evaluator.models.options import LoadOptions
from evaluator.models.protos import Message, messages
from evaluator.models.shapes import (
    EMBEDDING,
    Shape,
    check_one_input,
    chosen_output,
    class_note,
    class_refusal,
    dense_note,
    fed_values,
    input_spec,
)


@dataclass(frozen=True)
class OnnxModel:
    """``data`` is the model that was checked, with the weights beside it, as bytes: what runs is
    what was looked at. ``image`` and ``output`` name its input and its one output; ``kind`` is the
    input's type in NumPy's words, ``shape`` its sizes, None for an open one.
    """

    data: bytes
    image: str
    kind: str
    shape: tuple[int | None, ...]
    spec: InputSpec
    output: str
    notes: tuple[str, ...]


def read_onnx(path: Path, options: LoadOptions) -> OnnxModel:
    """The model of an .onnx file. Raises ModelError for what it must not say, or not so; OSError.

    Needs the onnx package, and none that runs models.
    """
    model, data = read_model(path)
    data = written_once(path, model, data)
    check_operators(path, model)
    check_weights(path, model)
    switches, fed_notes = fed_values(_switches(model), options.profile)
    _feed(model, switches)
    inputs = _inputs_of(model)
    check_one_input(path, [_shape(each) for each in inputs])
    image, shape = inputs[0], _shape(inputs[0])
    kind = _kind(path, image)
    spec, input_notes = input_spec(path, shape, options, kind=kind, fed=tuple(switches))
    outputs: dict[str, Shape] = {each.name: _shape(each) for each in model.graph.output}
    output, output_notes = embedding_output(
        path, model.graph, image.name, outputs=outputs, wanted=options.output
    )
    changed = keep_only(model.graph, output) or bool(switches)
    # What says how to train and to run it is not for this.
    if model.training_info or model.metadata_props:
        model.ClearField("training_info")
        model.ClearField("metadata_props")
        changed = True
    check_sizes(path, model, image.name, (shape[0] or 1, *spec.batch_shape))
    changed |= read_data(path, model)
    return OnnxModel(
        # Writing hundreds of megabytes again takes as long as parsing them.
        data=model.SerializeToString() if changed else data,
        image=image.name,
        kind=kind,
        shape=shape,
        spec=spec,
        output=output,
        notes=(*output_notes, *input_notes, *fed_notes),
    )


def _inputs_of(model: Message) -> list[Message]:
    """The inputs that are no weights; older files list their weights among them."""
    weights = {each.name for each in model.graph.initializer}
    weights |= {each.values.name for each in model.graph.sparse_initializer}
    return [each for each in model.graph.input if each.name not in weights]


def _switches(model: Message) -> list[str]:
    """The names of the inputs that are one boolean, as ``phase_train`` is."""
    import onnx

    return [
        str(each.name)
        for each in _inputs_of(model)
        if each.type.tensor_type.elem_type == onnx.TensorProto.BOOL and _shape(each) in ((), (1,))
    ]


def _feed(model: Message, switches: Mapping[str, bool]) -> None:
    """Makes inputs weights of these values: what is left to be given is the image."""
    import onnx

    for each in model.graph.input:
        if each.name in switches:
            shape = [1] * len(each.type.tensor_type.shape.dim)
            model.graph.initializer.append(
                onnx.helper.make_tensor(
                    each.name, onnx.TensorProto.BOOL, shape, [switches[each.name]]
                )
            )
    _keep(model.graph.input, [each.name not in switches for each in model.graph.input])


def _kind(path: Path, image: Message) -> str:
    import onnx

    kind = image.type.tensor_type.elem_type
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(kind))
    except KeyError:
        raise ModelError(
            f"{path}: the model's input {cause_of(image.name)[:80]!r} is of an unknown type, {kind}"
        ) from None


def _shape(value: Message) -> tuple[int | None, ...]:
    """The shape with None for a named axis. insightface names the batch axis of its inputs only."""
    return tuple(
        int(each.dim_value) if each.HasField("dim_value") and each.dim_value > 0 else None
        for each in value.type.tensor_type.shape.dim
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
        notes = (*notes, dense_note(output, outputs[output]))
    if sign is None:
        return output, notes
    if dense is None:
        raise ModelError(class_refusal(path, sign))
    return read.moving_inputs(dense)[0], (*notes, class_note(sign))


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
    sparse = [each.values.name for each in graph.sparse_initializer]
    outputs = [each.name for each in graph.output]
    first = outputs.index(output) if output in outputs else None
    _keep(graph.initializer, [each.name in wanted for each in graph.initializer])
    _keep(graph.sparse_initializer, [name in wanted for name in sparse])
    _keep(graph.output, [at == first for at in range(len(outputs))])
    if not graph.output:
        graph.output.add(name=output)  # the runtime tells its type and shape
    return True


def _keep(listed: Message, wanted: Sequence[bool]) -> None:
    for at in reversed(range(len(wanted))):
        if not wanted[at]:
            del listed[at]
