"""The weights of an .onnx model: held against the bytes that are there, and read from beside it."""

from __future__ import annotations

import math
import os
from pathlib import Path

from evaluator.errors import ModelError, cause_of
from evaluator.files import open_regular
from evaluator.limits import LARGEST_TENSOR, check_memory
from evaluator.models.identity import data_file
from evaluator.models.onnx.proto import external_entries, is_external
from evaluator.models.protos import Message, messages

# Bits of one number, by onnx.TensorProto.DataType: from float and uint8 to the types of 4 and 2
# bits. Texts (8) are as long as they are.
_BITS = {
    **{1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64},
    **{14: 64, 15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8},
    **{25: 2, 26: 2},
}
_TEXT = 8

_LISTS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")

# How often the weights lie in memory: as parsed, as given to the runtime, and as it keeps them.
_COPIES = 3

# What one message can hold, with room for the graph.
_MOST_BYTES = 2**31 - 2**24


def bytes_of(kind: int, count: int) -> int:
    """Bytes of so many numbers of a type of onnx.TensorProto; of a type unknown here, 4 each."""
    return -(-count * _BITS.get(kind, 32) // 8)


def check_weights(path: Path, model: Message) -> None:
    """Raises ModelError where a tensor of a model declares more than its bytes hold.

    Looks at the files beside the model for what lies there: they must be there, and long enough.
    """
    total = 0
    for tensor in messages(model, "TensorProto"):
        needed = _declared(path, tensor)
        total += needed
        if is_external(tensor):
            _check_range(path, tensor, needed)
        elif tensor.HasField("raw_data") and needed > (held := len(tensor.raw_data)):
            _refuse(path, tensor, f"{needed:,} bytes", f"{held:,} bytes")
        elif not tensor.HasField("raw_data"):
            # Its numbers one by one; of complex ones, their parts.
            held = max(len(getattr(tensor, name)) for name in _LISTS)
            count = _count(path, tensor, tensor.dims)
            # Of types below a byte, several numbers are written as one.
            if count > held * max(1, 8 // _BITS.get(tensor.data_type, 8)):
                _refuse(path, tensor, f"{count:,} numbers", f"{held:,}")
    for sparse in messages(model, "SparseTensorProto"):
        # Filled up with zeros when it is loaded.
        spread = bytes_of(sparse.values.data_type, _count(path, sparse.values, sparse.dims))
        if spread > LARGEST_TENSOR:
            raise ModelError(
                f"{path}: not loaded: its sparse {_name(sparse.values)} takes {spread:,} bytes "
                f"when filled up with zeros; the limit is {LARGEST_TENSOR:,}"
            )
        total += spread
    check_memory(path, "its weights", _COPIES * total)


def _declared(path: Path, tensor: Message) -> int:
    kind = tensor.data_type
    if kind not in _BITS and kind != _TEXT:
        raise ModelError(f"{path}: not loaded: {_name(tensor)} is of an unknown type, {kind}")
    count = _count(path, tensor, tensor.dims)
    return 0 if kind == _TEXT else bytes_of(kind, count)


def _count(path: Path, tensor: Message, dims: Message) -> int:
    """How many numbers a shape has; no more than have digits for a line."""
    if len(dims) > 64 or any(size < 0 for size in dims):
        raise ModelError(
            f"{path}: not loaded: {_name(tensor)} has the shape {str(list(dims))[:60]}"
        )
    return min(math.prod(dims), 2**80)


def _name(tensor: Message) -> str:
    return f"tensor {cause_of(tensor.name)[:80]!r}"


def _refuse(path: Path, tensor: Message, declared: str, held: str) -> None:
    raise ModelError(
        f"{path}: not loaded: {_name(tensor)} declares {declared} and holds {held}; the file is "
        "damaged"
    )


def _check_range(path: Path, tensor: Message, needed: int) -> tuple[Path, int]:
    """The file that holds a tensor's bytes, and where in it they begin. Raises ModelError."""
    entries = external_entries(path, tensor)
    member = data_file(path, entries["location"])
    size = member.stat().st_size
    offset = _number(path, tensor, entries.get("offset", "0"))
    length = _number(path, tensor, entries.get("length", str(needed)))
    if length != needed or offset + length > size or tensor.data_type == _TEXT:
        raise ModelError(
            f"{path}: not loaded: {_name(tensor)} declares {needed:,} bytes, and has {length:,} at "
            f"{offset:,} of {entries['location'][:80]!r}, which has {size:,}; is it another model's"
            " data file, or cut short?"
        )
    return member, offset


def _number(path: Path, tensor: Message, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"{path}: not loaded: {_name(tensor)} lies at {text[:40]!r} of its file")
    return int(text)


def read_data(path: Path, model: Message) -> bool:
    """Puts the weights that lie beside a model into it, so that it is whole; whether there are any.

    Raises ModelError, as ``check_weights`` does, and for more than one message can hold; OSError.
    """
    outside = [tensor for tensor in messages(model, "TensorProto") if is_external(tensor)]
    total = model.ByteSize() if outside else 0
    for tensor in outside:
        needed = _declared(path, tensor)
        total += needed
        if total > _MOST_BYTES:
            raise ModelError(
                f"{path}: not loaded: with the weights beside it, more than {_MOST_BYTES:,} bytes; "
                "the limit is what one .onnx file could hold"
            )
        member, offset = _check_range(path, tensor, needed)
        with os.fdopen(open_regular(member), "rb") as file:
            file.seek(offset)
            values = file.read(needed)
        if len(values) != needed:
            raise ModelError(
                f"{path}: its data file {member.name!r} was cut short while it is read"
            )
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        tensor.raw_data = values
    return bool(outside)
