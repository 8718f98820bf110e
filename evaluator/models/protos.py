"""Protocol buffers, whichever package describes them: parsed, walked whole, and described anew;
and the functions of graphs that they are.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, TypeVar

from evaluator.errors import ModelError
from evaluator.files import open_regular
from evaluator.limits import check_memory

#: A message, or a descriptor of one; the packages have no types for mypy.
Message = Any

#: Bytes beyond which protocol buffers are not written nor read.
LARGEST = 2**31 - 1


def read_bytes(path: Path, too_large: str) -> bytes:
    """The bytes of a file. Raises ModelError for more than memory or protocol buffers take, in
    whose case it says ``too_large`` with the number; OSError.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise ModelError(f"{path}: {too_large.format(size)}")
        # As bytes, as parsed, as bytes again, and as a runtime has them.
        check_memory(path, "its bytes, read and parsed,", 4 * size)
        return file.read(size)


def unknown_bytes(message: Message) -> int:
    """Bytes of the fields that a message's class does not know, at any depth; takes them out."""
    whole = message.ByteSize()
    message.DiscardUnknownFields()
    return int(whole - message.ByteSize())


def parse(message_class: Any, data: bytes) -> Message:
    """The message that bytes are. Raises ValueError, with the parser's words, for others."""
    # Not by an import statement: without stubs that mypy would want.
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        return message_class.FromString(data)
    except (decode_error, RecursionError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def messages(message: Message, kind: str | None = None) -> Iterator[Message]:
    """Every message of a kind ("TensorProto") at any depth of another, itself among them; all
    messages where there is no kind.

    Goes by the package's own description of the messages, so that a field of a later version is not
    passed over.
    """
    if kind in (None, message.DESCRIPTOR.name):
        yield message
    for name, is_list, is_map in _leading_to(message.DESCRIPTOR, kind):
        if is_list:
            value = getattr(message, name)
            for each in value.values() if is_map else value:
                yield from messages(each, kind)
        elif message.HasField(name):
            yield from messages(getattr(message, name), kind)


@lru_cache(maxsize=1024)
def _leading_to(descriptor: Message, kind: str | None) -> tuple[tuple[str, bool, bool], ...]:
    """The fields of a message in which one of the kind can lie: name, whether a list, and a map."""
    return tuple(
        (field.name, is_repeated(field), field.message_type.GetOptions().map_entry)
        for field in descriptor.fields
        if field.message_type is not None and _reaches(field.message_type, kind, set())
    )


def _reaches(descriptor: Message, kind: str | None, seen: set[str]) -> bool:
    if kind in (None, descriptor.name):
        # The entries of a map are no messages, if their values are not.
        value = descriptor.fields_by_name.get("value")
        return not descriptor.GetOptions().map_entry or value.message_type is not None
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    inner = [field.message_type for field in descriptor.fields if field.message_type is not None]
    return any(_reaches(each, kind, seen) for each in inner)


def is_repeated(field: Message) -> bool:
    """Whether a field is a list."""
    known = getattr(field, "is_repeated", None)  # newer than the oldest protobuf allowed
    return bool(field.label == field.LABEL_REPEATED if known is None else known)


def rebuilt(message_class: Any, change: Callable[[Message], None]) -> Any:
    """The class once more, after ``change`` has had the description of each message in its files
    and in those that they need.
    """
    pools, files, factory = (
        importlib.import_module(f"google.protobuf.{name}")
        for name in ("descriptor_pool", "descriptor_pb2", "message_factory")
    )
    pool, added = pools.DescriptorPool(), set()

    def add(file: Message) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for needed in file.dependencies:
            add(needed)
        described = files.FileDescriptorProto()
        file.CopyToProto(described)
        waiting = list(described.message_type)
        while waiting:
            message = waiting.pop()
            waiting += message.nested_type
            change(message)
        pool.AddSerializedFile(described.SerializeToString())

    add(message_class.DESCRIPTOR.file)
    found = pool.FindMessageTypeByName(message_class.DESCRIPTOR.full_name)
    if hasattr(factory, "GetMessageClass"):
        return factory.GetMessageClass(found)
    return factory.MessageFactory(pool).GetPrototype(found)  # protobuf before 4.22


Name = TypeVar("Name")

# Nodes of a network with its functions written out; the largest face networks have some thousands.
_MOST_NODES = 1_000_000


def check_written_out(
    path: Path,
    called: Counter[Name],
    functions: Mapping[Name, Counter[Name]],
    shown: Callable[[Name], str],
) -> list[Name]:
    """The functions, each after those that it calls. ``called`` is how often a graph calls each
    operation or function, ``functions`` the same of each function.

    Raises ModelError for a function that calls itself, by its ``shown`` name, or too many nodes.
    """
    try:
        order = list(
            TopologicalSorter(
                {name: calls.keys() & functions.keys() for name, calls in functions.items()}
            ).static_order()
        )
    except CycleError as error:
        name = shown(error.args[1][0])
        raise ModelError(f"{path}: not loaded: its function {name} calls itself") from None
    sizes: dict[Name, int] = {}

    def nodes(calls: Counter[Name]) -> int:
        return sum(count * (1 + sizes.get(each, 0)) for each, count in calls.items())

    for each in order:
        sizes[each] = min(nodes(functions[each]), _MOST_NODES + 1)
    if nodes(called) > _MOST_NODES:
        raise ModelError(
            f"{path}: not loaded: its functions written out are more than {_MOST_NODES:,} nodes"
        )
    return order
