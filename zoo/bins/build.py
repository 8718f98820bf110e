"""From pairs of names to a bin: the images read, checked, and written with the pairs file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import (
    Pair,
    check_sidecar,
    read_pairs_csv,
    sidecar_path,
    write_sidecar,
)
from evaluator.bins.verification_set import SUFFIXES, check_not_hdf5, write_bin
from evaluator.errors import InputError
from evaluator.files import file_sha256
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.png import png_bytes
from training.data.convert.convert import in_order

Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Built:
    """What was written: file and its SHA-256, pairs, genuine ones, distinct images, people."""

    path: Path
    sha256: str
    pairs: int
    genuine: int
    images: int
    people: int | None


def image_names(pairs: Sequence[Pair]) -> list[str]:
    """The distinct images of the pairs, in the order they first appear."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.left, pair.right)))


def read_images(
    names: Sequence[str], read: Read, *, progress: Callable[[int], None] | None = None
) -> dict[str, bytes]:
    """The images' bytes by name, each decoded once to know that it is whole.

    Raises InputError for one that is not, by name; OSError.
    """

    def checked(name: str) -> bytes:
        data = read(name)
        try:
            decode_image(data)
        except DecodeError as error:
            raise InputError(f"{name}: the image {error}; remove it or get it again") from None
        return data

    return dict(zip(names, in_order(checked, names, progress), strict=True))


def resized(data: bytes, side: int) -> bytes:
    """An image as a PNG of ``side`` x ``side`` pixels; its very bytes if it is of that size."""
    pixels = decode_image(data)
    if pixels.shape[:2] == (side, side):
        return data
    return png_bytes(decode_image(data, size=(side, side)))


def write_pairs(out: Path, pairs: Sequence[Pair], images: Mapping[str, bytes]) -> Built:
    """Writes the bin, and beside it the pairs file.

    Raises InputError for a pair with equal bytes on both sides, whose score says nothing.
    """
    for pair in pairs:
        if images[pair.left] == images[pair.right]:
            raise InputError(
                f"{pair.left} and {pair.right}: both sides of a pair, and the same image byte for"
                " byte; remove one of them"
            )
    slots = [images[name] for pair in pairs for name in (pair.left, pair.right)]
    genuine = np.array([pair.genuine for pair in pairs])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bin(out, slots, genuine)
    write_sidecar(sidecar_path(out), pairs)
    people = {name for pair in pairs for name in pair.people or ()}
    return Built(
        out,
        file_sha256(out),
        len(pairs),
        int(genuine.sum()),
        len(set(slots)),
        len(people) or None,
    )


def named_pairs(source: Path, genuine: NDArray[np.bool_]) -> list[Pair]:
    """The pairs of a bin as the file beside it names them; none where there is none. Raises
    BinError for a file that is not the bin's, OSError.
    """
    beside = sidecar_path(source)
    pairs = read_pairs_csv(beside) if beside.exists() else []
    if pairs:
        check_sidecar(beside, pairs, genuine)
    return pairs


def check_new(out: Path, *, force: bool) -> None:
    """Raises InputError for an output that exists without ``force``, or of an unknown suffix."""
    check_not_hdf5(out)
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: expected a name ending in {', '.join(SUFFIXES)}")
    if out.is_dir() or (out.exists() and not force):
        raise InputError(f"{out}: is already there; name another file, or pass --force to replace")
