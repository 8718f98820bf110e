"""Changes of protocol buffers: of messages by the fields they may have, of bytes by wire type."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# google.protobuf.descriptor.FieldDescriptor
_DOUBLE, _FLOAT, _INT64, _UINT64, _INT32, _BOOL, _STRING, _MESSAGE = 1, 2, 3, 4, 5, 8, 9, 11
_BYTES, _UINT32, _ENUM = 12, 13, 14
_REPEATED = 3

_NUMBERS = (0, 1, 2, 3, -1, 7, 16, 127, 128, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
_FLOATS = (0.0, 1.0, -1.0, 1e30, float("inf"), float("nan"))


def is_repeated(field: Any) -> bool:
    """Whether a field is a list or a map."""
    known = getattr(field, "is_repeated", None)
    return bool(field.label == _REPEATED if known is None else known)


def is_map(field: Any) -> bool:
    """Whether a field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def messages(message: Any, most: int = 5000) -> Iterator[Any]:
    """A message and those in it, the outermost first."""
    waiting = [message]
    while waiting and most:
        most -= 1
        each = waiting.pop()
        yield each
        for field, value in each.ListFields():
            if field.message_type is None:
                continue
            if is_map(field):
                inner = field.message_type.fields_by_name["value"].message_type
                waiting += list(value.values()) if inner is not None else []
            else:
                waiting += list(value) if is_repeated(field) else [value]


def change(draw: random.Random, message: Any, texts: Sequence[str]) -> None:
    """One change of a field of a message that lies somewhere in another, in place."""
    known = list(messages(message))
    each = draw.choice(known)
    there = [field for field, _ in each.ListFields()]
    fields = there if there and draw.random() < 0.6 else list(each.DESCRIPTOR.fields)
    if not fields:
        return
    field = draw.choice(fields)
    if is_map(field):
        _change_map(draw, each, field, texts)
    elif is_repeated(field):
        _change_list(draw, each, field, texts, known)
    elif field.type == _MESSAGE:
        _change_message(draw, each, field, known)
    elif draw.random() < 0.15:
        each.ClearField(field.name)
    else:
        _set(each, field.name, value_of(draw, field, texts))


def value_of(draw: random.Random, field: Any, texts: Sequence[str]) -> Any:
    """A value of a scalar field's type."""
    kind = field.type
    if kind == _STRING:
        return draw.choice(texts)
    if kind == _BYTES:
        return draw.choice((draw.choice(texts).encode(), draw.randbytes(draw.randint(0, 12))))
    if kind in (_FLOAT, _DOUBLE):
        return draw.choice(_FLOATS)
    if kind == _BOOL:
        return draw.random() < 0.5
    if kind == _ENUM:
        return draw.choice(field.enum_type.values).number
    return draw.choice(_NUMBERS)


def _set(message: Any, name: str, value: Any) -> None:
    try:
        setattr(message, name, value)
    except ValueError:  # a number that the field has no room for
        setattr(message, name, 1)


def _change_list(
    draw: random.Random, message: Any, field: Any, texts: Sequence[str], known: list[Any]
) -> None:
    values = getattr(message, field.name)
    how = draw.randrange(4)
    if how == 0 and len(values):
        del values[draw.randrange(len(values))]
    elif how == 1 and len(values) > 1:
        held = [copied(each) for each in values]
        draw.shuffle(held)
        del values[:]
        values.extend(held)
    elif field.type == _MESSAGE:
        same = [each for each in known if each.DESCRIPTOR.full_name == field.message_type.full_name]
        # Copied first: the message that gets it may lie in it.
        new = copied(draw.choice(same)) if same else None
        values.add() if new is None else values.append(new)
    elif how == 2 and len(values):
        try:
            values[draw.randrange(len(values))] = value_of(draw, field, texts)
        except ValueError:
            values[0] = 1
    else:
        try:
            values.append(value_of(draw, field, texts))
        except ValueError:
            values.append(1)


def copied(value: Any) -> Any:
    """A message again, or a value."""
    if not hasattr(value, "CopyFrom"):
        return value
    found = type(value)()
    found.CopyFrom(value)
    return found


def _change_message(draw: random.Random, message: Any, field: Any, known: list[Any]) -> None:
    if draw.random() < 0.2:
        message.ClearField(field.name)
        return
    kind = field.message_type.full_name
    same = [each for each in known if each.DESCRIPTOR.full_name == kind]
    value = getattr(message, field.name)
    if same:
        value.CopyFrom(copied(draw.choice(same)))
    else:
        value.SetInParent()


def _change_map(draw: random.Random, message: Any, field: Any, texts: Sequence[str]) -> None:
    values = getattr(message, field.name)
    keys = list(values)
    if keys and draw.random() < 0.3:
        del values[draw.choice(keys)]
        return
    wanted = field.message_type.fields_by_name["key"]
    key = value_of(draw, wanted, texts)
    inner = field.message_type.fields_by_name["value"]
    try:
        if inner.message_type is None:
            values[key] = value_of(draw, inner, texts)
        elif keys:
            values[key].CopyFrom(values[draw.choice(keys)])
        else:
            values[key].SetInParent()
    except ValueError:  # a key that the map has no room for
        return


# ---- Bytes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A field as it is written: its number, wire type, and what follows its tag and length."""

    number: int
    wire: int
    payload: bytes

    def written(self) -> bytes:
        """The bytes of the field."""
        tag = varint(self.number << 3 | self.wire)
        return tag + (varint(len(self.payload)) if self.wire == 2 else b"") + self.payload


