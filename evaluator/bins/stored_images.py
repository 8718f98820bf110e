"""The distinct images of a bin, in memory or left in the bin's file until their batch comes."""

from __future__ import annotations

import hashlib
import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import VerificationSet, distinct_images
from evaluator.errors import BinError, cause_of

# Between two images of a bin lie some bytes of its layout, or a repetition's number.
_BETWEEN = 4096


class _OpenFile:
    """A file that is closed when nothing holds it any more."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self.number)


class _Place(NamedTuple):
    """Where an image lies."""

    file: _OpenFile
    start: int
    length: int


class DistinctImages(Sequence[bytes]):
    """Encoded images, each read from its file when it is asked for, and once each time.

    ``keys`` are their digests, equal for equal bytes. What is read is held against its digest:
    BinError, which names the file, where it was changed meanwhile.
    """

    def __init__(
        self,
        held: Sequence[bytes | _Place],
        keys: Sequence[bytes],
        name: str,
    ) -> None:
        """``held`` are the bytes, or where they lie; ``name`` is the file's in messages."""
        self.keys = keys
        self._held, self._name = held, name

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> DistinctImages: ...
    def __getitem__(self, i: int | slice) -> bytes | DistinctImages:
        if isinstance(i, slice):
            return self.only(range(len(self))[i])
        held = self._held[i]
        if isinstance(held, bytes):
            return held
        try:
            data = os.pread(held.file.number, held.length, held.start)
        except OSError as error:
            raise BinError(f"{self._name}: cannot be read any more: {cause_of(error)}") from None
        if _key(data) != self.keys[i]:
            raise BinError(
                f"{self._name}: was changed while it was evaluated, so nothing is stored of it; "
                "repeat the command when the file is complete"
            )
        return data

    def only(self, numbers: Sequence[int]) -> DistinctImages:
        """Those images, in that order."""
        return DistinctImages(
            [self._held[i] for i in numbers],
            [self.keys[i] for i in numbers],
            self._name,
        )


class FileImages(Sequence[bytes]):
    """All slots of a bin, as `VerificationSet.images`; the bytes stay in the bin's file.

    The file is held open, so that one put in its place changes nothing. Raises as DistinctImages.
    """

    def __init__(self, distinct: DistinctImages, slots: NDArray[np.intp]) -> None:
        """``slots`` numbers the distinct image in each slot."""
        self.distinct, self.slots = distinct, slots

    def __len__(self) -> int:
        return len(self.slots)

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[bytes, ...]: ...
    def __getitem__(self, i: int | slice) -> bytes | tuple[bytes, ...]:
        if isinstance(i, slice):
            return tuple(self.distinct[number] for number in self.slots[i].tolist())
        return self.distinct[int(self.slots[i])]


def left_in_file(verification_set: VerificationSet) -> VerificationSet:
    """The set with its images in the file that they were read from, as far as they lie there.

    An image that a layout stores in pieces or escaped stays in memory; so do all of a pipe.
    """
    path = verification_set.path
    if not hasattr(os, "pread") or not path.is_file() or path.stat().st_size == 0:
        return verification_set
    images, slots = distinct_images(verification_set.images)
    file = _OpenFile(path)
    held: list[bytes | _Place] = []
    with mmap.mmap(file.number, 0, access=mmap.ACCESS_READ) as content:
        end = 0
        for image in images:
            at = content.find(image, end, end + len(image) + _BETWEEN)
            held.append(image if at < 0 else _Place(file, at, len(image)))
            end = end if at < 0 else at + len(image)
    distinct = DistinctImages(held, list(map(_key, images)), str(path))
    return replace(verification_set, images=FileImages(distinct, slots))


def distinct_of(verification_set: VerificationSet) -> tuple[DistinctImages, NDArray[np.intp]]:
    """The distinct images of a set in the order they first appear, and each slot's number there."""
    found = verification_set.images
    if isinstance(found, FileImages):
        return found.distinct, found.slots
    images, slots = distinct_images(found)
    return DistinctImages(images, list(map(_key, images)), str(verification_set.path)), slots


def slot_digests(images: DistinctImages, slots: NDArray[np.intp]) -> NDArray[np.int64]:
    """A number of the bytes in each slot, as ``slots`` numbers these images: the same in all bins,
    whatever holds them.
    """
    starts: NDArray[np.int64] = np.frombuffer(b"".join(images.keys), "<i8").reshape(-1, 2)[:, 0]
    return starts[slots]


def _key(image: bytes) -> bytes:
    return hashlib.blake2b(image, digest_size=16).digest()
