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
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from evaluator.errors import InputError
from training.processes.hosts import Hosts
from training.processes.links import DONE, FAILED, READY, VALUE, Link, TeamError, receive, send
from training.processes.meeting import connected, listening

# So long the processes wait for each other at the begin.
_JOIN_SECONDS = 300.0

# So long a process that sees an error waits for news of another's end, which may be its cause.
_NEWS_SECONDS = 5.0


@dataclass(frozen=True)
class Team:
    """This process among those that train together; process 0, the lead, has a link to each other,
    the others one to it. ``hosts`` is None for a process alone.
    """

    process: int = 0
    processes: int = 1
    hosts: Hosts | None = None
    links: tuple[Link, ...] = ()

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
    links = listening(hosts, seconds) if hosts.process == 0 else connected(hosts, seconds)
    team = Team(hosts.process, hosts.processes, hosts, links)
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
            send(link, DONE, b"")


def share(team: Team, value: Any) -> Any:
    """The lead's ``value`` (JSON), in each process; what the others give is not looked at."""
    if team.processes == 1:
        return value
    if team.lead:
        _to_all(team, VALUE, json.dumps(value).encode())
        return value
    return json.loads(team.links[0].inbox.get())


def share_array(team: Team, array: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """The lead's array, in each process; the others give None."""
    if array is None:
        dtype, shape = share(team, None)
        return np.frombuffer(team.links[0].inbox.get(), np.dtype(dtype)).reshape(shape)
    share(team, [array.dtype.str, list(array.shape)])
    _to_all(team, VALUE, array.tobytes())
    return array


def gather(team: Team, value: Any) -> list[Any]:
    """In the lead, each process's ``value`` (JSON) by its number; an empty list in the others."""
    if not team.lead:
        send(team.links[0], VALUE, json.dumps(value).encode())
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
        _to_all(team, READY, b"")
    else:
        send(team.links[0], READY, b"")
        team.links[0].inbox.get()


def _to_all(team: Team, kind: bytes, data: bytes) -> None:
    for link in team.links:
        send(link, kind, data)


def _read(link: Link, team: Team) -> None:
    """Takes in what a process sends; ends this one where that one has ended."""
    while True:
        try:
            kind, data = receive(link.connection)
        except (OSError, EOFError):
            if not link.done:
                gone = f"process {link.process} ({link.where}): is gone without a word (killed?)"
                _end(team, gone, link)
            return
        if kind == DONE:
            link.done = True
        elif kind == FAILED:
            _end(team, data.decode(), link)
        else:
            link.inbox.put(data)


def _end(team: Team, message: str, source: Link) -> NoReturn:
    """Ends this process at once, from whatever it waits for, with the cause in one line."""
    for link in team.links:
        if link is not source:
            with contextlib.suppress(OSError):
                send(link, FAILED, message.encode())
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
            send(link, FAILED, message.encode())
    interrupted = isinstance(error, KeyboardInterrupt)
    code = 2 if known else 128 + signal.SIGINT if interrupted else 1
    # The others are gone: the backend's own ending would wait for them, and abort.
    atexit.register(_leave, code)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
