"""Files from the network: whole, checked, within bounds, and with a bar on stderr; of a zip, which
anyone may have made, the one file that is wanted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from evaluator.bins.containers import BAD_HDF5, ZIP_START
from evaluator.errors import cause_of
from evaluator.models.formats import model_format
from evaluator.models.identity import model_sha256
from evaluator.models.torch_weights.read import weights_kind
from evaluator.npz import BAD_ZIP
from zoo.entries.part import Part, opened_part
from zoo.entries.transfer import Answer, DownloadError, answered

#: Bytes that are taken of a file whose server does not say how long it is.
LARGEST_UNDECLARED = 4 * 2**30
# What a download leaves free on the disk.
_SPARE = 64 * 2**20


def download(
    url: str,
    target: Path,
    sha256: str | None,
    *,
    packed: Packed | None = None,
    timeout: float = 30.0,
) -> str:
    """Brings a model to ``target`` unless it is there, and returns its SHA-256.

    With ``packed``, the address is a zip's, and the model a file in it. Nothing is left at
    ``target`` but a whole file of that hash; without one, a file that is a model by its content and
    as long as its server said. Where the hash of what the server sends is known, what came of a
    download that broke off stays as ``NAME.part`` and is gone on with; else nothing stays.
    ``timeout`` is how many seconds the server may be silent. Raises DownloadError, or OSError.
    """
    if target.exists():
        return _there_already(target, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    wanted = sha256 if packed is None else packed.sha256
    try:
        with opened_part(target, resumable=wanted is not None) as part:
            if target.exists():  # another process brought it meanwhile
                part.remove()
                return _there_already(target, sha256)
            try:
                return _brought(url, part, sha256, packed, timeout)
            except _RefusedError:
                part.remove()
                raise
    except OSError as error:
        # A write that fails, on a full disk say, knows no name of its own.
        raise OSError(error.errno, error.strerror, error.filename or str(target)) from None


class _RefusedError(DownloadError):
    """What came is whole, and is not what was wanted."""


def _brought(
    url: str, part: Part, sha256: str | None, packed: Packed | None, timeout: float
) -> str:
    """Fills a part, checks it, and puts in place what it holds."""
    wanted = sha256 if packed is None else packed.sha256
    digest, here = _filled(url, part, timeout, trusted=wanted is not None)
    if wanted not in (None, digest):
        raise _RefusedError(
            f"{url}: what came has another SHA-256 than the {wanted} expected, {digest}, and was "
            f"removed: {_changed(part.path, here)}"
        )
    if packed is None:
        _check_whole(url, part.path)
        part.put_in_place()
        return digest
    with opened_part(part.target, resumable=False) as file:
        try:
            digest = _unpacked(part.path, packed.member, file)
        except PackedError as error:
            raise _RefusedError(f"{url}: what came was removed: {error}") from None
        if sha256 not in (None, digest):
            raise _RefusedError(
                f"{url}: {packed.member} in it has another SHA-256 than the {sha256} expected, "
                f"{digest}, and was removed"
            )
        _check_whole(url, file.path)
        file.put_in_place()
    part.remove()
    return digest


def _changed(path: Path, here: int) -> str:
    """What may have happened to a file of which so many bytes were ``here`` already."""
    with path.open("rb") as file:
        if file.read(512).lstrip()[:1] == b"<":
            return "it is a web page, and no model file (a page to log in?)"
    if here:
        return f"the {here:,} bytes that were here may be of another version; pull again"
    return "the file was changed, or damaged on the way"


def _unpacked(archive: Path, member: str, part: Part) -> str:
    """Writes a file out of a zip, and returns its SHA-256."""
    digest = hashlib.sha256()
    folder = part.target.parent
    room = _room(folder)
    for block in member_blocks(archive, member):
        room -= len(block)
        if room < 0:
            raise DownloadError(f"{folder} has no room for {member}, out of {archive}")
        part.file.write(block)
        digest.update(block)
    part.file.flush()
    return digest.hexdigest()


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


def _filled(url: str, part: Part, timeout: float, *, trusted: bool) -> tuple[str, int]:
    """Writes the rest of what is at the address; the SHA-256 of the whole, and where that began."""
    tag = part.tag_of(url)
    file = part.file
    from zoo.terminal.progress import Progress

    have = file.tell()
    with answered(url, start=have, tag=tag, trusted=trusted, timeout=timeout) as answer:
        if answer.start == 0:  # also of no parts, or what was here is not of this file
            part.begin(url, answer.tag if trusted else None)
        digest = hashlib.sha256()
        for block in _blocks(file, answer.start):
            digest.update(block)
        limit = _limit(url, part.target, answer)
        total = None if answer.length is None else answer.start + answer.length
        name = part.target.name
        with Progress(name, total, done=answer.start, of_bytes=True) as came:
            for block in answer.blocks():
                limit -= len(block)
                if limit < 0:
                    raise DownloadError(
                        f"{url}: sends more than the {LARGEST_UNDECLARED:,} bytes that are taken "
                        "of a file whose length is not declared, or than the disk has room for"
                    )
                file.write(block)
                digest.update(block)
                came.advance(len(block))
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), answer.start


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first bytes of a file, which is left behind them."""
    file.seek(0)
    while size > 0 and (block := file.read(min(1 << 20, size))):
        size -= len(block)
        yield block


