"""The plain values inside a pickle, read without running anything that is in it.

A pickle is a program for a small stack machine, and Python's own machine lets that program import
and call. This one knows only the instructions that build data. The names in a file that stand for
constructors get stand-ins from a `Dialect`, of a bin `pickle_values`, so neither NumPy nor any
imported object ever sees what the file holds, and every other name is refused before anything is
looked up.

Why not `pickle.Unpickler` with its own `find_class`: it obeys a twelve-byte file that asks for
2**31 memo slots (LONG_BINPUT) by filling gigabytes, and it lets BUILD set attributes on whatever
`find_class` returned. Here no instruction takes more memory than a small multiple of its own bytes.
"""

from __future__ import annotations

import codecs
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evaluator.bins.pickle_values import (
    EncodedTexts,
    Global,
    MalformedError,
    PickleError,
    fill_in,
    find_global,
    malformed,
    shown,
)

HIGHEST_PROTOCOL = 5  # Python 3.8 to 3.14 write nothing above it

# The longest decimal integer worth parsing: int() is quadratic, and 2**64 has 20 digits.
_LONGEST_DECIMAL = 24

# What Python 2 writes inside a quoted string; anything else was not written by it. Plain runs are
# kept apart by the escapes, so that a string which does not match fails in linear time.
_QUOTED = re.compile(rb"[^\\]*(?:\\(?:[\\'\"nrt]|x[0-9a-fA-F]{2})[^\\]*)*")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What pickles of one ``kind`` hold beside plain values.

    ``find_global`` gives the stand-in for a module and a name, or raises PickleError; ``fill_in``
    completes one with its state. ``operations`` are instructions beside those of plain values;
    ``needs`` says in a refusal what there is no need for more than.
    """

    kind: str
    needs: str
    find_global: Callable[[object, object], Global]
    fill_in: Callable[[object, object], None]
    operations: Mapping[bytes, Callable[[State], None]] = field(default_factory=dict)


BIN = Dialect(
    kind="bin",
    needs="images and labels need none but bytes, numbers, lists and NumPy arrays",
    find_global=find_global,
    fill_in=fill_in,
)


def load_plain(data: bytes) -> object:
    """The value of a bin's pickle: None, bool, int, float, bytes, str, list, tuple, `PickledArray`.

    Python-2 strings and bytearrays come back as bytes, NumPy bool, integer and bytes scalars as
    bool, int and bytes. A name or type that stands alone in the file comes back as its stand-in
    (`Global`, `PickledDtype`), which is no value of a bin. Bytes after the end of the pickle are
    ignored, as `pickle.load` does.

    Raises `PickleError` with the cause; nothing has been imported or called by then.
    """
    return load(data, BIN)[0]


def load(data: bytes, dialect: Dialect, start: int = 0) -> tuple[object, int]:
    """The value of the pickle that begins at ``start``, and where it ends. Raises `PickleError`."""
    state = State(data, dialect, start)
    try:
        while True:
            opcode = _take(state, 1)
            if opcode == pickle.STOP:
                return pop(state), state.position
            operation = dialect.operations.get(opcode) or _OPERATIONS.get(opcode)
            if operation is None:
                raise _not_plain(state, opcode)
            operation(state)
    except MalformedError as error:
        raise PickleError(f"is damaged or no {dialect.kind}: {error}; get the file again") from None


@dataclass(slots=True)
class State:
    """The machine: the program, where it is, and its stack."""

    data: bytes
    dialect: Dialect
    position: int = 0
    stack: list[object] = field(default_factory=list)
    outer_stacks: list[list[object]] = field(default_factory=list)  # one for each open MARK
    memo: dict[int, object] = field(default_factory=dict)
    encoded: EncodedTexts = field(default_factory=dict)


_Operation = Callable[[State], None]


# ---- Reading the program -------------------------------------------------------------------------


def _take(state: State, size: int) -> bytes:
    start = state.position
    end = start + size
    if end > len(state.data):
        raise _cut_short(state)
    state.position = end
    return state.data[start:end]


def _unsigned(state: State, width: int) -> int:
    return int.from_bytes(_take(state, width), "little")


def _line(state: State) -> bytes:
    end = state.data.find(b"\n", state.position)
    if end < 0:
        raise _cut_short(state)
    line = state.data[state.position : end]
    state.position = end + 1
    return line


def _decimal(line: bytes) -> int:
    if len(line) > _LONGEST_DECIMAL or not re.fullmatch(rb"\s*[+-]?\d+L?\s*", line):
        raise malformed(f"{shown(line)} stands where a whole number is expected")
    return int(line.strip().rstrip(b"L"))


def _real(line: bytes) -> float:
    try:
        return float(line[: _LONGEST_DECIMAL + 1])
    except ValueError:
        raise malformed(f"{shown(line)} stands where a number is expected") from None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise malformed(f"{shown(data)} stands where UTF-8 text is expected") from None


def _escaped_text(line: bytes) -> str:
    try:
        return line.decode("raw-unicode-escape")
    except UnicodeDecodeError:
        raise malformed(f"{shown(line)} is not escaped text") from None


def _quoted_bytes(line: bytes) -> bytes:
    """The bytes of a Python-2 string literal, quotes and escapes removed."""
    line = line.strip()
    quotes = line[:1] + line[-1:]
    if (
        len(line) < 2
        or quotes not in (b"''", b'""')
        or not _QUOTED.fullmatch(line, 1, len(line) - 1)
    ):
        raise malformed(f"{shown(line)} is not a quoted string")
    return codecs.escape_decode(line[1:-1])[0]


# ---- The stack -----------------------------------------------------------------------------------


def pop(state: State) -> object:
    """The value on top of the stack, taken off."""
    if not state.stack:
        raise malformed(f"byte {state.position - 1} takes a value where there is none")
    return state.stack.pop()


def pop_to_mark(state: State) -> list[object]:
    """The values of the group that is open, which ends."""
    if not state.outer_stacks:
        raise malformed(f"byte {state.position - 1} closes a group that was never opened")
    items = state.stack
    state.stack = state.outer_stacks.pop()
    return items


def _mark(state: State) -> None:
    state.outer_stacks.append(state.stack)
    state.stack = []


def _pop_value(state: State) -> None:
    if state.stack:
        state.stack.pop()
    else:
        pop_to_mark(state)


def _duplicate(state: State) -> None:
    value = pop(state)
    state.stack += [value, value]


def _put(state: State, index: int) -> None:
    if not state.stack:
        raise malformed(f"byte {state.position - 1} stores a value where there is none")
    state.memo[index] = state.stack[-1]


def _get(state: State, index: int) -> None:
    if index not in state.memo:
        raise malformed(f"it refers to value {index}, which was never stored")
    state.stack.append(state.memo[index])


def _append(state: State, items: list[object]) -> None:
    target = pop(state)
    if not isinstance(target, list):
        raise malformed(f"it appends to a {type(target).__name__}")
    target += items
    state.stack.append(target)


def _protocol(state: State) -> None:
    protocol = _unsigned(state, 1)
    if protocol > HIGHEST_PROTOCOL:
        raise PickleError(
            f"is written in pickle protocol {protocol}, and {HIGHEST_PROTOCOL} is the highest"
            " known; write it again with a lower protocol"
        )


# ---- Building values -----------------------------------------------------------------------------


def _global(state: State) -> Global:
    module = _text(_line(state))
    return state.dialect.find_global(module, _text(_line(state)))


def _global_from_stack(state: State) -> Global:
    name, module = pop(state), pop(state)
    return state.dialect.find_global(module, name)


def _call(state: State) -> object:
    arguments, function = pop(state), pop(state)
    if not isinstance(function, Global) or function.construct is None:
        raise malformed("it calls something that cannot be called")
    if not isinstance(arguments, tuple):
        raise malformed(f"it calls {function.name} without a list of arguments")
    return function.construct(arguments, state.encoded)


def _build(state: State) -> None:
    details, target = pop(state), pop(state)
    state.dialect.fill_in(target, details)
    state.stack.append(target)


def _integer(state: State) -> int:
    line = _line(state)
    return line == b"01" if line in (b"00", b"01") else _decimal(line)


def _cut_short(state: State) -> PickleError:
    return PickleError(
        f"is cut short: it ends at byte {len(state.data)}, inside what it holds; get the file again"
    )


def _not_plain(state: State, opcode: bytes) -> PickleError:
    dialect, position = state.dialect, state.position - 1
    known = {info.code.encode("latin-1"): info.name for info in pickletools.opcodes}
    if opcode not in known:
        return malformed(f"byte {position}, {opcode!r}, is no pickle instruction")
    return PickleError(
        f"holds more than a {dialect.kind} does: byte {position} is the pickle instruction"
        f" {known[opcode]}, and {dialect.needs}"
    )


# ---- The instructions ----------------------------------------------------------------------------


def _push(read: Callable[[State], object]) -> _Operation:
    def operation(state: State) -> None:
        state.stack.append(read(state))

    return operation


def _counted(width: int, convert: Callable[[bytes], object] = bytes) -> _Operation:
    return _push(lambda state: convert(_take(state, _unsigned(state, width))))


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _constant(value: object) -> _Operation:
    return lambda state: state.stack.append(value)


def _tuple_of(count: int) -> _Operation:
    return _push(lambda state: tuple([pop(state) for _ in range(count)][::-1]))


def _push_group(collect: Callable[[list[object]], object]) -> _Operation:
    def operation(state: State) -> None:
        items = pop_to_mark(state)  # first, because this puts the stack back that it is pushed on
        state.stack.append(collect(items))

    return operation


def _frame(state: State) -> None:
    _take(state, 8)  # how long the frame is, which only matters to a reader of streams


_OPERATIONS: dict[bytes, _Operation] = {
    pickle.PROTO: _protocol,
    pickle.FRAME: _frame,
    pickle.MARK: _mark,
    pickle.POP: _pop_value,
    pickle.POP_MARK: lambda state: pop_to_mark(state).clear(),
    pickle.DUP: _duplicate,
    pickle.PUT: lambda state: _put(state, _decimal(_line(state))),
    pickle.BINPUT: lambda state: _put(state, _unsigned(state, 1)),
    pickle.LONG_BINPUT: lambda state: _put(state, _unsigned(state, 4)),
    pickle.MEMOIZE: lambda state: _put(state, len(state.memo)),
    pickle.GET: lambda state: _get(state, _decimal(_line(state))),
    pickle.BINGET: lambda state: _get(state, _unsigned(state, 1)),
    pickle.LONG_BINGET: lambda state: _get(state, _unsigned(state, 4)),
    pickle.NONE: _constant(None),
    pickle.NEWTRUE: _constant(True),
    pickle.NEWFALSE: _constant(False),
    pickle.INT: _push(_integer),
    pickle.LONG: _push(lambda state: _decimal(_line(state))),
    pickle.BININT: _push(lambda state: _signed(_take(state, 4))),
    pickle.BININT1: _push(lambda state: _unsigned(state, 1)),
    pickle.FLOAT: _push(lambda state: _real(_line(state))),
    pickle.BINFLOAT: _push(lambda state: struct.unpack(">d", _take(state, 8))[0]),
    pickle.BININT2: _push(lambda state: _unsigned(state, 2)),
    pickle.LONG1: _counted(1, _signed),
    pickle.STRING: _push(lambda state: _quoted_bytes(_line(state))),
    pickle.SHORT_BINSTRING: _counted(1),
    pickle.BINSTRING: _counted(4),
    pickle.SHORT_BINBYTES: _counted(1),
    pickle.BINBYTES: _counted(4),
    pickle.BINBYTES8: _counted(8),
    pickle.BYTEARRAY8: _counted(8),
    pickle.UNICODE: _push(lambda state: _escaped_text(_line(state))),
    pickle.SHORT_BINUNICODE: _counted(1, _text),
    pickle.BINUNICODE: _counted(4, _text),
    pickle.BINUNICODE8: _counted(8, _text),
    pickle.EMPTY_TUPLE: _constant(()),
    pickle.TUPLE1: _tuple_of(1),
    pickle.TUPLE2: _tuple_of(2),
    pickle.TUPLE3: _tuple_of(3),
    pickle.TUPLE: _push_group(tuple),
    pickle.EMPTY_LIST: _push(lambda _: []),
    pickle.LIST: _push_group(list),
    pickle.APPEND: lambda state: _append(state, [pop(state)]),
    pickle.APPENDS: lambda state: _append(state, pop_to_mark(state)),
    pickle.GLOBAL: _push(_global),
    pickle.STACK_GLOBAL: _push(_global_from_stack),
    pickle.REDUCE: _push(_call),
    pickle.BUILD: _build,
}
