"""Small files that strangers may have written, read within a bound: regular ones only, whole."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


class NotRegularError(OSError):
    """What lies at a path is a folder, a FIFO, a socket or a device, not a file."""


class TooLargeError(OSError):
    """A file holds more bytes than it may have."""


def read_bounded(path: Path, limit: int) -> bytes:
    """All bytes of a regular file of at most ``limit`` bytes; links are followed.

    Never waits: a FIFO is opened without a writer and told from a file before it is read. Raises
    FileNotFoundError, NotRegularError, TooLargeError or another OSError; each has a readable
    ``strerror`` and the path as its ``filename``.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        try:
            # What is asked for is allocated: no more than the file says, which is 0 of /proc's.
            size = min(os.fstat(file.fileno()).st_size, limit)
            data = file.read(size + 1)
            if len(data) > size:
                # One more than allowed: a file may grow after its size was read.
                data += file.read(limit + 1 - len(data))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    if len(data) > limit:
        raise TooLargeError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))
    return data


def open_regular(path: Path) -> int:
    """A descriptor that reads a regular file, to be closed by the caller; links are followed.

    Raises FileNotFoundError, NotRegularError or another OSError, without waiting.
    """
    # Told before it is opened too: opening a device may do something.
    _check_regular(path, path.stat().st_mode)
    # Without O_NONBLOCK, opening a FIFO waits for a writer; a terminal must not become ours.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_regular(path, os.fstat(handle).st_mode)
    except BaseException:
        os.close(handle)
        raise
    return handle


#: What a path may lead to besides a file.
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def kind_of(mode: int) -> str:
    """What a ``st_mode`` is of, in words: "a file", "a FIFO"."""
    return "a file" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise NotRegularError(errno.EISDIR, "a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        raise NotRegularError(errno.EINVAL, f"{kind_of(mode)}, not a file", str(path))
