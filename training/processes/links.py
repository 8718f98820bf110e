"""Connections between processes that train together, and the messages on them."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from dataclasses import dataclass, field

from evaluator.errors import InputError

# Kinds of messages.
VALUE, READY, FAILED, DONE = b"V", b"R", b"F", b"D"


class TeamError(InputError):
    """The processes cannot train together; the message says which one and why."""


@dataclass
class Link:
    """A connection to another process, and what came from it; ``process`` is the other's number."""

    connection: socket.socket
    process: int
    where: str
    inbox: queue.Queue[bytes] = field(default_factory=queue.Queue)
    done: bool = False
    sending: threading.Lock = field(default_factory=threading.Lock)


def free_port(host: str) -> int:
    """A port of this machine that nobody listens at now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((bound_to(host), 0))
        return int(probe.getsockname()[1])


def bound_to(host: str) -> str:
    """Where process 0 listens: the loopback address alone if it is that, else all addresses.

    A machine's own name often stands for 127.0.1.1, where nobody else could reach it.
    """
    if host == "localhost" or host.startswith("127."):
        return "127.0.0.1"
    # The others come from other machines, over whichever network leads here.
    everywhere = "0.0.0.0"  # nosec B104
    return "::1" if host == "::1" else "::" if ":" in host else everywhere


def send(link: Link, kind: bytes, data: bytes) -> None:
    """Sends a message. Raises OSError where the other is gone."""
    with link.sending:
        link.connection.sendall(kind + struct.pack("<Q", len(data)) + data)


def receive(connection: socket.socket) -> tuple[bytes, bytes]:
    """The next message, kind and data. Raises OSError, or EOFError where the other is gone."""
    head = _exactly(connection, 9)
    return head[:1], _exactly(connection, struct.unpack("<Q", head[1:])[0])


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 2**20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def kept_alive(connection: socket.socket) -> None:
    """A machine that is gone without closing its connections is noticed in a minute or so."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
