"""What a pickle comes wrapped in: an array of `numpy.save`, xz or gzip; opened within bounds.

`numpy.save` writes a header and then, for an array of objects, a pickle of it, which is what the
evaluation callbacks that `numpy.load` a bin were given. It is read as every pickle here is: nothing
in it runs.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from evaluator.errors import BinError, cause_of
from evaluator.limits import available_bytes

NPY_START = b"\x93NUMPY"
_STARTS = {b"\xfd7zXZ\0": "xz", b"\x1f\x8b": "gzip", NPY_START: "npy"}

# Encoded images hardly pack at all; pixels and repetitions do, and a bomb does a thousandfold.
_MOST_UNPACKED = 100
_ROOM = 2**26
_BLOCK = 2**22
_LZMA_MEMORY = 2**28  # what `xz -9` needs is 65 MB

_LONGEST_HEADER = 4096


def wrapping(start: bytes) -> str | None:
    """`xz`, `gzip` or `npy` by the first bytes; None for what is not wrapped."""
    return next((name for begins, name in _STARTS.items() if start.startswith(begins)), None)


def wrapped_start(start: bytes) -> bytes:
    """The first bytes of what is inside, as far as the first bytes outside tell."""
    kind = wrapping(start)
    if kind in _UNPACKERS:
        try:
            start = _UNPACKERS[kind]()(start, 512)
        except (lzma.LZMAError, zlib.error):
            return b""
        kind = wrapping(start)
    return _behind_header(start) or b"" if kind == "npy" else start


def unwrapped(path: Path, data: bytes) -> bytes:
    """The pickle in a file's bytes; `path` is named. Raises BinError for what is damaged, holds no
    pickle, or unpacks to more than a hundred times its size.
    """
    kind = wrapping(data)
    if kind in _UNPACKERS:
        data = _unpacked(path, data, str(kind))
        kind = wrapping(data)
        if kind in _UNPACKERS:
            raise BinError(f"{path}: is packed twice; unpack it first")
    if kind == "npy":
        inside = _behind_header(data)
        if inside is None:
            raise BinError(
                f"{path}: is a NumPy array of numbers; a bin is a pickle, or an array of objects,"
                " of (images, labels)"
            )
        return inside
    return data


def _unpacked(path: Path, data: bytes, kind: str) -> bytes:
    most = _MOST_UNPACKED * len(data) + _ROOM
    available = available_bytes()
    if available is not None:
        most = min(most, available // 2)
    unpack, parts, size = _UNPACKERS[kind](), [], 0
    try:
        block = unpack(data, _BLOCK)
        while block:
            parts.append(block)
            size += len(block)
            if size > most:
                raise BinError(
                    f"{path}: its {len(data):,} bytes of {kind} unpack to more than {most:,};"
                    " unpack it yourself if it is what it should be"
                )
            block = unpack(b"", _BLOCK)
    except (lzma.LZMAError, zlib.error) as error:
        raise BinError(f"{path}: is damaged {kind}: {cause_of(error)}; get it again") from None
    if not parts:
        raise BinError(f"{path}: is damaged {kind}: cut short; get it again")
    return b"".join(parts)


def _behind_header(data: bytes) -> bytes | None:
    """What follows the header of an array of objects; None for other arrays, or no header."""
    wide = data[6:7] in (b"\2", b"\3")
    if len(data) < 12:
        return None
    (length,) = struct.unpack_from("<I" if wide else "<H", data, 8)
    start = (12 if wide else 10) + length
    if length > _LONGEST_HEADER or b"'descr': '|O'" not in data[:start]:
        return None
    return data[start:]


# ---- Unpacking -----------------------------------------------------------------------------------

# Called with bytes, and again with none while it has more to give; both give at most so many.
_Unpack = Callable[[bytes, int], bytes]


def _xz() -> _Unpack:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)

    def unpack(data: bytes, most: int) -> bytes:
        if decompressor.eof or (not data and decompressor.needs_input):
            return b""
        return decompressor.decompress(data, most)

    return unpack


def _gzip() -> _Unpack:
    decompressor = zlib.decompressobj(wbits=31)

    def unpack(data: bytes, most: int) -> bytes:
        return decompressor.decompress(data or decompressor.unconsumed_tail, most)

    return unpack


_UNPACKERS: dict[str | None, Callable[[], _Unpack]] = {"xz": _xz, "gzip": _gzip}
