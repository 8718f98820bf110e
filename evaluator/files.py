"""Files: read within a bound, written whole or not at all, and what killed writers left behind."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# A temporary file is written within seconds; one this much older than a file written just now, by
# the same file system's clock, belongs to a process that is gone.
_DEAD_AFTER_SECONDS = 3600.0


def natural(name: str) -> tuple[tuple[int | str, ...], str]:
    """What names are sorted by so that epoch-2 stands before epoch-10: numbers by their value."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(each) if i % 2 else each for i, each in enumerate(parts)), name


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


def file_sha256(path: Path) -> str:
    """SHA-256 of a regular file, in hexadecimal. Raises OSError as `open_regular` does."""
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


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
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise NotRegularError(number, f"{kind_of(mode)}, not a file", str(path))


#: What the temporary files of this module are called, in a folder where all are ours.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.part(\.\w+)?")


def temporaries_of(beginnings: str) -> str:
    """The pattern of temporary names of the files whose names' first 80 signs match a pattern."""
    return TEMPORARY.pattern.replace(".+", f"(?:{beginnings})", 1)


@contextmanager
def whole_file(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` when the block ends without an error.

    A link stays, and what it points to is replaced. A device or a pipe (``/dev/stdout``) is
    written to and never replaced. Not so without ``follow``, for names that no user gave: whatever
    has the name is replaced. Raises OSError, which names ``path``.
    """
    if follow and path.exists() and not path.is_file():
        with _named(path), path.open("wb") as file:
            yield file
        return
    with whole_path(path, follow=follow) as temporary, temporary.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_path(path: Path, *, follow: bool = False) -> Iterator[Path]:
    """A name beside ``path``, of its suffix, for what writes by name; the file or folder of that
    name takes the place of ``path`` when the block ends without an error. Raises OSError, which
    names ``path``.
    """
    target = path.resolve() if follow else path
    name = f".{target.name[:80]}.{secrets.token_hex(4)}.part{target.suffix[:20]}"
    temporary = target.with_name(name)
    try:
        with _named(path, instead_of=temporary):
            yield temporary
            temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file, text as UTF-8, whole or not at all; a link of that name is replaced.

    Raises OSError, which names ``path``.
    """
    with whole_file(path, follow=False) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


@contextmanager
def _named(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Lets an OSError name a path: a write that fails, on a full disk say, knows no name."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def alone_in(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """A folder for this process alone, as far as others ask here too; a kill frees it.

    Raises BlockingIOError where another has it and ``wait`` is False. Where a file system has no
    locks, and on Windows, which has none for folders, two may meet.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        os.close(held)


def remove_leftovers(folder: Path, pattern: re.Pattern[str], *, now: float) -> list[Path]:
    """Removes files of ``folder`` whose whole name matches and that are over an hour older than
    ``now``, the time of a file written just now; returns them.

    A file that cannot be removed is left, and so is a folder that cannot be listed: cleaning up is
    no reason for a command to fail.
    """
    removed = []
    try:
        found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    except OSError:
        return []
    for path in found:
        try:
            # Of the name itself: what a link points to was not written here.
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and now - status.st_mtime > _DEAD_AFTER_SECONDS:
                path.unlink()
                removed.append(path)
        except OSError:
            continue
    return removed


def remove_own(path: Path, pattern: re.Pattern[str]) -> bool:
    """Removes a file whose whole name matches, and says whether it did.

    The name may come from a file that anyone wrote: a link, a folder or another name stays, and so
    does what cannot be removed.
    """
    try:
        is_own = pattern.fullmatch(path.name) is not None and stat.S_ISREG(path.lstat().st_mode)
        if is_own:
            path.unlink()
    except OSError:
        return False
    return is_own
