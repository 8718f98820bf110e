"""How a caller and the process of a model talk: one JSON object a line, numbers in shared memory.

Nothing that comes from the process is more than text and numbers: what it says is checked by the
caller, since the process may be in a stranger's hands.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

#: Bytes of a line; a model's notes and an error are far shorter.
LONGEST_LINE = 2**20

#: Values of one embedding that shared memory always has room for.
LARGEST_EMBEDDING = 2**16


class MessageError(ValueError):
    """What came is no message: too long, no JSON, or no object."""


def room_for(images: int, values: int) -> int:
    """Bytes of shared memory for a batch of so many images of so many float32 values each."""
    return images * max(values, LARGEST_EMBEDDING) * 4


class Channel:
    """Lines out through one file descriptor, lines in through another."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes, self._held = reads, writes, b""

    def send(self, message: dict[str, Any], seconds: float | None = None) -> None:
        """Sends a message. Raises OSError where nobody reads any more.

        With ``seconds``, for which the descriptor must not block, TimeoutError where it is not
        taken in so many.
        """
        data = memoryview((json.dumps(message) + "\n").encode())
        until = None if seconds is None else time.monotonic() + seconds
        while data:
            try:
                data = data[os.write(self._writes, data) :]
            except BlockingIOError:
                if until is None or not _ready(self._writes, until, write=True):
                    raise TimeoutError from None

    def has_more(self) -> bool:
        """Whether something has come that nobody has received; the end is nothing."""
        poll = select.poll()
        poll.register(self._reads, select.POLLIN)
        return bool(self._held) or any(event & select.POLLIN for _, event in poll.poll(0))

    def receive(self, seconds: float | None = None) -> dict[str, Any] | None:
        """The next message; None where there will be none.

        Raises TimeoutError where none came in so many seconds, MessageError.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._held:
            if until is not None and not _ready(self._reads, until):
                raise TimeoutError
            found = os.read(self._reads, 65536)
            if not found:
                return None
            self._held += found
            if len(self._held) > LONGEST_LINE:
                raise MessageError("a line without an end")
        line, _, self._held = self._held.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise MessageError("a line that is no JSON") from None
        if not isinstance(message, dict):
            raise MessageError("a line that is no object")
        return message


def _ready(descriptor: int, until: float, *, write: bool = False) -> bool:
    """Whether a descriptor can be read, or written to, before a moment of the monotonic clock."""
    poll = select.poll()  # select itself takes descriptors below 1024 only
    poll.register(descriptor, select.POLLOUT if write else select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))
