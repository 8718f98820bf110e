"""Processes that train together: how they meet, agree, wait for each other and end together.

What the devices compute goes over the backend's own connections. These carry the rest (JSON, a
checkpoint's arrays) between process 0 and each other one. A connection that closes without a word
means that a process was killed: then all others end at once, where a collective operation would
wait for minutes. There is no encryption and no password: for a network of one's own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from evaluator.errors import InputError
from training.hosts import Hosts

_HELLO = "face-zoo 1"

# Kinds of messages.
_VALUE, _READY, _FAILED, _DONE = b"V", b"R", b"F", b"D"

# So long the processes wait for each other at the begin.
_JOIN_SECONDS = 300.0

# So long a process that sees an error waits for news of another's end, which may be its cause.
_NEWS_SECONDS = 5.0


class TeamError(InputError):
    """The processes cannot train together; the message says which one and why."""


@dataclass
class _Link:
    """A connection to another process, and what came from it; ``process`` is the other's number."""

    connection: socket.socket
    process: int
    where: str
    inbox: queue.Queue[bytes] = field(default_factory=queue.Queue)
    done: bool = False
    sending: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Team:
    """This process among those that train together; process 0, the lead, has a link to each other,
    the others one to it. ``hosts`` is None for a process alone.
    """

    process: int = 0
    processes: int = 1
    hosts: Hosts | None = None
    links: tuple[_Link, ...] = ()

    @property
    def lead(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.process == 0


ALONE = Team()


@contextmanager
def joined(hosts: Hosts | None, seconds: float = _JOIN_SECONDS) -> Iterator[Team]:
    """This process's team, complete; alone if ``hosts`` is None.

    An error in the block is told to the others, which end with it in one line and exit code 2; the
    block ends when all have come to its end. Raises TeamError if they are not all there in time.
    """
    if hosts is None:
        yield ALONE
        return
    team = _listening(hosts, seconds) if hosts.process == 0 else _connected(hosts, seconds)
    for link in team.links:
        threading.Thread(target=_read, args=(link, team), daemon=True).start()
    try:
        yield team
        wait_for_all(team)
    except BaseException as error:
        _tell_failure(team, error)
        raise
    for link in team.links:
        link.done = True
        with contextlib.suppress(OSError):
            _send(link, _DONE, b"")


def share(team: Team, value: Any) -> Any:
    """The lead's ``value`` (JSON), in each process; what the others give is not looked at."""
    if team.processes == 1:
        return value
    if team.lead:
        _to_all(team, _VALUE, json.dumps(value).encode())
        return value
    return json.loads(team.links[0].inbox.get())


def share_array(team: Team, array: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """The lead's array, in each process; the others give None."""
    if array is None:
        dtype, shape = share(team, None)
        return np.frombuffer(team.links[0].inbox.get(), np.dtype(dtype)).reshape(shape)
    share(team, [array.dtype.str, list(array.shape)])
    _to_all(team, _VALUE, array.tobytes())
    return array


def gather(team: Team, value: Any) -> list[Any]:
    """In the lead, each process's ``value`` (JSON) by its number; an empty list in the others."""
    if not team.lead:
        _send(team.links[0], _VALUE, json.dumps(value).encode())
        return []
    return [value, *(json.loads(link.inbox.get()) for link in team.links)]


def agree(team: Team, what: str, value: Any) -> None:
    """Returns in each process if all have the same ``value`` (JSON) as the lead.

    Raises TeamError in the lead, which ends the others too.
    """
    values = gather(team, value)
    for number, other in enumerate(values):
        if other != json.loads(json.dumps(value)):
            raise TeamError(
                f"process {number} ({team.links[number - 1].where}): has other {what} than "
                f"process 0: {other}, not {value}; start all with the same"
            )
    wait_for_all(team)


def wait_for_all(team: Team) -> None:
    """Returns when every process has called it."""
    if team.lead:
        for link in team.links:
            link.inbox.get()
        _to_all(team, _READY, b"")
    else:
        _send(team.links[0], _READY, b"")
        team.links[0].inbox.get()


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
    return "::1" if host == "::1" else "::" if ":" in host else "0.0.0.0"


def _listening(hosts: Hosts, seconds: float) -> Team:
    deadline = time.monotonic() + seconds
    family = socket.AF_INET6 if ":" in hosts.host else socket.AF_INET
    links: dict[int, _Link] = {}
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((bound_to(hosts.host), hosts.port))
        except OSError as error:
            raise TeamError(
                f"--hosts {hosts.host}:{hosts.port}: cannot listen there ({error.strerror}); "
                "choose another port"
            ) from None
        server.listen()
        while len(links) < hosts.processes - 1:
            server.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                connection, address = server.accept()
            except TimeoutError:
                missing = [str(n) for n in range(1, hosts.processes) if n not in links]
                raise TeamError(
                    f"--hosts {hosts.host}:{hosts.port}: waited {seconds:g} s for process "
                    f"{', '.join(missing)} of {hosts.processes} (from 0); start every process with "
                    "the same command and its own --process"
                ) from None
            link = _greeted(connection, str(address[0]), hosts, deadline)
            if link is not None:
                links[link.process] = link
    for link in links.values():
        _send(link, _READY, b"")
    return Team(0, hosts.processes, hosts, tuple(links[number] for number in sorted(links)))


def _greeted(connection: socket.socket, where: str, hosts: Hosts, deadline: float) -> _Link | None:
    """The link to a process that has said who it is; None for a stranger."""
    connection.settimeout(max(min(5.0, deadline - time.monotonic()), 0.001))
    try:
        kind, data = _receive(connection)
        hello, number, count = json.loads(data)
    except (OSError, EOFError, ValueError):
        connection.close()
        return None
    if kind != _VALUE or hello != _HELLO:
        connection.close()
        return None
    if count != hosts.processes or not 0 < number < count:
        raise TeamError(
            f"process {number} ({where}): says there are {count} processes, process 0 says "
            f"{hosts.processes}; start all with the same --hosts and --processes"
        )
    _kept_alive(connection)
    return _Link(connection, number, where)


def _connected(hosts: Hosts, seconds: float) -> Team:
    deadline = time.monotonic() + seconds
    where = f"{hosts.host}:{hosts.port}"
    while True:
        try:
            connection = socket.create_connection((hosts.host, hosts.port), timeout=5)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise TeamError(
                    f"--hosts {where}: process 0 could not be reached for {seconds:g} s "
                    f"({error.strerror or error}); is it started, and is the address right?"
                ) from None
            time.sleep(0.2)
    _kept_alive(connection)
    link = _Link(connection, 0, where)
    _send(link, _VALUE, json.dumps([_HELLO, hosts.process, hosts.processes]).encode())
    try:
        connection.settimeout(seconds)
        kind, data = _receive(connection)
    except (OSError, EOFError):
        raise TeamError(
            f"--hosts {where}: process 0 went away before all were there; its own message says why"
        ) from None
    if kind == _FAILED:
        raise TeamError(data.decode())
    connection.settimeout(None)
    return Team(hosts.process, hosts.processes, hosts, (link,))


def _kept_alive(connection: socket.socket) -> None:
    """A machine that is gone without closing its connections is noticed in a minute or so."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _to_all(team: Team, kind: bytes, data: bytes) -> None:
    for link in team.links:
        _send(link, kind, data)


def _send(link: _Link, kind: bytes, data: bytes) -> None:
    with link.sending:
        link.connection.sendall(kind + struct.pack("<Q", len(data)) + data)


def _receive(connection: socket.socket) -> tuple[bytes, bytes]:
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


def _read(link: _Link, team: Team) -> None:
    """Takes in what a process sends; ends this one where that one has ended."""
    while True:
        try:
            kind, data = _receive(link.connection)
        except (OSError, EOFError):
            if not link.done:
                gone = f"process {link.process} ({link.where}): is gone without a word (killed?)"
                _end(team, gone, link)
            return
        if kind == _DONE:
            link.done = True
        elif kind == _FAILED:
            _end(team, data.decode(), link)
        else:
            link.inbox.put(data)


def _end(team: Team, message: str, source: _Link) -> NoReturn:
    """Ends this process at once, from whatever it waits for, with the cause in one line."""
    for link in team.links:
        if link is not source:
            with contextlib.suppress(OSError):
                _send(link, _FAILED, message.encode())
    sys.stdout.flush()
    print(f"zoo: error: {message}; this process ends too", file=sys.stderr, flush=True)
    os._exit(2)


def _tell_failure(team: Team, error: BaseException) -> None:
    known = isinstance(error, InputError | OSError)
    if not known and isinstance(error, Exception):
        # A collective operation fails because of another's end, whose news may still be under way.
        time.sleep(_NEWS_SECONDS)
    words = " ".join(str(error).split())[:500] or type(error).__name__
    message = f"process {team.process}: {words}"
    for link in team.links:
        link.done = True
        with contextlib.suppress(OSError):
            _send(link, _FAILED, message.encode())
    interrupted = isinstance(error, KeyboardInterrupt)
    code = 2 if known else 128 + signal.SIGINT if interrupted else 1
    # The others are gone: the backend's own ending would wait for them, and abort.
    atexit.register(_leave, code)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
