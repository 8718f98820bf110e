"""Both sides of a comparison in turns, so that a busy machine is busy for both."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Seconds:
    """What a call took by the clock, and of all cores' time (which stands still while others have
    the cores).
    """

    wall: float
    cpu: float


Rounds = list[dict[str, Seconds]]


def interleaved(
    sides: Mapping[str, Any],
    rounds: int,
    *,
    warm_up: bool = True,
    measure: Callable[[Any], Seconds] | None = None,
) -> Rounds:
    """Each side's seconds in each round; the sides take turns, and who begins changes.

    Sides are calls; or commands, with `run_seconds` as ``measure``.
    """
    measure = measure or seconds_of
    if warm_up:
        for side in sides.values():
            measure(side)
    names = list(sides)
    found = []
    for number in range(rounds):
        turn = names if number % 2 == 0 else names[::-1]
        taken = {name: measure(sides[name]) for name in turn}
        found.append({name: taken[name] for name in names})
    return found


def seconds_of(call: Callable[[], object]) -> Seconds:
    """How long a call in this process takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def ratio(rounds: Rounds, slow: str, fast: str, *, clock: str = "wall") -> float:
    """The median over the rounds of slow's seconds by fast's."""
    return statistics.median(
        getattr(each[slow], clock) / getattr(each[fast], clock) for each in rounds
    )


def median(rounds: Rounds, name: str, *, clock: str = "wall") -> float:
    """The median of one side's seconds."""
    return statistics.median(getattr(each[name], clock) for each in rounds)


def run_seconds(command: Sequence[str], **options: object) -> Seconds:
    """How long a process takes from its start to its end. Raises CalledProcessError."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(  # type: ignore[call-overload]
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    wall, after = time.perf_counter() - start, os.times()
    cpu = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return Seconds(wall, cpu)
