"""ONNX models as messages: parsed by the onnx package, and looked through whole."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.files import open_regular
from evaluator.limits import check_memory

# What the package itself parses at most.
_LARGEST = 2**31 - 1

#: Messages of onnx, or descriptors of them; the package has no types for mypy.
Message = Any


def check_onnx_installed(path: Path) -> None:
    """Raises ModelError, which names the extra, where the onnx package is not installed."""
    if importlib.util.find_spec("onnx") is None:
        raise ModelError(
            f"{path}: .onnx files are checked by the onnx package before they run; install the "
            "extra: pip install 'face-zoo[onnx]'"
        )


def read_bytes(path: Path) -> bytes:
    """The bytes of an .onnx file. Raises ModelError for more than memory or ONNX takes; OSError."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST:
            raise ModelError(f"{path}: not loaded: {size:,} bytes; an .onnx file has 2 GB at most")
        # As bytes, as parsed, as bytes again, and as a runtime has them.
        check_memory(path, "its bytes, read and checked,", 4 * size)
        return file.read(size)


def parsed(path: Path, data: bytes) -> Message:
    """The onnx.ModelProto of a file's bytes, without the files beside it. Raises ModelError."""
    check_onnx_installed(path)
    import onnx

    model = onnx.ModelProto()
    # Not by an import statement: without stubs that mypy would want.
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        model.ParseFromString(data)
    except (decode_error, RecursionError, RuntimeError) as error:
        raise ModelError(f"{path}: a damaged .onnx file: {cause_of(error)[:200]}") from None
    return model


def messages(message: Message, kind: str) -> Iterator[Message]:
    """Every message of a kind ("TensorProto") at any depth of another, itself among them.

    Goes by the package's own description of the messages, so a field of a later version of ONNX
    is not passed over.
    """
    if message.DESCRIPTOR.name == kind:
        yield message
    for field in _leading_to(message.DESCRIPTOR, kind):
        value = getattr(message, field.name)
        if is_repeated(field):
            for each in value:
                yield from messages(each, kind)
        elif message.HasField(field.name):
            yield from messages(value, kind)


@lru_cache(maxsize=256)
def _leading_to(descriptor: Message, kind: str) -> tuple[Message, ...]:
    """The fields of a message in which one of the kind can lie."""
    return tuple(
        field
        for field in descriptor.fields
        if field.message_type is not None and _reaches(field.message_type, kind, set())
    )


def _reaches(descriptor: Message, kind: str, seen: set[str]) -> bool:
    if descriptor.name == kind:
        return True
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return any(
        _reaches(field.message_type, kind, seen)
        for field in descriptor.fields
        if field.message_type is not None
    )


def is_repeated(field: Message) -> bool:
    known = getattr(field, "is_repeated", None)  # newer than the oldest protobuf allowed
    return bool(field.label == field.LABEL_REPEATED if known is None else known)


def is_external(tensor: Message) -> bool:
    """Whether a tensor's values lie in a file beside the model."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def external_entries(path: Path, tensor: Message) -> dict[str, str]:
    """Where an external tensor's values lie: location, offset, length, each once.

    Raises ModelError.
    """
    name = cause_of(str(tensor.name))
    found: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in found or not isinstance(entry.value, str):
            raise ModelError(f"{path}: not loaded: tensor {name!r} says twice where its values are")
        found[str(entry.key)] = entry.value
    if not found.get("location"):
        raise ModelError(f"{path}: not loaded: tensor {name!r} does not say which file holds it")
    return found


def data_locations(path: Path, model: Message) -> Iterator[str]:
    """The names of the files beside a model that its tensors refer to. Raises ModelError."""
    for tensor in messages(model, "TensorProto"):
        if is_external(tensor):
            yield external_entries(path, tensor)["location"]
