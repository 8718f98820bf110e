""".onnx files by field and wire type: small networks, and what an attacker makes of them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import protos
from fuzz.differential import Places
from fuzz.passing import FileFormat

_DATA = "weights.bin"
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training", "own", "x")
# Operators of onnxruntime and its extensions that run what is not theirs, and kinds of text.
_DANGEROUS = """
    PyOp CustomOpPython EPContext StringNormalizer TfIdfVectorizer RegexFullMatch ImageDecoder
    Tokenizer CategoryMapper LabelEncoder ZipMap TorchScript ATen DecoderModel BeamSearch
    GreedySearch Sampling Gradient GraphCall Adagrad Momentum ParseDateTime DecodeImage Load Save
    aten::load SentencepieceTokenizer MemcpyToHost QAttention Trt_Engine TRTEngineOp OpenVINO
""".split()


class OnnxFormat(FileFormat):
    """.onnx files, with a file of weights, a link and a folder beside them."""

    name = "onnx"
    file = "model.onnx"
    builds = ("onnxruntime", "InferenceSession")

    def __init__(self, folder: Path, places: Places) -> None:
        super().__init__(folder, places)
        (folder / _DATA).write_bytes(np.linspace(-1, 1, 64, dtype=np.float32).tobytes())
        if not (folder / "link").is_symlink():
            (folder / "link").symlink_to("../CANARY")
            (folder / "inner").mkdir()
        self._seeds = [make() for make in (_plain, _branches, _functions, _external, _folded)]
        self._texts = (
            *_DANGEROUS,
            *(name for _, name in operators()),
            *_DOMAINS,
            *self._locations(),
            *("image", "embedding", "w", "b", "then", "body", "location", "offset", "length"),
            *("checksum", "\0", "a\nb", "x" * 300, "1e9", "-1"),
        )

    def draw(self, draw: random.Random) -> bytes:
        """A network with none to five changes of its messages, in a third of cases of its bytes."""
        model = type(self._seeds[0])()
        model.CopyFrom(draw.choice(self._seeds))
        for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            draw.choice(_CHANGES)(self, draw, model)
        data = model.SerializeToString()
        if draw.random() < 0.35:
            with contextlib.suppress(ValueError, IndexError):  # bytes that were no message
                data = protos.rewritten(draw, data, model.DESCRIPTOR, self._texts)
        return data

    def _locations(self) -> tuple[str, ...]:
        canary = self._places.canary
        return (
            *(_DATA, f"./{_DATA}", f"inner/../{_DATA}", "link", "inner", "../CANARY", "..", "."),
            *(canary, f"file://{canary}", "/etc/hostname", "/dev/zero", "MARKER", "", "~/x"),
        )

    # Changes

    def change_field(self, draw: random.Random, model: Any) -> None:
        """Any field of any message."""
        protos.change(draw, model, self._texts)

    def change_operator(self, draw: random.Random, model: Any) -> None:
        """Another operator in a node's place, of any domain."""
        nodes = [each for each in protos.messages(model) if each.DESCRIPTOR.name == "NodeProto"]
        if nodes:
            node = draw.choice(nodes)
            domain, name = draw.choice(operators())
            node.op_type = draw.choice((name, name, name, draw.choice(_DANGEROUS)))
            node.domain = draw.choice((domain, domain, domain, draw.choice(_DOMAINS)))

    def change_harmless(self, draw: random.Random, model: Any) -> None:
        """An operator of one tensor for another one, a name, a comment."""
        for node in model.graph.node:
            if node.op_type in _OF_ONE and draw.random() < 0.5:
                node.op_type = draw.choice(_OF_ONE)
        model.doc_string = draw.choice(self._texts)
        model.producer_name = draw.choice(self._texts)

    def insert_node(self, draw: random.Random, model: Any) -> None:
        """A node more, in the graph, a branch or a function, behind or before the others."""
        places = [
            each.node
            for each in protos.messages(model)
            if each.DESCRIPTOR.name in ("GraphProto", "FunctionProto")
        ]
        if not places:
            return
        nodes = draw.choice(places)
        domain, name = draw.choice(operators())
        new = nodes.add()
        new.op_type, new.domain, new.name = name, domain, f"drawn_{draw.randrange(1000)}"
        known = [output for node in nodes for output in node.output] or ["image"]
        new.input.extend(draw.choices([*known, "image", ""], k=draw.randint(0, 3)))
        new.output.append(f"drawn_{draw.randrange(1000)}")
        if draw.random() < 0.5:  # what reads the last tensor reads this one
            nodes[0].input[:] = [new.output[0], *nodes[0].input[1:]]

    def move_outside(self, draw: random.Random, model: Any) -> None:
        """Weights that lie in another file, or say where they would."""
        tensors = [each for each in protos.messages(model) if each.DESCRIPTOR.name == "TensorProto"]
        if not tensors:
            return
        tensor = draw.choice(tensors)
        if draw.random() < 0.8:
            tensor.data_location = 1
            tensor.ClearField("raw_data")
        for _ in range(draw.choice((1, 1, 1, 2))):
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", draw.choice(self._locations())
        for key in ("offset", "length"):
            if draw.random() < 0.5:
                entry = tensor.external_data.add()
                entry.key = key
                entry.value = draw.choice(("0", "4", "-4", "999999999", "4096", "x", "1" * 30))

    def resize(self, draw: random.Random, model: Any) -> None:
        """Another size in a shape, or in a constant that makes one."""
        tensors = [each for each in protos.messages(model) if each.DESCRIPTOR.name == "TensorProto"]
        shaped = [each for each in tensors if each.data_type == 7]
        sizes = (0, 1, 2, 8, 64, -1, 2**20, 2**31, 2**40, 2**62)
        if shaped and draw.random() < 0.7:
            tensor = draw.choice(shaped)
            whole = len(tensor.raw_data) // 8 * 8
            values = np.frombuffer(tensor.raw_data[:whole], np.int64).copy()
            if len(values):
                values[draw.randrange(len(values))] = draw.choice(sizes)
                tensor.raw_data = values.tobytes()
        elif tensors:
            tensor = draw.choice(tensors)
            tensor.dims.append(draw.choice(sizes))


