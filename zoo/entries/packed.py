"""One file out of a zip that anyone may have made: by its name, bounded, written nowhere else."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import cause_of
from evaluator.npz import BAD_ZIP
from zoo.entries.transfer import DownloadError

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