def varint(value: int, *, wide: int = 0) -> bytes:
    """A number as protocol buffers write it, with so many bytes more than it needs."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    for _ in range(wide):
        found[-1] |= 128
        found.append(0)
    return bytes(found)


def entries(data: bytes) -> list[Entry]:
    """The fields of a message. Raises ValueError or IndexError for what is none."""
    found, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire, start = tag & 7, at
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 1:
            at += 8
        elif wire == 2:
            size, start = _varint(data, at)
            at = start + size
        elif wire == 5:
            at += 4
        else:
            raise ValueError("a group")
        if at > len(data):
            raise ValueError("cut short")
        found.append(Entry(tag >> 3, wire, data[start:at]))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def rewritten(draw: random.Random, data: bytes, descriptor: Any, texts: Sequence[str]) -> bytes:
    """A message's bytes with a change of how one field is written, at any depth."""
    known = entries(data)
    fields = descriptor.fields_by_number
    inner = [
        i
        for i, each in enumerate(known)
        if each.wire == 2 and each.number in fields and fields[each.number].message_type is not None
    ]
    if inner and draw.random() < 0.75:
        at = draw.choice(inner)
        below = fields[known[at].number].message_type
        known[at] = Entry(known[at].number, 2, rewritten(draw, known[at].payload, below, texts))
        return _joined(known)
    return draw.choice(_WRITINGS)(draw, known, descriptor, texts)


def _joined(known: Sequence[Entry]) -> bytes:
    return b"".join(each.written() for each in known)


def _any_payload(draw: random.Random, wire: int, texts: Sequence[str]) -> bytes:
    if wire == 0:
        return varint(draw.choice((0, 1, 2**31, 2**63)), wide=draw.choice((0, 0, 1)))
    if wire == 2:
        return draw.choice((draw.choice(texts).encode(), b"", draw.randbytes(4)))
    return draw.randbytes(8 if wire == 1 else 4)


def _unknown(
    draw: random.Random, known: list[Entry], descriptor: Any, texts: Sequence[str]
) -> bytes:
    """A field that the message has not."""
    free = [n for n in (*range(1, 60), 1000, 2**29 - 1) if n not in descriptor.fields_by_number]
    wire = draw.choice((0, 1, 2, 5))
    entry = Entry(draw.choice(free), wire, _any_payload(draw, wire, texts))
    known.insert(draw.randint(0, len(known)), entry)
    return _joined(known)


def _other_wire(
    draw: random.Random, known: list[Entry], descriptor: Any, texts: Sequence[str]
) -> bytes:
    """A field a second time, as of another type."""
    number = (
        draw.choice(known).number
        if known
        else draw.choice(list(descriptor.fields_by_number) or [1])
    )
    there = {each.wire for each in known if each.number == number}
    wire = draw.choice([each for each in (0, 1, 2, 5) if each not in there])
    payload = _any_payload(draw, wire, texts)
    known.insert(draw.randint(0, len(known)), Entry(number, wire, payload))
    return _joined(known)


def _twice(draw: random.Random, known: list[Entry], _: Any, texts: Sequence[str]) -> bytes:
    """A field a second time, with another value or the same."""
    if not known:
        return b""
    at = draw.randrange(len(known))
    each = known[at]
    value = each.payload
    if draw.random() < 0.7:
        value = _any_payload(draw, each.wire, texts)
    known.insert(draw.choice((0, at, at + 1, len(known))), Entry(each.number, each.wire, value))
    return _joined(known)


def _instead(draw: random.Random, known: list[Entry], _: Any, texts: Sequence[str]) -> bytes:
    """Another value of the same type."""
    if not known:
        return b""
    at = draw.randrange(len(known))
    each = known[at]
    known[at] = Entry(each.number, each.wire, _any_payload(draw, each.wire, texts))
    return _joined(known)


def _wide(draw: random.Random, known: list[Entry], _: Any, __: Sequence[str]) -> bytes:
    """A tag or a length with more bytes than it needs."""
    at = draw.randrange(len(known)) if known else -1
    found = b""
    for i, each in enumerate(known):
        tag = varint(each.number << 3 | each.wire, wide=int(i == at and draw.random() < 0.5))
        length = varint(len(each.payload), wide=int(i == at)) if each.wire == 2 else b""
        found += tag + length + each.payload
    return found


def _group(draw: random.Random, known: list[Entry], _: Any, texts: Sequence[str]) -> bytes:
    """Fields in a group, which proto3 has not."""
    number = draw.choice(known).number if known else 1
    inner = Entry(1, 2, draw.choice(texts).encode()).written()
    return _joined(known) + varint(number << 3 | 3) + inner + varint(number << 3 | 4)


def _shuffled(draw: random.Random, known: list[Entry], _: Any, __: Sequence[str]) -> bytes:
    """The fields in another order."""
    draw.shuffle(known)
    return _joined(known)


def _packed(draw: random.Random, known: list[Entry], _: Any, __: Sequence[str]) -> bytes:
    """Numbers in one piece instead of many, or in many instead of one."""
    found = []
    for each in known:
        if each.wire == 0 and draw.random() < 0.5:
            found.append(Entry(each.number, 2, each.payload))
        else:
            found.append(each)
    return _joined(found)


def _cut(draw: random.Random, known: list[Entry], _: Any, __: Sequence[str]) -> bytes:
    data = _joined(known)
    return data[: draw.randint(0, len(data))]


_WRITINGS: tuple[Callable[[random.Random, list[Entry], Any, Sequence[str]], bytes], ...] = (
    _unknown,
    _other_wire,
    _other_wire,
    _twice,
    _twice,
    _instead,
    _wide,
    _group,
    _shuffled,
    _packed,
    _cut,
)
