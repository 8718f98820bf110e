"""Which processes train together: from --hosts and its companions, or from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from evaluator.errors import InputError

# What launchers set, first the names that Keras itself reads.
_ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
_COUNTS = ("KERAS_DISTRIBUTION_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_NUMBERS = ("KERAS_DISTRIBUTION_PROCESS_ID", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


class HostsError(InputError):
    """The processes of a run are named in a way that cannot be meant."""


@dataclass(frozen=True)
class Hosts:
    """One of ``processes`` that train together: number ``process`` from 0. Process 0 listens at
    ``host``:``port``.
    """

    host: str
    port: int
    process: int
    processes: int


def parse_hosts(
    addresses: str | None,
    process: int | None,
    processes: int | None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> Hosts | None:
    """The processes of a run, or None where there is this one alone.

    ``addresses`` is HOST:PORT of process 0, or a list of all processes' separated by commas, of
    which only the first needs a port. What is None is taken from the environment: the address
    from KERAS_DISTRIBUTION_JOB_ADDRESSES, the other two from Keras's, Slurm's or Open MPI's names.

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
    host, port = _address(listed[0], where)
    count = processes if processes is not None else _number(_COUNTS, environment)
    if len(listed) > 1:
        if processes is not None and processes != len(listed):
            raise HostsError(
                f"{where} names {len(listed)} processes, --processes {processes}; give one of them"
            )
        count = len(listed)
    if count is None:
        raise HostsError(
            f"{where} {addresses}: how many processes? name them all, separated by commas, or "
            f"give --processes (or set {_COUNTS[0]})"
        )
    own = process if process is not None else _number(_NUMBERS, environment)
    if own is None:
        raise HostsError(
            f"{where} {addresses}: which process is this? give --process 0 to {count - 1} "
            f"(or set {_NUMBERS[0]})"
        )
    if count < 1 or not 0 <= own < count:
        raise HostsError(f"{where} {addresses}: expected process 0 to {count - 1}, found {own}")
    return Hosts(host, port, own, count) if count > 1 else None


def _address(text: str, where: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise HostsError(f"{where} {text}: expected HOST:PORT of process 0, as in node1:12345")
    return host.strip("[]"), int(port)


def _number(names: tuple[str, ...], environment: Mapping[str, str]) -> int | None:
    for name in names:
        value = environment.get(name)
        if value is not None:
            if not value.isdigit():
                raise HostsError(f"{name}={value}: expected a whole number")
            return int(value)
    return None
