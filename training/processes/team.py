"""Processes that train together: how they meet, agree, wait for each other and end together.

JAX's coordination service does it, whose store of keys and values these functions use; a process
that is killed or stands still is noticed by its heartbeats. There is no encryption and no password:
for a network of one's own.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from evaluator.errors import InputError
from training.processes.hosts import Hosts
from training.processes.parent import continue_in_child

# A process of which nothing was heard for so long is taken for dead. A longer pause of a machine
# ends the run, which goes on from its last checkpoint.
_HEARTBEAT_SECONDS = 15

# So long process 0, which holds the store, waits for the others to have read of its failure.
_NEWS_SECONDS = 5.0

# The store answers no later than this, so that Ctrl-C is heard.
_SLICE_MS = 1000

_FAILED = "zoo/failed"


class TeamError(InputError):
    """The processes cannot train together; the message says which one and why."""


@dataclass(frozen=True)
class Team:
    """This process among those that train together; process 0 is the lead. ``client`` is that of
    JAX's coordination service, None for a process alone; ``calls`` counts what is shared, which all
    do in the same order.
    """

    process: int = 0
    processes: int = 1
    client: Any = None
    calls: Iterator[int] = field(default_factory=itertools.count)

    @property
    def lead(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.process == 0


ALONE = Team()


@contextmanager
def joined(hosts: Hosts | None, seconds: int = 300) -> Iterator[Team]:
    """This process's team, complete; alone if ``hosts`` is None. Imports JAX, and must run before
    JAX does anything.

    The block, and all that comes after it, runs in a child process, whose parent says in a line and
    exit code 2 what JAX ends a process for: another one that is killed or stands still, or does not
    come within ``seconds``. An error in the block is told to the others, which end with it in one
    line and exit code 2; the block ends when all have come to its end.

    Raises TeamError where the processes differ in how many they are.
    """
    if hosts is None:
        yield ALONE
        return
    said_joined = continue_in_child(seconds)
    team = _met(hosts, seconds)
    said_joined()
    threading.Thread(target=_hear_failures, args=(team,), daemon=True).start()
    try:
        agree(team, "--processes", team.processes)
        yield team
        wait_for_all(team)
    except BaseException as error:
        if jax_module().distributed.is_initialized():  # else all have stopped together
            _tell_failure(team, error)
        raise
    _part()


def _met(hosts: Hosts, seconds: int) -> Team:
    try:
        jax = jax_module()
    except ModuleNotFoundError:
        raise TeamError(
            "--hosts: works on JAX only; install it and set KERAS_BACKEND=jax"
        ) from None
    address = None
    if hosts.host is not None:
        address = (
            f"[{hosts.host}]:{hosts.port}" if ":" in hosts.host else f"{hosts.host}:{hosts.port}"
        )
    bound = None
    if hosts.process == 0 and hosts.host is not None:
        bound = _address_to_bind(hosts.host, hosts.port)
    try:
        jax.distributed.initialize(
            address,
            hosts.processes,
            hosts.process,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            coordinator_bind_address=bound,
        )
    except ValueError as error:
        # What neither the options nor the launcher's environment say.
        raise TeamError(
            f"--hosts: {error} Give --processes and --process, or start under Slurm or Open MPI"
        ) from None
    state = jax_module("jax._src.distributed").global_state
    return Team(state.process_id, state.num_processes, state.client)


def _address_to_bind(host: str, port: int) -> str:
    """Where process 0 listens: the loopback address alone if it is that, else all addresses.

    A machine's own name often stands for 127.0.1.1, where nobody else could reach it.
    """
    if host == "localhost" or host.startswith("127."):
        where, family = "127.0.0.1", socket.AF_INET
    else:
        where, family = "::1" if host == "::1" else "::", socket.AF_INET6
        if not socket.has_ipv6:
            where, family = "0.0.0.0", socket.AF_INET  # nosec B104
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where, port))
        except OSError as error:
            raise TeamError(
                f"--hosts {host}:{port}: cannot listen there ({error.strerror}); "
                "choose another port"
            ) from None
    return f"[{where}]:{port}" if ":" in where else f"{where}:{port}"


def share(team: Team, value: Any) -> Any:
    """The lead's ``value`` (JSON), in each process; what the others give is not looked at."""
    if team.processes == 1:
        return value
    key = f"zoo/share/{next(team.calls)}"
    if team.lead:
        team.client.key_value_set(key, json.dumps(value))
        return value
    return json.loads(_read(team, key))


