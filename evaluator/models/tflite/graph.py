"""A .tflite file read by its schema: what it runs, how large its tensors are, where classes begin.

The file's tables are read in Python before LiteRT sees them. LiteRT's own check of all offsets
comes after, when it gets the same bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import ModelError, plain_name
from evaluator.limits import check_memory, check_tensor
from evaluator.models.foreign import listed
from evaluator.models.options import LoadOptions
from evaluator.models.shapes import class_note, class_refusal, class_sign, is_embedding
from evaluator.models.tflite.ops import ALLOWED, CUSTOM_ALLOWED

# Operators and tensors of a file, together: networks have some thousand.
_MOST_TABLES = 1_000_000
_ITEM_SIZES = {
    "FLOAT16": 2, "BFLOAT16": 2, "INT16": 2, "UINT16": 2, "FLOAT64": 8, "INT64": 8, "UINT64": 8,
    "COMPLEX64": 8, "COMPLEX128": 16, "FLOAT32": 4, "INT32": 4, "UINT32": 4,
}  # fmt: skip
_HANDING = ("RESHAPE", "SQUEEZE", "CAST", "QUANTIZE", "DEQUANTIZE")
# Which input of an operator says, as a constant, how large its output is.
_SIZED = {"FILL": 0, "BROADCAST_TO": 1, "TILE": 1, "RESIZE_BILINEAR": 1,
          "RESIZE_NEAREST_NEIGHBOR": 1, "ONE_HOT": 1, "RANGE": 1}  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """A network that ends before its classes: the file's bytes with one output, and a note."""

    data: bytes
    note: str


def read_tflite(path: Path, options: LoadOptions) -> TFLiteFile:
    """A .tflite file, of which all is known to compute unless it is trusted. Raises ModelError."""
    check_memory(path, "its bytes", 2 * path.stat().st_size)
    file = TFLiteFile(path, path.read_bytes())
    if not options.trusted:
        file.check()
    return file


