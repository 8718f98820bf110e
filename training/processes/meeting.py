"""How processes that train together find each other: process 0 listens, the others come."""

from __future__ import annotations

import json
import socket
import time

from training.processes.hosts import Hosts
from training.processes.links import (
    FAILED,
    READY,
    VALUE,
    Link,
    TeamError,
    bound_to,
    kept_alive,
    receive,
    send,
)

_GREETING = "face-zoo 1"


def listening(hosts: Hosts, seconds: float) -> tuple[Link, ...]:
    """In process 0, the links to all others. Raises TeamError if they are not there in time."""
    deadline = time.monotonic() + seconds
    family = socket.AF_INET6 if ":" in hosts.host else socket.AF_INET
    links: dict[int, Link] = {}
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
        send(link, READY, b"")
    return tuple(links[number] for number in sorted(links))


def _greeted(connection: socket.socket, where: str, hosts: Hosts, deadline: float) -> Link | None:
    """The link to a process that has said who it is; None for a stranger."""
    connection.settimeout(max(min(5.0, deadline - time.monotonic()), 0.001))
    try:
        kind, data = receive(connection)
        hello, number, count = json.loads(data)
    except (OSError, EOFError, ValueError):
        connection.close()
        return None
    if kind != VALUE or hello != _GREETING:
        connection.close()
        return None
    if count != hosts.processes or not 0 < number < count:
        raise TeamError(
            f"process {number} ({where}): says there are {count} processes, process 0 says "
            f"{hosts.processes}; start all with the same --hosts and --processes"
        )
    kept_alive(connection)
    return Link(connection, number, where)


def connected(hosts: Hosts, seconds: float) -> tuple[Link, ...]:
    """In another process, the link to process 0. Raises TeamError if it is not there in time."""
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
    kept_alive(connection)
    link = Link(connection, 0, where)
    send(link, VALUE, json.dumps([_GREETING, hosts.process, hosts.processes]).encode())
    try:
        connection.settimeout(seconds)
        kind, data = receive(connection)
    except (OSError, EOFError):
        raise TeamError(
            f"--hosts {where}: process 0 went away before all were there; its own message says why"
        ) from None
    if kind == FAILED:
        raise TeamError(data.decode())
    connection.settimeout(None)
    return (link,)
