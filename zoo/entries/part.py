"""NAME.part: what has come of a download, for one process at a time, and of which file it is."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from evaluator.files import read_bounded
from zoo.entries.transfer import DownloadError

# A url and an ETag: servers refuse longer ones.
_NOTE_BYTES = 16_384


@dataclass(frozen=True)
class Part:
    """An open file beside ``target``, at its end, that is to become it."""

    target: Path
    path: Path
    file: BinaryIO

    @property
    def note(self) -> Path:
        """Where it is said of which file this is a part."""
        return self.path.with_name(f"{self.path.name}.etag")

    def begin(self, url: str, tag: str | None) -> None:
        """Empties the part, and notes that what follows is of the file with that ETag."""
        self.file.truncate(0)
        self.file.seek(0)
        self.note.unlink(missing_ok=True)
        if tag is not None:
            # Never through a link: "x" follows none.
            with self.note.open("x", encoding="utf-8") as note:
                note.write(f"{url}\n{tag}\n")

    def tag_of(self, url: str) -> str | None:
        """The ETag of what is here; None where its server gave none. Empties a part that is of
        another address.
        """
        try:
            at, tag, *_ = read_bounded(self.note, _NOTE_BYTES).decode("utf-8").split("\n")
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            at, tag = "", ""
        if at != url or not tag:
            self.begin(url, None)
            return None
        return tag

    def remove(self) -> None:
        """Takes away the part, and what is noted of it."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def put_in_place(self) -> None:
        """Makes the part the file."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.path.chmod(0o644)
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)


def part_path(target: Path) -> Path:
    """Where lies what has come of a file, and can be gone on with."""
    return target.with_name(f"{target.name}.part")


@contextmanager
def opened_part(target: Path, *, resumable: bool) -> Iterator[Part]:
    """The file that a download is written to, for this process alone.

    One name for what can be gone on with, so that there is one such file at most; else a name of
    its own, which is removed whatever happens. Raises DownloadError for what no download left.
    """
    own = "" if resumable else f".{secrets.token_hex(4)}"
    path = part_path(target.with_name(f"{target.name}{own}"))
    with os.fdopen(_descriptor(path), "r+b") as file:
        _lock(file, path)
        part = Part(target, path, file)
        try:
            file.seek(0, os.SEEK_END)
            yield part
        finally:
            with suppress(OSError):  # a full disk; what is on it stays
                file.flush()
            # Still this one's, as it is locked. An empty one is nothing to go on with.
            if path.is_file() and not (resumable and path.stat().st_size):
                part.remove()


def _descriptor(path: Path) -> int:
    # Never through a link, nor into a pipe: neither was made here.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise DownloadError(f"{path}: cannot be written to ({error.strerror}); remove it") from None
    status = os.fstat(handle)
    # A second name of it may be somebody's file.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(handle)
        raise DownloadError(f"{path}: is no file that a download left; remove it")
    return handle


def _lock(file: BinaryIO, path: Path) -> None:
    busy = DownloadError(f"{path}: another process is downloading it; wait for that")
    try:
        import fcntl
    except ImportError:  # Windows; there two downloads of one file can meet
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise busy from None
    # That process may have put it in place between the two steps: this is the finished file then.
    if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
        raise busy
