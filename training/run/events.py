"""TensorBoard's event files, written without TensorBoard or TensorFlow.

A file is TFRecord framing (length, masked CRC-32C of it, bytes, masked CRC-32C of those) around
``Event`` protocol buffers: wall_time 1 (double), step 2 (varint), file_version 3 (string),
summary 5, which has values 1 of tag 1 (string) and simple_value 2 (float).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Columns of the log that say where a row is, not what was measured.
_NOT_MEASURED = ("stage", "epoch", "step")


def append_events(folder: Path, step: int, row: Mapping[str, Any]) -> None:
    """Adds the numbers of a log row to this process's event file in ``folder``."""
    path = folder / f"events.out.tfevents.0.{socket.gethostname()}.{os.getpid()}"
    records = [] if path.exists() else [_event(0, b"\x1a" + _block(b"brain.Event:2"))]
    for name, value in row.items():
        if name not in _NOT_MEASURED and isinstance(value, int | float):
            one = b"\x0a" + _block(name.encode()) + b"\x15" + struct.pack("<f", value)
            records.append(_event(step, b"\x2a" + _block(b"\x0a" + _block(one))))
    with path.open("ab") as file:
        file.write(b"".join(map(_framed, records)))


def _event(step: int, payload: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step) + payload


def _block(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_table() -> tuple[int, ...]:
    """CRC-32C (Castagnoli), reflected."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()
