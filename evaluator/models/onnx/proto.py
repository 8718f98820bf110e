"""ONNX models as messages of the onnx package: where their data lies, and what they may say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.models.foreign import check_extra, listed
from evaluator.models.onnx.ops import ALLOWED, REFUSED, domain_of, is_allowed
from evaluator.models.protos import (
    Message,
    check_written_out,
    is_repeated,
    messages,
    parse,
    read_bytes,
    rebuilt,
    unknown_bytes,
)


def check_onnx_installed(path: Path) -> None:
    """Raises ModelError, which names the extra, where the onnx package is not installed."""
    needs = f"{path}: .onnx files are checked by the onnx package before they run"
    check_extra("onnx", needs, "onnx")


def read_model(path: Path) -> tuple[Message, bytes]:
    """The onnx.ModelProto of a file, and its bytes. Raises ModelError, OSError."""
    data = read_bytes(path, "not loaded: {:,} bytes; an .onnx file has 2 GB at most")
    return parsed(path, data), data


def parsed(path: Path, data: bytes) -> Message:
    """The onnx.ModelProto of a file's bytes, without the files beside it. Raises ModelError."""
    check_onnx_installed(path)
    import onnx

    try:
        return parse(onnx.ModelProto, data)
    except ValueError as error:
        raise ModelError(f"{path}: a damaged .onnx file: {cause_of(error)[:200]}") from None


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


# PyTorch's exporter writes some hundreds.
MOST_FUNCTIONS = 2_000
# Names of nodes, tensors, attributes and axes: a network of 5,000 nodes has 60,000.
MOST_NAMES = 3_000_000


def written_once(path: Path, model: Message, data: bytes) -> bytes:
    """The bytes of a model as ONNX writes it, if that is all that ``data`` says, and says once.

    A field that ONNX has not, or that stands twice where it can be said once, is read by one
    parser and passed over by the next: raises ModelError. ``model`` is what was parsed of ``data``.
    """
    import onnx

    unknown = unknown_bytes(model)
    written: bytes = model.SerializeToString()
    size = len(written)
    if unknown:
        raise ModelError(
            f"{path}: not loaded: {unknown:,} bytes are fields that ONNX {onnx.__version__} does "
            "not have; if a newer ONNX wrote them, update the onnx package"
        )
    # Lists of numbers may be written in two ways; the rest in one.
    if len(data) != size and len(data) not in _other_sizes(data):
        raise ModelError(
            f"{path}: not loaded: {len(data):,} bytes say what takes {size:,}: a field stands "
            "twice, or is written as no ONNX tool does; save it again with the onnx package"
        )
    for count, (kind, name) in enumerate(_names(model)):
        if count > MOST_NAMES:
            raise ModelError(f"{path}: not loaded: more than {MOST_NAMES:,} names; not a network's")
        if not isinstance(name, str):
            raise ModelError(f"{path}: a damaged .onnx file: the {kind} {name!r:.60} is no text")
    return written


def _other_sizes(data: bytes) -> Iterator[int]:
    """How long a message would be with its lists of numbers in one piece each, and in many."""
    for packed in (True, False):
        message = _message_class(packed)()
        message.ParseFromString(data)
        yield message.ByteSize()


@lru_cache(maxsize=2)
def _message_class(packed: bool) -> Any:
    """onnx.ModelProto with all lists of numbers packed, as proto3 has it, or none."""
    import onnx

    unpackable = {9, 10, 11, 12}  # string, group, message, bytes

    def pack(message: Message) -> None:
        for field in message.field:
            if field.label == field.LABEL_REPEATED and field.type not in unpackable:
                field.options.packed = packed

    return rebuilt(onnx.ModelProto, pack)


def _names(message: Message) -> Iterator[tuple[str, object]]:
    """The texts that a message names things with, at any depth."""
    for inner in messages(message):
        for field in _text_fields(inner.DESCRIPTOR):
            value = getattr(inner, field.name)
            for each in value if is_repeated(field) else (value,):
                yield field.name, each


@lru_cache(maxsize=256)
def _text_fields(descriptor: Message) -> tuple[Message, ...]:
    """The fields of texts, but for comments."""
    return tuple(
        field
        for field in descriptor.fields
        if field.type == field.TYPE_STRING and field.name != "doc_string"
    )


def check_operators(path: Path, model: Message) -> None:
    """Raises ModelError, which names them, for operators that do more than compute.

    Looks into branches and loops, functions, and what a training would run.
    """
    own = {_key(each, each.name) for each in model.functions}
    for domain, name in sorted(own):
        if (domain in ALLOWED or domain in REFUSED) and not is_allowed(domain, name):
            raise ModelError(
                f"{path}: not loaded: it defines {_called(domain, name)}, which is ONNX's to define"
            )
    used = _calls(model)
    strange = sorted(each for each in used if each not in own and not is_allowed(*each))
    if strange:
        raise ModelError(
            f"{path}: not loaded: it uses {listed([_called(*each) for each in strange])}, which is "
            "not among the operators known to compute and do nothing else; export the network "
            "with ONNX's own operators"
        )
    _check_functions(path, model)


def _called(domain: str, name: str) -> str:
    return cause_of(f"{domain}.{name}" if domain else name)[:80]


def _key(message: Message, name: str) -> tuple[str, str]:
    return domain_of(message.domain), name


def _calls(message: Message) -> Counter[tuple[str, str]]:
    """How often each operator or function stands in a message, at any depth."""
    return Counter(_key(node, node.op_type) for node in messages(message, "NodeProto"))


def _check_functions(path: Path, model: Message) -> None:
    """Raises ModelError for functions that call themselves, or are too many when written out."""
    if len(model.functions) > MOST_FUNCTIONS:
        raise ModelError(
            f"{path}: not loaded: it defines {len(model.functions):,} functions; the limit is "
            f"{MOST_FUNCTIONS:,}"
        )
    calls = {_key(each, each.name): _calls(each) for each in model.functions}
    if len(calls) < len(model.functions):
        raise ModelError(f"{path}: not loaded: it defines a function twice")
    called = sum((_calls(graph) for graph in (model.graph, *model.training_info)), Counter())
    check_written_out(path, called, calls, lambda key: _called(*key))