def _limit(url: str, target: Path, answer: Answer) -> int:
    """How many bytes are taken. Raises DownloadError where the disk has no room for them."""
    free = _room(target.parent)
    if answer.length is None:
        return min(free, LARGEST_UNDECLARED)
    if answer.length > free:
        raise DownloadError(
            f"{url}: sends {answer.length:,} bytes, and {target.parent} has room for {free:,}"
        )
    return answer.length


def _room(folder: Path) -> int:
    return max(0, shutil.disk_usage(folder).free - _SPARE)


def _check_whole(url: str, path: Path) -> None:
    """Raises DownloadError for a file that is no model, or only the beginning of one.

    Of a zip and of HDF5, the file itself says where it ends.
    """
    cause = "it is no model file (a page to log in?)"
    # Read by name: what a model is called says nothing here.
    found = model_format(path) if path.stat().st_size else None
    if found is not None:
        cause = _ENDS[found](path) if found in _ENDS else ""
    elif _starts_as_zip(path) and not zipfile.is_zipfile(path):
        cause = "it is damaged or truncated: a zip without its end"
    elif path.stat().st_size and weights_kind(path) is not None:  # for `zoo export`
        cause = ""
    if cause:
        raise _RefusedError(f"{url}: what came was removed: {cause}")


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


# ---- Packed in a zip -----------------------------------------------------------------------------


# Trained weights hardly compress; deflate can make a thousand times the bytes.
_EXPANSION = 100
_ALLOWANCE = 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Packed:
    """The file called ``member`` in a zip of that SHA-256; None: not known."""

    member: str
    sha256: str | None


class PackedError(DownloadError):
    """A zip is not what was expected; the message is the cause alone."""


def member_blocks(archive: Path, member: str) -> Iterator[bytes]:
    """The bytes of the one file in a zip that is called ``member``, in whatever folder of it.

    Raises PackedError: for none of that name or several, an encrypted one, a link, one that unpacks
    to a hundred times its bytes, and for a zip that is damaged or holds more or less than it says.
    """
    came = 0
    try:
        with zipfile.ZipFile(archive) as zipped:
            info = _the_one(zipped, member)
            _check(info)
            with zipped.open(info) as file:
                while block := file.read(1 << 20):
                    came += len(block)
                    yield block
    except PackedError:  # which is a ValueError, as some of zipfile's are
        raise
    except BAD_ZIP as error:
        raise PackedError(f"the zip is damaged: {cause_of(error)}") from None
    if came != info.file_size:
        said = f"{member} is said to have {info.file_size:,} bytes, and has {came:,}"
        raise PackedError(f"the zip is damaged: {said}")


def _the_one(zipped: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    found = [
        info
        for info in zipped.infolist()
        if info.filename == member or info.filename.endswith(f"/{member}")
    ]
    if len(found) != 1:
        there = f"{len(found)} files" if found else "no file"
        raise PackedError(f"the zip has {there} called {member}, and one is expected")
    return found[0]


def _check(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # of Unix; 0 where none is stated
    cause = None
    if info.flag_bits & 1:
        cause = "is encrypted"
    elif kind not in (0, stat.S_IFREG):
        cause = "is a link, or no file at all"
    elif info.compress_type not in _METHODS:
        cause = f"is packed by method {info.compress_type}; stored and deflated are read"
    elif info.file_size > info.compress_size * _EXPANSION + _ALLOWANCE:
        cause = (
            f"is said to unpack from {info.compress_size:,} bytes to {info.file_size:,}, as no "
            "weights do"
        )
    if cause is not None:
        raise PackedError(f"{cause_of(info.filename)} in the zip {cause}")
