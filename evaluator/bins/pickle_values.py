"""What stands in a bin for NumPy's constructors: plain values, checked before they are believed.

The functions here get what a file says about an array, a type or a scalar. None of them calls
NumPy, so a shape, a type or a buffer that lies is an error and never an allocation.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluator.errors import InputError


class PickleError(InputError):
    """A pickle that is cut short, malformed, or asks for more than plain data."""


class MalformedError(PickleError):
    """A pickle that is damaged; the message is the cause alone."""


@dataclass(slots=True)
class PickledArray:
    """What a NumPy array in a pickle holds, without NumPy having built it.

    `dtype` is NumPy's string for it ("|b1", "<i8", "|S9", "|O"); `content` is the array's memory,
    or, for "|O", the list of its elements. Shape and content agree once the array is filled in;
    until then `dtype` is empty.
    """

    dtype: str = ""
    shape: tuple[int, ...] = ()
    content: bytes | list[object] = b""


@dataclass(slots=True)
class PickledDtype:
    """A NumPy type: kind "b", "i", "u", "f", "S" or "O", size in bytes, byte order."""

    kind: str
    size: int
    order: str = "|"


# Latin-1 text already turned into bytes. Without it a short file could ask for a thousand copies
# of one long text.
EncodedTexts = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a bin may ask for, and what calling it yields (None: it is never called)."""

    name: str
    construct: Callable[[tuple[object, ...], EncodedTexts], object] | None


def find_global(module: object, name: object) -> Global:
    """The stand-in for a name; `PickleError` naming it when it is not one that bins need."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise malformed("a name in it is no text")
    # NumPy 2 moved numpy.core to numpy._core; Python 3 renamed __builtin__.
    known = re.sub(r"^numpy\._core\b", "numpy.core", module)
    known = "builtins" if known == "__builtin__" else known
    found = _GLOBALS.get(f"{known}.{name}")
    if found is None:
        raise PickleError(
            f"asks for {shown(f'{module}.{name}')}, which is code and not data: it was refused and"
            " nothing was run; use a bin from a source you trust"
        )
    return found


def fill_in(target: object, details: object) -> None:
    """Complete an array or a type with its pickled state; `PickleError` when that cannot be so."""
    if not isinstance(details, tuple):
        raise malformed("a value in it has no list of details")
    match target:
        case PickledDtype():
            _fill_dtype(target, details)
        case PickledArray():
            _fill_array(target, details)
        case _:
            raise malformed(f"it fills in a {type(target).__name__}")


def malformed(cause: str) -> MalformedError:
    """The error of a pickle that no program wrote."""
    return MalformedError(cause)


def shown(value: str | bytes | Sequence[int]) -> str:
    """`repr` on one line and short, for a message: a file's content never floods the screen."""
    text = repr(value[:60])
    return text if len(text) <= 80 else text[:77] + "..."


def _make_array(arguments: tuple[object, ...], _: EncodedTexts) -> PickledArray:
    if not arguments or arguments[0] is not _GLOBALS["numpy.ndarray"]:
        raise malformed("it holds an array that is no numpy.ndarray")
    return PickledArray()


def _make_array_from_buffer(arguments: tuple[object, ...], _: EncodedTexts) -> PickledArray:
    match arguments:
        case (bytes(content), PickledDtype() as dtype, tuple(shape), _):
            array = PickledArray()
            _fill_array(array, (1, shape, dtype, False, content))
            return array
    raise malformed("an array in it has no buffer, dtype and shape")


def _make_dtype(arguments: tuple[object, ...], _: EncodedTexts) -> PickledDtype:
    match arguments:
        case (str(code), *_):
            pass
        case (bytes(content), *_):
            code = content.decode("latin-1")
        case _:
            raise malformed("a NumPy type in it has no name")
    found = re.fullmatch(r"[<>=|]?(?:(b1)|([iu][1248]|f[248])|(S\d{1,9})|(O)[48]?)", code)
    if found is None:
        raise PickleError(
            f"holds a NumPy value of type {shown(code)}; a bin holds bytes or uint8 arrays as"
            " images, and labels that are bools or numbers"
        )
    kind = "".join(group or "" for group in found.groups())
    return PickledDtype(kind[0], int(kind[1:] or 8))


def _make_scalar(arguments: tuple[object, ...], _: EncodedTexts) -> object:
    match arguments:
        case (PickledDtype(kind="S"), bytes(content)):
            return content
        case (PickledDtype(kind="b" | "i" | "u") as dtype, bytes(content)) if (
            len(content) == dtype.size
        ):
            big = dtype.order == ">" or (dtype.order == "=" and sys.byteorder == "big")
            number = int.from_bytes(content, "big" if big else "little", signed=dtype.kind == "i")
            return bool(number) if dtype.kind == "b" else number
        case (PickledDtype(kind="f") as dtype, bytes(content)) if len(content) == dtype.size:
            order = dtype.order.replace("|", "=")
            real: float = struct.unpack(order + {2: "e", 4: "f", 8: "d"}[dtype.size], content)[0]
            return real
    raise malformed("a NumPy scalar in it does not fit its type")


def _make_bytes(arguments: tuple[object, ...], encoded: EncodedTexts) -> bytes:
    """The bytes of `bytes()`, `bytearray(b)`, `bytearray(text, encoding)`, `encode(text, ...)`."""
    match arguments:
        case ():
            return b""
        case (bytes(content),):
            return content
        case (str(text), "latin1" | "latin-1" | b"latin1" | b"latin-1"):
            if text not in encoded:
                try:
                    encoded[text] = text.encode("latin-1")
                except UnicodeEncodeError:
                    raise malformed("text that stands for bytes is not Latin-1") from None
            return encoded[text]
    raise malformed("bytes in it are written in an unknown way")


def _fill_dtype(dtype: PickledDtype, details: tuple[object, ...]) -> None:
    match details:
        case (_, str() | bytes() as order, None, None, None, *_):
            order = order.decode("latin-1") if isinstance(order, bytes) else order
            if order in ("<", ">", "=", "|"):
                dtype.order = order
                return
    raise malformed("a NumPy type in it is structured, and a bin's are not")


def _fill_array(array: PickledArray, details: tuple[object, ...]) -> None:
    match details:
        case (_, tuple(shape), PickledDtype() as dtype, _, bytes() | list() as content):
            pass
        case _:
            raise malformed("an array in it has no shape, type and content")
    sizes = [size for size in shape if isinstance(size, int) and size >= 0]
    if len(sizes) != len(shape) or len(shape) > 32:  # NumPy 1's limit of dimensions
        raise malformed("an array in it has no proper shape")
    is_list = isinstance(content, list)
    if is_list != (dtype.kind == "O"):
        raise malformed("an array in it has content that does not fit its type")
    if math.prod(sizes) * (1 if is_list else dtype.size) != len(content):
        raise malformed(f"an array in it declares the shape {shown(sizes)}, which it does not fill")
    size = "" if is_list else dtype.size
    array.dtype = f"{dtype.order}{dtype.kind}{size}"
    array.shape, array.content = tuple(sizes), content


_GLOBALS = {
    name: Global(name, construct)
    for name, construct in {
        "numpy.ndarray": None,
        "numpy.dtype": _make_dtype,
        "numpy.core.multiarray._reconstruct": _make_array,
        "numpy.core.multiarray.scalar": _make_scalar,
        "numpy.core.numeric._frombuffer": _make_array_from_buffer,
        "_codecs.encode": _make_bytes,
        "builtins.bytes": _make_bytes,
        "builtins.bytearray": _make_bytes,
    }.items()
}
