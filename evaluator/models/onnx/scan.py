"""What an .onnx model says, held against what it may say, before anything runs it."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError, cause_of
from evaluator.models.onnx.ops import ALLOWED, REFUSED, domain_of, is_allowed
from evaluator.models.onnx.proto import Message, is_repeated, messages

# Nodes of a model with its functions written out: the largest face networks have some thousands.
MOST_NODES = 1_000_000
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

    model.DiscardUnknownFields()
    written: bytes = model.SerializeToString()
    size = len(written)
    unknown = 0 if len(data) == size else onnx.ModelProto.FromString(data).ByteSize() - size
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

    pools = importlib.import_module("google.protobuf.descriptor_pool")
    files = importlib.import_module("google.protobuf.descriptor_pb2")
    factory = importlib.import_module("google.protobuf.message_factory")
    described = files.FileDescriptorProto()
    onnx.ModelProto.DESCRIPTOR.file.CopyToProto(described)
    unpackable = {9, 10, 11, 12}  # string, group, message, bytes
    waiting = list(described.message_type)
    while waiting:
        message = waiting.pop()
        waiting += message.nested_type
        for field in message.field:
            if field.label == field.LABEL_REPEATED and field.type not in unpackable:
                field.options.packed = packed
    pool = pools.DescriptorPool()
    pool.Add(described)
    found = pool.FindMessageTypeByName(onnx.ModelProto.DESCRIPTOR.full_name)
    if hasattr(factory, "GetMessageClass"):
        return factory.GetMessageClass(found)
    return factory.MessageFactory(pool).GetPrototype(found)  # protobuf before 4.22


def _names(message: Message) -> Iterator[tuple[str, object]]:
    """The texts that a message names things with, at any depth."""
    texts, inner = _text_fields(message.DESCRIPTOR)
    for field in texts:
        value = getattr(message, field.name)
        for each in value if is_repeated(field) else (value,):
            yield field.name, each
    for field in inner:
        value = getattr(message, field.name)
        if is_repeated(field):
            for each in value:
                yield from _names(each)
        elif message.HasField(field.name):
            yield from _names(value)


@lru_cache(maxsize=256)
def _text_fields(descriptor: Message) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The fields of texts, but for comments, and those of messages."""
    texts = [
        field
        for field in descriptor.fields
        if field.type == field.TYPE_STRING and field.name != "doc_string"
    ]
    return tuple(texts), tuple(each for each in descriptor.fields if each.message_type is not None)


def check_operators(path: Path, model: Message) -> None:
    """Raises ModelError, which names them, for operators that do more than compute.

    Looks into branches and loops, functions, and what a training would run.
    """
    own = {(domain_of(each.domain), each.name) for each in model.functions}
    for domain, name in sorted(own):
        if (domain in ALLOWED or domain in REFUSED) and not is_allowed(domain, name):
            raise ModelError(
                f"{path}: not loaded: it defines {_called(domain, name)}, which is ONNX's to define"
            )
    used = Counter((domain_of(node.domain), node.op_type) for node in messages(model, "NodeProto"))
    strange = sorted(each for each in used if each not in own and not is_allowed(*each))
    if strange:
        shown = ", ".join(_called(*each) for each in strange[:5])
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise ModelError(
            f"{path}: not loaded: it uses {shown}{more}, which is not among the operators known "
            "to compute and do nothing else; export the network with ONNX's own operators"
        )
    _check_functions(path, model)


def _called(domain: str, name: str) -> str:
    return cause_of(f"{domain}.{name}" if domain else name)[:80]


def _check_functions(path: Path, model: Message) -> None:
    """Raises ModelError for functions that call themselves, or are too many when written out."""
    if len(model.functions) > MOST_FUNCTIONS:
        raise ModelError(
            f"{path}: not loaded: it defines {len(model.functions):,} functions; the limit is "
            f"{MOST_FUNCTIONS:,}"
        )
    bodies = {(domain_of(each.domain), each.name): each for each in model.functions}
    if len(bodies) < len(model.functions):
        raise ModelError(f"{path}: not loaded: it defines a function twice")
    calls = {
        key: Counter((domain_of(node.domain), node.op_type) for node in messages(body, "NodeProto"))
        for key, body in bodies.items()
    }
    sizes: dict[tuple[str, str], int] = {}
    # Each round knows the size of at least one more function, unless some call themselves.
    for _ in bodies:
        for key, called in calls.items():
            if key not in sizes and all(each in sizes or each not in bodies for each in called):
                written = sum(sizes.get(each, 1) * count for each, count in called.items())
                sizes[key] = min(written, MOST_NODES + 1)
    if len(sizes) < len(bodies):
        name = _called(*min(set(bodies) - set(sizes)))
        raise ModelError(f"{path}: not loaded: its function {name} calls itself")
    total = sum(
        sizes.get((domain_of(node.domain), node.op_type), 1)
        for graph in (model.graph, *model.training_info)
        for node in messages(graph, "NodeProto")
    )
    if total > MOST_NODES:
        raise ModelError(
            f"{path}: not loaded: its functions written out are more than {MOST_NODES:,} nodes"
        )
