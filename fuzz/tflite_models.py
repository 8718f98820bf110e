""".tflite files by their schema: small networks, and what an attacker would write into them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from evaluator.models.tflite.ops import ALLOWED
from fuzz.differential import Places
from fuzz.passing import FileFormat

_CUSTOM = """
    FlexWriteFile FlexReadFile FlexPyFunc FlexSaveV2 TFLite_Detection_PostProcess EdgeTPU
    MediaPipe stablehlo.custom_call Delegate RandomStandardNormal Audio_Spectrogram Mfcc
    TFSentencepieceTokenizeOp aeq.hadamard_rotation dlopen Convolution2DTransposeBias
""".split()
_NUMBERS = (0, 1, 2, 3, -1, -2, 4, 8, 17, 127, 200, 255, 2**15, 2**20, 2**31 - 1, -(2**31))


class TFLiteFormat(FileFormat):
    """.tflite files."""

    name = "tflite"
    file = "model.tflite"
    builds = ("ai_edge_litert.interpreter", "Interpreter")

    def __init__(self, folder: Path, places: Places) -> None:
        super().__init__(folder, places)
        self._seeds = [_dense_network(), _convolution(), _branches()]
        self._texts = (*_CUSTOM, places.canary, "MARKER", "image", "\0", "x" * 300, "logits", "")

    def draw(self, draw: random.Random) -> bytes:
        """A network with none to five changes of its tables, in a fifth of cases of its bytes."""
        model = copy.deepcopy(draw.choice(self._seeds))
        for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            draw.choice(_CHANGES)(self, draw, model)
        data = bytearray(packed(model))
        if draw.random() < 0.2:
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(8, len(data))
                data[at] = draw.choice((0, 1, 255, draw.randrange(256)))
        return bytes(data)

    # Changes

    def change_field(self, draw: random.Random, model: Any) -> None:
        """Any field of any table, by the type it has."""
        table = draw.choice(list(_tables(model)))
        name = draw.choice(sorted(vars(table)) or [""])
        value = getattr(table, name, None)
        if isinstance(value, bool):
            setattr(table, name, not value)
        elif isinstance(value, int):
            setattr(table, name, draw.choice(_NUMBERS))
        elif isinstance(value, float):
            setattr(table, name, draw.choice((0.0, -1.0, 1e30)))
        elif isinstance(value, bytes | str):
            setattr(table, name, draw.choice(self._texts).encode())
        elif isinstance(value, list | np.ndarray) and len(value):
            setattr(table, name, self._other_list(draw, list(value)))

    def _other_list(self, draw: random.Random, values: list[Any]) -> list[Any]:
        at = draw.randrange(len(values))
        how = draw.randrange(4)
        if how == 0:
            del values[at]
        elif how == 1:
            values.append(copy.deepcopy(values[at]))
        elif how == 2 and isinstance(values[at], int | np.integer):
            values[at] = draw.choice(_NUMBERS)
        else:
            draw.shuffle(values)
        return values

    def change_operation(self, draw: random.Random, model: Any) -> None:
        """Another operation, built in or by a name of its own."""
        code = draw.choice(model.operatorCodes or [None])
        if code is None:
            return
        numbers = operations()
        harmless = draw.random() < 0.4
        number = numbers[draw.choice(sorted(ALLOWED & numbers.keys() if harmless else numbers))]
        code.builtinCode = number
        code.deprecatedBuiltinCode = draw.choice((min(number, 127), min(number, 127), 127, 0))
        if draw.random() < 0.2:
            code.builtinCode = code.deprecatedBuiltinCode = numbers["CUSTOM"]
            code.customCode = draw.choice(_CUSTOM).encode()

    def change_harmless(self, draw: random.Random, model: Any) -> None:
        """An operation of one tensor for another, texts that nothing looks at."""
        numbers = operations()
        alike = [numbers[name] for name in _OF_ONE]
        for code in model.operatorCodes or []:
            if code.builtinCode in alike:
                code.builtinCode = code.deprecatedBuiltinCode = draw.choice(alike)
        model.description = draw.choice(self._texts).encode()

    def change_shape(self, draw: random.Random, model: Any) -> None:
        """Another size, type or buffer of a tensor."""
        graph = draw.choice(model.subgraphs or [None])
        if graph is None or not graph.tensors:
            return
        tensor = draw.choice(graph.tensors)
        how = draw.randrange(4)
        if how == 0 and tensor.shape is not None and len(tensor.shape):
            shape = [int(each) for each in tensor.shape]
            shape[draw.randrange(len(shape))] = draw.choice(_NUMBERS)
            tensor.shape = shape
        elif how == 1:
            tensor.type = draw.randrange(20)
        elif how == 2:
            tensor.buffer = draw.choice((0, 1, 2, 3, 100))
        else:
            tensor.shapeSignature = draw.choice(([-1, 4], [-1, -1], [], [1] * 9))

    def change_buffer(self, draw: random.Random, model: Any) -> None:
        """Where weights lie, and how many there are."""
        buffer = draw.choice(model.buffers or [None])
        if buffer is None:
            return
        if draw.random() < 0.5:
            buffer.offset, buffer.size = draw.choice(_NUMBERS[:4]), draw.choice((0, 16, 2**40))
            buffer.offset = abs(buffer.offset) * draw.choice((1, 64, 2**33))
        elif buffer.data is not None:
            buffer.data = np.asarray(buffer.data)[: draw.randrange(len(buffer.data) + 1)]

    def call_graph(self, draw: random.Random, model: Any) -> None:
        """A branch, a loop or a call of another network of the file, or of itself."""
        graphs = model.subgraphs or []
        if graphs:
            graphs.append(copy.deepcopy(draw.choice(graphs)))
            for table in _tables(model):
                for name in ("thenSubgraphIndex", "elseSubgraphIndex", "initSubgraphIndex"):
                    if hasattr(table, name):
                        setattr(table, name, draw.choice((0, 1, 2, 5, -1)))


_CHANGES: tuple[Callable[[TFLiteFormat, random.Random, Any], None], ...] = (
    TFLiteFormat.change_field,
    TFLiteFormat.change_field,
    TFLiteFormat.change_operation,
    TFLiteFormat.change_harmless,
    TFLiteFormat.change_harmless,
    TFLiteFormat.change_shape,
    TFLiteFormat.change_buffer,
    TFLiteFormat.call_graph,
)
_OF_ONE = "RELU TANH LOGISTIC ABS NEG EXP ELU SIN COS FLOOR ROUND SQUARE".split()


def operations() -> dict[str, int]:
    """The built-in operations of the schema: name -> number."""
    schema = _schema()
    return {name: value for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}


def packed(model: Any) -> bytes:
    """A model's bytes; those of an empty one where a value has no room in its field."""
    builder = flatbuffers.Builder(1024)
    try:
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    except (
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        flatbuffers.builder.BuilderSizeError,
    ):
        builder = flatbuffers.Builder(64)
        builder.Finish(_schema().ModelT().Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tables(part: Any) -> Iterator[Any]:
    """Every table of a model, itself first."""
    waiting = [part]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif type(each).__name__.endswith("T") and hasattr(each, "Pack"):
            yield each
            waiting += list(vars(each).values())


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema


# ---- Networks that run ---------------------------------------------------------------------------


class _Net:
    """A network that is put together: tensors by name, operations in order."""

    def __init__(self) -> None:
        self.schema = _schema()
        self.model = self.schema.ModelT()
        self.model.version = 3
        self.model.buffers = [self.schema.BufferT()]
        self.model.operatorCodes = []
        self.model.subgraphs = []
        self.graph()

    def graph(self) -> None:
        """Begins another network of the file."""
        graph = self.schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs.append(graph)

    def tensor(self, name: str, shape: list[int], values: Any = None) -> int:
        """A tensor's number; one with values is a constant."""
        graph = self.model.subgraphs[-1]
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape = name.encode(), shape
        if values is not None:
            array = np.asarray(values)
            tensor.type = {"f": 0, "i": 2, "b": 6}[array.dtype.kind]
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def operation(
        self, name: str, inputs: list[int], outputs: list[int], options: Any = None
    ) -> None:
        """An operation, with the options of its kind."""
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = operations()[name]
        code.version = 1
        self.model.operatorCodes.append(code)
        made = self.schema.OperatorT()
        made.opcodeIndex = len(self.model.operatorCodes) - 1
        made.inputs, made.outputs = inputs, outputs
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            made.builtinOptions = options
        self.model.subgraphs[-1].operators.append(made)

    def done(self, inputs: list[int], outputs: list[int]) -> None:
        """Ends a network of the file."""
        self.model.subgraphs[-1].inputs = inputs
        self.model.subgraphs[-1].outputs = outputs


def _line(*shape: int) -> Any:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def _dense_network() -> Any:
    net = _Net()
    image = net.tensor("image", [1, 8, 8, 3])
    to = net.tensor("to", [2], np.array([1, 192], np.int32))
    flat, wide, out = (
        net.tensor(n, s) for n, s in (("flat", [1, 192]), ("a", [1, 4]), ("b", [1, 4]))
    )
    weights = net.tensor("w", [4, 192], _line(4, 192))
    net.operation("RESHAPE", [image, to], [flat])
    net.operation("FULLY_CONNECTED", [flat, weights], [wide], net.schema.FullyConnectedOptionsT())
    net.operation("TANH", [wide], [out])
    net.done([image], [out])
    return net.model


def _convolution() -> Any:
    net = _Net()
    image = net.tensor("image", [1, 8, 8, 3])
    kernel, bias = net.tensor("k", [4, 3, 3, 3], _line(4, 3, 3, 3)), net.tensor("v", [4], _line(4))
    made, active = net.tensor("a", [1, 6, 6, 4]), net.tensor("b", [1, 6, 6, 4])
    axes, out = net.tensor("axes", [2], np.array([1, 2], np.int32)), net.tensor("c", [1, 4])
    options = net.schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = 1, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    net.operation("CONV_2D", [image, kernel, bias], [made], options)
    net.operation("RELU", [made], [active])
    net.operation("MEAN", [active, axes], [out], net.schema.ReducerOptionsT())
    net.done([image], [out])
    return net.model


def _branches() -> Any:
    net = _Net()
    image = net.tensor("image", [1, 8, 8, 3])
    yes, axes = (
        net.tensor("yes", [1], np.array([True])),
        net.tensor("ax", [2], np.array([1, 2], np.int32)),
    )
    mean, out = net.tensor("mean", [1, 3]), net.tensor("out", [1, 3])
    net.operation("MEAN", [image, axes], [mean], net.schema.ReducerOptionsT())
    options = net.schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    net.operation("IF", [yes, mean], [out], options)
    net.done([image], [out])
    for name in ("ABS", "NEG"):
        net.graph()
        given, made = net.tensor("x", [1, 3]), net.tensor("y", [1, 3])
        net.operation(name, [given], [made])
        net.done([given], [made])
    return net.model