def share_array(team: Team, array: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """The lead's array, in each process; the others give None."""
    if team.processes == 1 and array is not None:
        return array
    dtype, shape = share(team, None if array is None else [array.dtype.str, list(array.shape)])
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    # Bytes: JAX would make 32-bit numbers of others.
    data = np.zeros(count, np.uint8) if array is None else np.frombuffer(array.tobytes(), np.uint8)
    tools = jax_module("jax.experimental.multihost_utils")
    found = np.asarray(tools.broadcast_one_to_all(data), np.uint8)
    return np.frombuffer(found.tobytes(), kind).reshape(shape) if array is None else array


def gather(team: Team, value: Any) -> list[Any]:
    """In the lead, each process's ``value`` (JSON) by its number; an empty list in the others."""
    if team.processes == 1:
        return [value]
    key = f"zoo/gather/{next(team.calls)}"
    if not team.lead:
        team.client.key_value_set(f"{key}/{team.process}", json.dumps(value))
        return []
    return [
        value,
        *(json.loads(_read(team, f"{key}/{each}")) for each in range(1, team.processes)),
    ]


def agree(team: Team, what: str, value: Any) -> None:
    """Returns in each process if all have the same ``value`` (JSON) as the lead.

    Raises TeamError in the lead, which ends the others too.
    """
    for number, other in enumerate(gather(team, value)):
        if other != json.loads(json.dumps(value)):
            raise TeamError(
                f"process {number}: has other {what} than process 0: {other}, not {value}; start "
                "all with the same"
            )
    wait_for_all(team)


def wait_for_all(team: Team) -> None:
    """Returns when every process has called it."""
    gather(team, None)
    share(team, None)


def told_to_stop(team: Team, step: int) -> bool:
    """Whether all processes are to stop after this step, because one of them was sent SIGTERM. All
    ask after each step, the same number in each; the answer is the same in all.
    """
    if team.processes == 1:
        return False
    tools = jax_module("jax.experimental.multihost_utils")
    return bool(tools.reached_preemption_sync_point(step))


def stop_together(team: Team) -> NoReturn:
    """Ends this process as SIGTERM does, when all have come here."""
    wait_for_all(team)
    _part()
    signal.raise_signal(signal.SIGTERM)
    raise KeyboardInterrupt


def _read(team: Team, key: str) -> str:
    """What the store has by a key, as soon as it has it. Raises TeamError where it is gone."""
    while True:
        try:
            return str(team.client.blocking_key_value_get(key, _SLICE_MS))
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise TeamError(f"process 0: is gone ({_first_line(error)})") from None


def _hear_failures(team: Team) -> None:
    """Ends this process at once, from whatever it waits for, when another has failed."""
    while True:
        try:
            words = team.client.blocking_key_value_get(_FAILED, 3_600_000)
            break
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                return  # the service has ended
    number, message = json.loads(words)
    if number == team.process:
        return
    sys.stdout.flush()
    print(f"zoo: error: {message}; this process ends too", file=sys.stderr, flush=True)
    with contextlib.suppress(RuntimeError):
        team.client.key_value_set(f"zoo/heard/{team.process}", "")
    os._exit(2)


def _tell_failure(team: Team, error: BaseException) -> None:
    known = isinstance(error, InputError | OSError)
    if isinstance(error, Exception) and not known:
        # A collective operation fails because of another's end, whose news are still under way: its
        # own words, or JAX's, which end this process.
        time.sleep(_HEARTBEAT_SECONDS + _NEWS_SECONDS)
    words = " ".join(str(error).split())[:500] or type(error).__name__
    with contextlib.suppress(RuntimeError):  # another was first, or the store is gone
        team.client.key_value_set(
            _FAILED, json.dumps([team.process, f"process {team.process}: {words}"])
        )
        if team.lead:
            for each in range(1, team.processes):
                team.client.blocking_key_value_get(f"zoo/heard/{each}", int(1000 * _NEWS_SECONDS))
    interrupted = isinstance(error, KeyboardInterrupt)
    code = 2 if known else 128 + signal.SIGINT if interrupted else 1
    # The others are gone: the backend's own ending would wait for them, and abort.
    atexit.register(_leave, code)


def _part() -> None:
    jax_module().distributed.shutdown()
    # JAX's service took the signal for itself; what Python has for it holds again.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def jax_module(name: str = "jax") -> Any:
    """JAX, or a module of it; by no import statement, for which it would have to be installed to be
    checked.
    """
    return importlib.import_module(name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
