"""Protocol-buffer messages read field by field, without their schema's library."""

from __future__ import annotations

from collections.abc import Iterator

# Value of a field: a whole number, or the bytes of a string, message or packed list.
Value = int | memoryview

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """Bytes that are no protocol-buffer message."""


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """(field number, value) in file order. Raises WireError where the bytes end early."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        value: Value
        if number == 0:
            raise WireError("field number 0")
        if kind == _VARINT:
            value, at = _varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            width = 8 if kind == _FIXED64 else 4
            value, at = view[at : at + width], at + width
        elif kind == _BYTES:
            length, at = _varint(view, at)
            value, at = view[at : at + length], at + length
        else:
            raise WireError(f"wire type {kind}")
        if at > len(view):
            raise WireError(f"field {number} ends {at - len(view)} bytes after the message")
        yield number, value


def messages(data: bytes | memoryview, *path: int) -> Iterator[memoryview]:
    """Every message or string that lies at a path of field numbers."""
    for number, value in fields(data):
        if number == path[0] and isinstance(value, memoryview):
            if len(path) == 1:
                yield value
            else:
                yield from messages(value, *path[1:])


def text(data: bytes | memoryview, *path: int) -> str:
    """The last string at a path, or an empty one, as protocol buffers have it."""
    found = ""
    for value in messages(data, *path):
        found = bytes(value).decode("utf-8", "replace")
    return found


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise WireError("the message ends within a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError("a number of more than ten bytes")
