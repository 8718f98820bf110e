"""Mutations of valid files, and the loop that feeds them to a target in this process."""

from __future__ import annotations

import random
import resource
import signal
import struct
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.targets import Target, execute

# More than any target's whole process needs for files this small, and less than the machine has.
MEMORY_BYTES = 3 * 2**30
SECONDS_AN_INPUT = 20
LONGEST_INPUT = 1 << 16
MOST_FINDINGS = 20

_INTERESTING = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**29, 2**31 - 1)
_WIDE = (*_INTERESTING, 2**31, 2**32 - 1, 10 * 2**30, 2**63 - 1, 2**64 - 1)


@dataclass
class Tally:
    """What a run over one target did: inputs fed, files accepted, and the findings."""

    executed: int = 0
    accepted: int = 0
    findings: list[tuple[bytes, str]] = field(default_factory=list)


def fuzz(
    target: Target, runs: int, seed: int, *, folder: Path, seconds_an_input: int | None = None
) -> Tally:
    """Feeds ``runs`` mutated files to the target, the same ones for the same seed.

    Stops early after ``MOST_FINDINGS`` different findings; each is kept with its input and its
    traceback. ``seconds_an_input`` takes the process's SIGALRM.
    """
    draw, corpus, tally = random.Random(f"{target.name} {seed}"), target.seeds(), Tally()
    if target.prepare:
        target.prepare(folder)
    known: set[str] = set()
    for data in corpus:  # a seed that is not accepted is a mistake of ours, or of the reader's
        execute(target, folder, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(runs):
            data = mutated(draw, corpus, target.tokens)
            tally.executed += 1
            try:
                with time_limit(seconds_an_input):
                    tally.accepted += execute(target, folder, data)
            except Exception as error:  # noqa: BLE001 - every escape is what is looked for
                kind = place_of(error)
                if kind not in known:
                    known.add(kind)
                    tally.findings.append((data, traceback.format_exc()))
                if len(known) >= MOST_FINDINGS:
                    break
    return tally


def place_of(error: BaseException) -> str:
    """What was raised and where, by which findings are told apart."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {where.filename}:{where.lineno}"


def mutated(draw: random.Random, corpus: list[bytes], tokens: tuple[bytes, ...]) -> bytes:
    """A seed with one to six mutations."""
    data = bytearray(draw.choice(corpus))
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4, 6))):
        draw.choice(_MUTATIONS)(draw, data, corpus, tokens)
    return bytes(data[:LONGEST_INPUT])


def _flip(draw: random.Random, data: bytearray, *_: object) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _byte(draw: random.Random, data: bytearray, *_: object) -> None:
    if data:
        data[draw.randrange(len(data))] = draw.choice((0, 1, 10, 32, 45, 57, 127, 255))


def _any_byte(draw: random.Random, data: bytearray, *_: object) -> None:
    if data:
        data[draw.randrange(len(data))] = draw.randrange(256)


def _number(draw: random.Random, data: bytearray, *_: object) -> None:
    code = draw.choice("HIQ")
    width = struct.calcsize(code)
    if len(data) >= width:
        value = draw.choice(_WIDE) & (1 << 8 * width) - 1
        packed = struct.pack(draw.choice("<>") + code, value)
        place = draw.randrange(len(data) - width + 1)
        data[place : place + width] = packed


def _decimal(draw: random.Random, data: bytearray, *_: object) -> None:
    digits = [place for place, byte in enumerate(data) if 48 <= byte <= 57]
    if digits:
        place = draw.choice(digits)
        data[place : place + 1] = str(draw.choice(_WIDE) * draw.choice((1, -1))).encode()


def _delete(draw: random.Random, data: bytearray, *_: object) -> None:
    start, stop = _span(draw, len(data))
    del data[start:stop]


def _repeat(draw: random.Random, data: bytearray, *_: object) -> None:
    start, stop = _span(draw, len(data))
    data[stop:stop] = data[start:stop] * draw.choice((1, 1, 2, 8, 100))


def _move(draw: random.Random, data: bytearray, *_: object) -> None:
    start, stop = _span(draw, len(data))
    part = data[start:stop]
    del data[start:stop]
    place = draw.randint(0, len(data))
    data[place:place] = part


def _cut(draw: random.Random, data: bytearray, *_: object) -> None:
    del data[draw.randint(0, len(data)) :]


def _splice(draw: random.Random, data: bytearray, corpus: list[bytes], *_: object) -> None:
    other = draw.choice(corpus)
    start, stop = _span(draw, len(other))
    first, last = _span(draw, len(data))
    data[first:last] = other[start:stop]


def _token(draw: random.Random, data: bytearray, _: list[bytes], tokens: tuple[bytes, ...]) -> None:
    token = draw.choice(tokens) if tokens else draw.randbytes(draw.randint(1, 8))
    place = draw.randint(0, len(data))
    data[place : place + draw.choice((0, 0, len(token)))] = token


def _span(draw: random.Random, size: int) -> tuple[int, int]:
    start = draw.randint(0, size)
    return start, min(size, start + draw.choice((1, 1, 2, 4, 8, 16, 64, 512)))


_Mutation = Callable[[random.Random, bytearray, list[bytes], tuple[bytes, ...]], None]
_MUTATIONS: tuple[_Mutation, ...] = (
    _flip,
    _byte,
    _any_byte,
    _number,
    _decimal,
    _delete,
    _repeat,
    _move,
    _cut,
    _splice,
    _token,
    _token,
)


class SlowError(Exception):
    """An input took longer than ``SECONDS_AN_INPUT``."""


@contextmanager
def time_limit(seconds: int | None) -> Iterator[None]:
    """Raises SlowError in the block once it has taken so long, where Python gets to run."""
    if seconds is None:
        yield
        return

    def slow(*_: object) -> None:
        raise SlowError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, slow)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(nbytes: int = MEMORY_BYTES) -> None:
    """From now on this process gets no more address space; a larger allocation fails."""
    resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one input after another, in memory where the system has such a file system."""
    fast = Path("/dev/shm")  # nosec B108
    return tempfile.TemporaryDirectory(prefix="fuzz-", dir=fast if fast.is_dir() else None)