@dataclass(frozen=True)
class TFLiteFile:
    """The tables of a .tflite file. Its methods raise ModelError."""

    path: Path
    data: bytes

    @cached_property
    def model(self) -> Any:
        from ai_edge_litert import schema_py_generated as schema

        return schema.Model.GetRootAs(self.data, 0)

    def check(self) -> None:
        """Raises ModelError unless all operators only compute, within bounds of memory."""
        with _damaged(self.path):
            unsafe = list(dict.fromkeys(self._unsafe()))
            if unsafe:
                raise ModelError(
                    f"{self.path}: not loaded, because it has operations that are not known to "
                    f"compute and nothing else: {listed(unsafe)}"
                )
            self._check_sizes()

    def operators(self) -> Iterator[tuple[str, Any]]:
        """The operators of the network, in their order, with the names of what they do."""
        for operator in _all(self._graphs[0], "Operators"):
            yield self._operation(operator), operator

    def inputs_of(self, operator: Any) -> list[int]:
        """The numbers of the tensors that an operator takes; -1 for one that it leaves out."""
        return _all(operator, "Inputs")

    def held(self, index: int) -> Any | None:
        """A tensor of the network, if its values are in the file."""
        if index < 0:
            return None
        tensor = self._graphs[0].Tensors(index)
        buffer = self.model.Buffers(tensor.Buffer())
        return None if buffer.DataIsNone() and buffer.Offset() <= 1 else tensor

    def type_of(self, tensor: Any) -> str:
        """What a tensor's numbers are, as "FLOAT32"."""
        return _names("TensorType").get(tensor.Type(), "")

    def without_classes(self, output: int) -> Cut | None:
        """The network that ends before its classes, or None if that output is none by any sign."""
        with _damaged(self.path):
            found = self._head(self._graphs[0], output)
            if found is None:
                return None
            tensor, sign = found
            note = class_note(sign, _sizes(self._graphs[0].Tensors(tensor)))
            return Cut(self._ending_in(tensor), note)

    @cached_property
    def _graphs(self) -> list[Any]:
        graphs = _all(self.model, "Subgraphs")
        if not graphs:
            raise ModelError(f"{self.path}: a damaged .tflite file: it holds no network")
        tables = sum(each.OperatorsLength() + each.TensorsLength() for each in graphs)
        if tables > _MOST_TABLES:
            raise ModelError(
                f"{self.path}: not loaded: it lists {tables:,} operations and tensors; networks "
                "have some thousand"
            )
        return graphs

    @cached_property
    def _codes(self) -> list[tuple[int, str]]:
        """Number of each operation that is used, and its own name where it is no built-in one."""
        # The older of the two numbers holds one byte; LiteRT takes the larger one.
        return [
            (max(each.BuiltinCode(), each.DeprecatedBuiltinCode()), _text(each.CustomCode()))
            for each in _all(self.model, "OperatorCodes")
        ]

    def _operation(self, operator: Any) -> str:
        return _names("BuiltinOperator").get(self._codes[operator.OpcodeIndex()][0], "")

    def _unsafe(self) -> Iterator[str]:
        for number, custom in self._codes:
            name = _names("BuiltinOperator").get(number, f"operation {number}")
            if name == "CUSTOM":
                if custom not in CUSTOM_ALLOWED:
                    yield f"the custom operation {custom!r}"
            elif name not in ALLOWED:
                yield name
        for kind in ("ExternalBuffers", "ExternalBufferGroups"):  # of newer schemas
            if hasattr(self.model, kind) and getattr(self.model, f"{kind}Length")():
                yield "weights in another file"

    def _check_sizes(self) -> None:
        # One by one: as many as the file has room for may be listed.
        for buffer in map(self.model.Buffers, range(self.model.BuffersLength())):
            if not buffer.DataIsNone():
                buffer.DataAsNumpy()  # ValueError where it ends after the file
            if buffer.Offset() > 1 and buffer.Offset() + buffer.Size() > len(self.data):
                raise ModelError(f"{self.path}: a damaged .tflite file: weights end after the file")
        largest = 0
        for graph in self._graphs:
            sizes = [self._tensor_bytes(each) for each in _all(graph, "Tensors")]
            for operator in _all(graph, "Operators"):
                self._check_constant_size(graph, operator)
                used = {*_all(operator, "Inputs"), *_all(operator, "Outputs")} - {-1}
                largest = max(largest, sum(sizes[each] for each in used))
        check_memory(self.path, "the tensors of one of its operations", largest)

    def _tensor_bytes(self, tensor: Any) -> int:
        itemsize = _ITEM_SIZES.get(self.type_of(tensor), 1)
        signature = _sizes(tensor)
        batch = self.fixed_batch
        sizes = signature[1:] if batch is not None and signature[:1] == (batch,) else signature
        name = plain_name((tensor.Name() or b"").decode("utf-8"))  # as strictly as LiteRT has it
        check_tensor(self.path, f"its tensor {name}", sizes, itemsize=itemsize)
        return int(np.prod([size or 1 for size in sizes], dtype=object)) * itemsize

    @cached_property
    def fixed_batch(self) -> int | None:
        """The first axis of the network's input, where that is not open."""
        graph = self._graphs[0]
        sizes = _sizes(graph.Tensors(graph.Inputs(0))) if graph.InputsLength() else ()
        return sizes[0] if sizes else None

    def _check_constant_size(self, graph: Any, operator: Any) -> None:
        """Raises ModelError where a constant asks for a large output, whatever is declared."""
        name = self._operation(operator)
        at = _SIZED.get(name)
        if at is None or operator.InputsLength() <= at:
            return
        tensor = graph.Tensors(operator.Inputs(at))
        data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        if not isinstance(data, np.ndarray) or not data.size:
            return
        values = [int(each) for each in data.view(np.int64 if tensor.Type() == 4 else np.int32)]
        if name == "TILE":
            values += [each or 1 for each in _sizes(graph.Tensors(operator.Inputs(0)))]
        check_tensor(self.path, f"its {name}", [max(0, each) for each in values])

    def _head(self, graph: Any, output: int) -> tuple[int, str] | None:
        """The tensor that goes into a last layer of classes, and the sign that it is one."""
        makers = _makers(graph)
        last = self._source(graph.Outputs(output), makers)
        softmax = self._made_by(last, makers) in ("SOFTMAX", "LOG_SOFTMAX")
        if softmax:
            last = self._source(makers[last].Inputs(0), makers)
        dense = self._made_by(last, makers) == "FULLY_CONNECTED"
        before = makers[last].Inputs(0) if dense else -1
        if before not in makers:
            if softmax:
                raise ModelError(class_refusal(self.path, "softmax"))
            return None
        named = [self._layers_of(graph, makers[tensor], tensor) for tensor in (last, before)]
        sign = "softmax" if softmax else class_sign(*named)
        return None if sign is None else (before, sign)

    def unnamed_dense(self, output: int) -> str | None:
        """The name of the dense layer that gives an output, where no name in it says embedding."""
        with _damaged(self.path):
            graph = self._graphs[0]
            makers = _makers(graph)
            last = self._source(graph.Outputs(output), makers)
            if self._made_by(last, makers) != "FULLY_CONNECTED":
                return None
            if is_embedding(self._layers_of(graph, makers[last], last)):
                return None
            return short_name(_text(graph.Tensors(last).Name()))

    def _made_by(self, tensor: int, makers: dict[int, Any]) -> str:
        """The operation that makes a tensor; "" where none does."""
        return self._operation(makers[tensor]) if tensor in makers else ""

    def _layers_of(self, graph: Any, operator: Any, tensor: int) -> list[str]:
        """Layers that a tensor, or the weights of what makes it, are named for: the tensor itself
        may bear the name of an output.
        """
        weights = [i for i in _all(operator, "Inputs")[1:] if i >= 0]
        names = [_text(graph.Tensors(i).Name()) for i in (tensor, *weights)]
        return [part for name in names for part in re.split(r"[;/]", name)]

    def _source(self, tensor: int, makers: dict[int, Any]) -> int:
        """The tensor that a tensor is a reshaped or otherwise written form of."""
        for _ in range(len(makers)):
            if self._made_by(tensor, makers) not in _HANDING:
                break
            tensor = makers[tensor].Inputs(0)
        return tensor

    def _ending_in(self, tensor: int) -> bytes:
        """The file with a tensor for its only output, and no operators after the tensor's own.

        Operators stand in the order in which they run. What is left behind them, some versions of
        LiteRT cannot plan for. Lists are shortened where they lie, so that all offsets stay.
        """
        graph = self._graphs[0]
        makers = enumerate(_all(graph, "Operators"))
        last = max(i for i, each in makers if tensor in _all(each, "Outputs"))
        changed = bytearray(self.data)
        table = graph._tab
        # Fields 2 and 3 of SubGraph; slots of a table are counted from 4 in steps of 2. A list
        # begins with its length.
        outputs, operators = (table.Vector(table.Offset(slot)) for slot in (8, 10))
        changed[outputs - 4 : outputs + 4] = struct.pack("<Ii", 1, tensor)
        changed[operators - 4 : operators] = struct.pack("<I", last + 1)
        return bytes(changed)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turns what reading tables at offsets that a damaged file names raises into ModelError."""
    try:
        yield
    except ModelError:
        raise
    except (struct.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise ModelError(
            f"{path}: a damaged .tflite file: its tables point to where there are none"
        ) from None


def short_name(name: str) -> str:
    """'embedding' of 'StatefulPartitionedCall_1:0' or 'model/embedding/BiasAdd' and the like."""
    parts = name.split(";")[0].split(":")[0].split("/")
    return "embedding" if "embedding" in parts else parts[-1]


def _makers(graph: Any) -> dict[int, Any]:
    """The operator that makes each tensor."""
    return {
        tensor: operator
        for operator in _all(graph, "Operators")
        for tensor in _all(operator, "Outputs")
    }


@cache
def _names(enumeration: str) -> dict[int, str]:
    """The names in one of the schema's enumerations, by their numbers."""
    from ai_edge_litert import schema_py_generated as schema

    found = vars(getattr(schema, enumeration)).items()
    return {number: name for name, number in found if name.isupper()}


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _all(table: Any, kind: str) -> list[Any]:
    """What a table of the schema lists."""
    return [getattr(table, kind)(i) for i in range(getattr(table, f"{kind}Length")())]


def _sizes(tensor: Any) -> tuple[int | None, ...]:
    """The shape with None for an axis that is open."""
    sizes = _all(tensor, "ShapeSignature") or _all(tensor, "Shape")
    return tuple(size if size >= 0 else None for size in sizes)