_CHANGES: tuple[Callable[[OnnxFormat, random.Random, Any], None], ...] = (
    OnnxFormat.change_field,
    OnnxFormat.change_field,
    OnnxFormat.change_field,
    OnnxFormat.change_operator,
    OnnxFormat.change_operator,
    OnnxFormat.change_harmless,
    OnnxFormat.change_harmless,
    OnnxFormat.insert_node,
    OnnxFormat.move_outside,
    OnnxFormat.resize,
)
_OF_ONE = "Relu Sigmoid Tanh Abs Neg Exp Softsign Elu Selu Identity Erf Floor Round Sin".split()


@cache
def operators() -> tuple[tuple[str, str], ...]:
    """Domain and name of the operators of all domains that the onnx package knows."""
    import onnx

    found = {(each.domain, each.name) for each in onnx.defs.get_all_schemas()}
    microsoft = "FusedConv FusedGemm FastGelu BiasGelu QLinearAdd EPContext Attention Inverse"
    return tuple(sorted(found | {("com.microsoft", name) for name in microsoft.split()}))


# ---- Networks that run ---------------------------------------------------------------------------


def _model(nodes: list[Any], weights: list[Any], **given: Any) -> Any:
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "net", [image], [out], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(
        graph,
        opset_imports=[*opsets, helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
        **given,
    )


def _weights(name: str, *shape: int) -> Any:
    from onnx import numpy_helper

    values = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    return numpy_helper.from_array(values, name)


def _whole(name: str, *values: int) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values, np.int64), name)


def _plain() -> Any:
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "m", "v"], ["embedding"]),
    ]
    return _model(nodes, [_weights("w", 4, 3, 3, 3), _weights("m", 4, 4), _weights("v", 4)])


def _branches() -> Any:
    from onnx import TensorProto, helper, numpy_helper

    def branch(op: str) -> Any:
        out = helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["f"], [f"{op}_out"])], op, [], [out])

    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    going = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    state = helper.make_tensor_value_info("s", TensorProto.FLOAT, None)
    next_go = helper.make_tensor_value_info("go2", TensorProto.BOOL, [])
    next_state = helper.make_tensor_value_info("s2", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go2"]), helper.make_node("Tanh", ["s"], ["s2"])],
        "body",
        [count, going, state],
        [next_go, next_state],
    )
    true = numpy_helper.from_array(np.array(True), "yes")
    nodes = [
        helper.make_node("Flatten", ["image"], ["e"]),
        helper.make_node("MatMul", ["e", "m"], ["f"]),
        helper.make_node(
            "If", ["yes"], ["g"], then_branch=branch("Relu"), else_branch=branch("Abs")
        ),
        helper.make_node("Loop", ["three", "yes", "g"], ["h"], body=body),
        helper.make_node("Reshape", ["h", "to"], ["embedding"]),
    ]
    three = numpy_helper.from_array(np.array(3, np.int64), "three")
    return _model(nodes, [_weights("m", 192, 4), true, three, _whole("to", -1, 4)])


def _functions() -> Any:
    from onnx import helper

    body = helper.make_function(
        "own",
        "Scaled",
        ["x"],
        ["y"],
        [helper.make_node("Sigmoid", ["x"], ["z"]), helper.make_node("Mul", ["x", "z"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        helper.make_node("Flatten", ["image"], ["e"]),
        helper.make_node("Gemm", ["e", "m"], ["f"]),
        helper.make_node("Scaled", ["f"], ["g"], domain="own"),
        helper.make_node("FastGelu", ["g"], ["embedding"], domain="com.microsoft"),
    ]
    return _model(nodes, [_weights("m", 192, 4)], functions=[body])


def _external() -> Any:
    model = _plain()
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in (("location", _DATA), ("offset", "64"), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model


def _folded() -> Any:
    """Shapes made from constants."""
    from onnx import helper

    nodes = [
        helper.make_node("Shape", ["image"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["image", "to"], ["e"]),
        helper.make_node("ConstantOfShape", ["square"], ["k"]),
        helper.make_node("Expand", ["one", "square"], ["x"]),
        helper.make_node("Add", ["k", "x"], ["w"]),
        helper.make_node("MatMul", ["e", "w"], ["embedding"]),
    ]
    square = _whole("square", 192, 4)
    return _model(nodes, [_whole("zero", 0), _whole("rest", 192), square, _weights("one", 1, 1)])
