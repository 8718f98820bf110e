"""Files from the network: whole, checked, within bounds, and with a bar on stderr."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from evaluator.bins.containers import BAD_HDF5, ZIP_START
from evaluator.errors import cause_of
from evaluator.models.formats import model_format
from evaluator.models.identity import model_sha256
from zoo.entries.transfer import Answer, DownloadError, answered
from zoo.terminal.words import shows_progress

#: Bytes that are taken of a file whose server does not say how long it is.
LARGEST_UNDECLARED = 4 * 2**30
# What a download leaves free on the disk.
_SPARE = 64 * 2**20


def download(url: str, target: Path, sha256: str | None, *, timeout: float = 30.0) -> str:
    """Brings a model to ``target`` unless it is there, and returns its SHA-256.

    Nothing is left at ``target`` but a whole file of that hash; without one, a file that is a
    model by its content and as long as its server said. With a hash, what came of a download that
    broke off stays as ``NAME.part`` and is gone on with; without, nothing stays. ``timeout`` is how
    many seconds the server may be silent. Raises DownloadError, or OSError.
    """
    if target.exists():
        return _there_already(target, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _part(target, resumable=sha256 is not None) as (part, file):
            digest = _filled(url, file, target, sha256, timeout)
            if sha256 not in (None, digest):
                part.unlink(missing_ok=True)
                raise DownloadError(
                    f"{url}: what came has another SHA-256 than the {sha256} expected, and was "
                    "removed: the file was changed, or damaged on the way"
                )
            _check_whole(url, part)
            part.chmod(0o644)
            part.replace(target)
    except OSError as error:
        # A write that fails, on a full disk say, knows no name of its own.
        raise OSError(error.errno, error.strerror, error.filename or str(target)) from None
    return digest


def _there_already(target: Path, sha256: str | None) -> str:
    if not (target.is_file() or target.is_dir()):
        raise DownloadError(f"{target}: is there already, and is no file; move it away")
    found = model_sha256(target)
    if sha256 not in (None, found):
        raise DownloadError(
            f"{target}: is there already, with SHA-256 {found} instead of {sha256}; "
            "move it away, then pull again"
        )
    return found


@contextmanager
def _part(target: Path, *, resumable: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """The file that a download is written to, for this process alone, at its end.

    One name for what can be gone on with, so that there is one such file at most; else a name of
    its own, which is removed whatever happens.
    """
    own = "" if resumable else f".{secrets.token_hex(4)}"
    part = target.with_name(f"{target.name}{own}.part")
    # Never through a link, nor into a pipe: neither was made here.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(part, flags | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise DownloadError(f"{part}: cannot be written to ({error.strerror}); remove it") from None
    status = os.fstat(handle)
    # A second name of it may be somebody's file.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(handle)
        raise DownloadError(f"{part}: is no file that a download left; remove it")
    with os.fdopen(handle, "r+b") as file:
        _lock(file, part)
        try:
            file.seek(0, os.SEEK_END)
            yield part, file
        finally:
            # Still this one's, as it is locked. An empty one is nothing to go on with.
            if part.is_file() and not (resumable and part.stat().st_size):
                part.unlink(missing_ok=True)


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows; there two downloads of one file can meet
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DownloadError(f"{part}: another process is downloading it; wait for that") from None


def _filled(url: str, file: BinaryIO, target: Path, sha256: str | None, timeout: float) -> str:
    """Writes the rest of what is at the address, and returns the SHA-256 of the whole."""
    have = file.tell()
    with answered(url, start=have, trusted=sha256 is not None, timeout=timeout) as answer:
        if answer.start != have:  # the server has no parts, or what was here is not of this file
            file.truncate(0)
            file.seek(0)
        digest = hashlib.sha256()
        for block in _blocks(file, answer.start):
            digest.update(block)
        limit = _limit(url, target, answer)
        with _bar(target.name, answer) as came:
            for block in answer.blocks():
                limit -= len(block)
                if limit < 0:
                    raise DownloadError(
                        f"{url}: sends more than the {LARGEST_UNDECLARED:,} bytes that are taken "
                        "of a file whose length is not declared, or than the disk has room for"
                    )
                file.write(block)
                digest.update(block)
                came(len(block))
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first bytes of a file, which is left behind them."""
    file.seek(0)
    while size > 0 and (block := file.read(min(1 << 20, size))):
        size -= len(block)
        yield block


def _limit(url: str, target: Path, answer: Answer) -> int:
    """How many bytes are taken. Raises DownloadError where the disk has no room for them."""
    free = max(0, shutil.disk_usage(target.parent).free - _SPARE)
    if answer.length is None:
        return min(free, LARGEST_UNDECLARED)
    if answer.length > free:
        raise DownloadError(
            f"{url}: sends {answer.length:,} bytes, and {target.parent} has room for {free:,}"
        )
    return answer.length


def _check_whole(url: str, path: Path) -> None:
    """Removes a file that is no model, or only the beginning of one, and raises DownloadError.

    Of a zip and of HDF5, the file itself says where it ends.
    """
    cause = "it is no model file (a page to log in?)"
    # Read by name: what a model is called says nothing here.
    found = model_format(path) if path.stat().st_size else None
    if found is not None:
        cause = _ENDS[found](path) if found in _ENDS else ""
    elif _starts_as_zip(path) and not zipfile.is_zipfile(path):
        cause = "it is damaged or truncated: a zip without its end"
    if cause:
        path.unlink()
        raise DownloadError(f"{url}: what came was removed: {cause}")


def _starts_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == ZIP_START


def _hdf5_end(path: Path) -> str:
    import h5py

    try:
        # By an open file: HDF5 itself would wait for the lock that the download holds.
        with path.open("rb") as file, h5py.File(file, "r"):
            return ""
    except BAD_HDF5 as error:
        return f"it is damaged or truncated: {cause_of(error)}"


def _zip_end(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.header_offset + info.compress_size > archive.start_dir:
                return f"it is damaged or truncated: {info.filename!r} is not wholly in it"
    return ""


# By the format; others do not say where they end.
_ENDS: dict[str, Callable[[Path], str]] = {"keras-h5": _hdf5_end, "keras": _zip_end}


@contextmanager
def _bar(title: str, answer: Answer) -> Iterator[Callable[[int], None]]:
    """How far a download is, as a Rich bar, silent where stderr is no terminal: what adds bytes."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    total = None if answer.length is None else answer.start + answer.length
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not shows_progress(),
    ) as bar:
        task = bar.add_task(title, total=total, completed=answer.start)
        yield lambda count: bar.update(task, advance=count)
