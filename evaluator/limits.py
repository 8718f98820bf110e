"""How much a model may ask of this machine, held before anything is built."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from evaluator.errors import ModelError

#: Bytes of the largest tensor that a network may make of one image: a face network's largest has
#: 50 MB at most, so this is a stated limit and no estimate.
LARGEST_TENSOR = 2**30

_CGROUPS = (
    # Version 2, then 1: what a container may have, and what it has taken.
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def process_bytes(key: str, process: int | str = "self") -> int | None:
    """A process's bytes in memory, ``VmRSS`` now or ``VmHWM`` at the most; None where the system
    does not tell.
    """
    try:
        told = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{key}:\s+(\d+) kB$", told, re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def available_bytes() -> int | None:
    """Bytes of memory that this process may still take: of the machine, or of its control group
    where that is less. None where the system does not say.
    """
    found = [_of_machine(), *(_of_group(*files) for files in _CGROUPS)]
    known = [each for each in found if each is not None]
    return min(known) if known else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _of_group(limit: str, taken: str) -> int | None:
    try:
        # "max" where there is no limit.
        return max(0, int(Path(limit).read_text()) - int(Path(taken).read_text()))
    except (OSError, ValueError):
        return None


def check_tensor(path: Path, name: str, shape: Sequence[int | None], *, itemsize: int = 4) -> None:
    """Raises ModelError for a tensor of one image that is larger than ``LARGEST_TENSOR``.

    ``name`` is what makes it, ``shape`` its sizes, of which None is left out; without the batch.
    """
    needed = math.prod(size for size in shape if size is not None) * itemsize
    if needed > LARGEST_TENSOR:
        raise ModelError(
            f"{path}: not loaded: {name} makes {needed:,} bytes of one image; the limit is "
            f"{LARGEST_TENSOR:,}, and face networks need 50,000,000 at most"
        )


def check_memory(path: Path, what: str, needed: int) -> None:
    """Raises ModelError where ``what`` needs more bytes than this process may have."""
    available = available_bytes()
    if available is not None and needed > available:
        raise ModelError(
            f"{path}: not loaded: {what} need {needed:,} bytes of memory, and "
            f"{available:,} are available"
        )
