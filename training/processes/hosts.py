"""Which processes train together: from --hosts and its companions, or from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from evaluator.errors import InputError

# Keras's own names for the three; what Slurm and Open MPI set is read by JAX.
_ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
_COUNT = "KERAS_DISTRIBUTION_NUM_PROCESSES"
_NUMBER = "KERAS_DISTRIBUTION_PROCESS_ID"


class HostsError(InputError):
    """The processes of a run are named in a way that cannot be meant."""


@dataclass(frozen=True)
class Hosts:
    """One of ``processes`` that train together: number ``process`` from 0. Process 0 listens at
    ``host``:``port``. What is None is known to the launcher, and JAX asks it.
    """

    host: str | None
    port: int
    process: int | None
    processes: int | None


def parse_hosts(
    addresses: str | None,
    process: int | None,
    processes: int | None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> Hosts | None:
    """The processes of a run, or None where there is this one alone.

    ``addresses`` is HOST:PORT of process 0, or a list of all processes' separated by commas, of
    which only the first needs a port, or ``auto``, where a launcher says all of it. What is None is
    taken from Keras's variables of the environment.

    Raises HostsError for a missing or wrong port or number.
    """
    where = "--hosts" if addresses is not None else _ADDRESSES
    addresses = addresses if addresses is not None else environment.get(_ADDRESSES)
    if not addresses:
        for name, given in (("--process", process), ("--processes", processes)):
            if given is not None:
                raise HostsError(f"{name} {given}: expected --hosts HOST:PORT of process 0 too")
        return None
    listed = [part.strip() for part in addresses.split(",")]
    host, port = (None, 0) if addresses == "auto" else _address(listed[0], where)
    count = processes if processes is not None else _number(_COUNT, environment)
    if len(listed) > 1:
        if processes is not None and processes != len(listed):
            raise HostsError(
                f"{where} names {len(listed)} processes, --processes {processes}; give one of them"
            )
        count = len(listed)
    own = process if process is not None else _number(_NUMBER, environment)
    if count is not None and (count < 1 or (own is not None and not 0 <= own < count)):
        raise HostsError(f"{where} {addresses}: expected process 0 to {count - 1}, found {own}")
    return None if count == 1 else Hosts(host, port, own, count)


def _address(text: str, where: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise HostsError(
            f"{where} {text}: expected HOST:PORT of process 0, as in node1:12345, or auto"
        )
    return host.strip("[]"), int(port)


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    value = environment.get(name)
    if value is None or value.isdigit():
        return None if value is None else int(value)
    raise HostsError(f"{name}={value}: expected a whole number")
