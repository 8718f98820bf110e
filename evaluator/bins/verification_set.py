"""Verification bins: read without running what is inside, checked, and written.

A bin is a pickle of (images, labels): 2n encoded images and n labels; pair i is images 2i and
2i + 1, and its label says whether both show the same person. The containers of `containers.py`
hold the same without pickle and are read alike.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluator.bins.containers import (
    HDF5_START,
    ZIP_START,
    container_kind,
    npz_bytes,
    read_container,
)
from evaluator.bins.pickle_reader import load_plain
from evaluator.bins.pickle_values import PickledArray, PickleError, shown
from evaluator.bins.recipe import Recipe, read_recipe
from evaluator.bins.wrapped import unwrapped, wrapped_start, wrapping
from evaluator.errors import BinError, plain_name
from evaluator.files import whole_file
from evaluator.images.image_format import FORMATS, image_format

# Protocol 4 is the default of Python 3.8 to 3.13 and keeps bytes as bytes. Fixed, because a bin's
# SHA-256 is its identity.
WRITTEN_PROTOCOL = 4

# How a pickle of two lists begins: protocol 2 and later; then, without a header, a tuple or list of
# lists, or of NumPy arrays.
_PICKLE_START = re.compile(rb"\x80[\x00-\x05]|\(\(?(?:l|\]|cnumpy)|\](?:[qr(]|p\d|cnumpy|\])")

# What a file is written as, by its name's end.
SUFFIXES = {".bin": "pickle", ".npz": "npz"}

_OTHER_FILES = (
    (HDF5_START, "an HDF5 file, perhaps a Keras model; put models before --bins"),
    (ZIP_START, "a zip archive, perhaps a .keras model; put models before --bins"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file with `git lfs pull`"),
)


@dataclass(frozen=True, eq=False)
class VerificationSet:
    """Pairs of encoded images and whether each is genuine.

    `images` are the 2n files' bytes as they are in the bin, pair i being `images[2 * i]` and
    `images[2 * i + 1]`: a tuple in which slots with equal bytes share one object, or, in
    `zoo eval`, a sequence that reads them from the file when they are asked for. `genuine` is bool
    of shape (n,), read-only. `sha256` is the file's, in hex. `derived` says of which bin it was
    made and how, where a recipe stands beside it.
    """

    name: str
    path: Path
    sha256: str
    images: Sequence[bytes]
    genuine: NDArray[np.bool_]
    derived: Recipe | None = None

    @property
    def pairs(self) -> int:
        return len(self.genuine)

    @property
    def genuine_pairs(self) -> int:
        return int(np.count_nonzero(self.genuine))

    @property
    def impostor_pairs(self) -> int:
        return self.pairs - self.genuine_pairs


@dataclass(frozen=True, eq=False)
class StoredBin:
    """A bin as it lies in its file, slots that are no image included.

    `images` are 2n bytes objects as in a VerificationSet; `faults` says, for each slot that does
    not begin as an image, what it is instead, as the end of a sentence ("is ..."). `layout` is
    "pickle", "npz", "hdf5", or what a pickle is wrapped in: "npy", "xz" or "gzip"; `size` is the
    file's length in bytes.
    """

    path: Path
    sha256: str
    layout: str
    size: int
    images: tuple[bytes, ...]
    genuine: NDArray[np.bool_]
    faults: dict[int, str]


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a bin does, packed or not. False for a directory; a missing file is
    an OSError.
    """
    return not path.is_dir() and _begins_as_pickle(_first_bytes(path))


def _begins_as_pickle(start: bytes) -> bool:
    return _PICKLE_START.match(wrapped_start(start)) is not None


def read_bin(path: str | Path) -> VerificationSet:
    """The bin at `path`, its images still encoded and each known by its first bytes as an image.

    Every layout that insightface, its forks and Keras_insightface have written is read: Python-2
    and Python-3 pickles of protocol 0 to 5; images as bytes, bytearrays, NumPy bytes or uint8
    arrays of shape (N,) or (N, 1); labels as bools or 0 and 1, also 0.0 and 1.0, in a list or an
    array. What `numpy.save` wrote, xz and gzip are opened within bounds.

    Raises `BinError` naming file, index and cause; `OSError` when the file cannot be read.
    """
    path = Path(path)
    stored = read_stored(path)
    for slot, cause in stored.faults.items():
        raise _bad_image(path, slot, cause)
    derived = read_recipe(path, stored.sha256)
    return VerificationSet(
        plain_name(path.stem), path, stored.sha256, stored.images, stored.genuine, derived
    )


def read_stored(path: Path) -> StoredBin:
    """The bin at `path` with what is wrong with its images noted and not raised.

    Raises `BinError` for what makes the file no list of labelled pairs; `OSError`.
    """
    if path.is_fifo():
        # A pipe gives its bytes once, so it is not looked at before: a pickle alone comes by pipe.
        kind, data = None, path.read_bytes()
        _check_start(path, data[:512])
    else:
        kind = container_kind(path)
        if kind is None:
            # By its first bytes, so that a model of 1 GB is not read.
            _check_start(path, _first_bytes(path))
        data = _read_unchanged(path)
    size = len(data)
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(hashlib.sha256, data)  # which needs no lock of Python's
        images: Sequence[object]
        labels: Sequence[object]
        if kind is None:
            inside = unwrapped(path, data)
            if inside is not data:
                _check_start(path, inside[:512])
            images, labels = _unpickled(path, inside)
        else:
            images, labels = read_container(path, data, kind)
        sha256 = digest.result().hexdigest()
    layout = kind or wrapping(data) or "pickle"
    del data, digest  # the images are copies by now
    _check_counts(path, images, labels)
    encoded, faults = _encoded_images(images)
    genuine = _genuine(path, labels)
    return StoredBin(path, sha256, layout, size, tuple(encoded), genuine, faults)


def write_bin(
    path: str | Path, images: Sequence[bytes | NDArray[np.uint8]], genuine: ArrayLike
) -> None:
    """Write a bin: a container where the name ends in `.npz`, else a pickle.

    The pickle is one that `pickle.load(f, encoding="bytes")` reads as (list of bytes, list of
    bool). `images` are 2n encoded images, or pixels, uint8 of shape (height, width, 3) in RGB or
    (height, width), which become PNGs; `genuine` n labels, bool or 0 and 1. The same input gives
    the same bytes; equal images are stored once. The file appears whole or not at all.

    Raises `BinError` where `read_bin` would, and for the name of an HDF5 file, before anything is
    written.
    """
    path = Path(path)
    check_not_hdf5(path)
    images = [
        _png(path, i, each) if isinstance(each, np.ndarray) else each
        for i, each in enumerate(images)
    ]
    labels = np.asarray(genuine).tolist()
    labels = labels if isinstance(labels, list) else [labels]
    _check_counts(path, images, labels)
    encoded, faults = _encoded_images(images)
    for slot, cause in faults.items():
        raise _bad_image(path, slot, cause)
    checked = _genuine(path, labels)
    with whole_file(path) as file:
        if SUFFIXES.get(path.suffix.lower()) == "npz":
            file.write(npz_bytes(*distinct_images(encoded), checked))
        else:
            pickle.dump((encoded, checked.tolist()), file, protocol=WRITTEN_PROTOCOL)


def check_not_hdf5(path: Path) -> None:
    """Raises `BinError` for a name that ends as HDF5, which is read only."""
    if path.suffix.lower() in (".h5", ".hdf5"):
        raise BinError(
            f"{path}: bins are no longer written as HDF5; name it .npz, which is no pickle either"
        )


def _png(path: Path, slot: int, pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as a PNG, which keeps every one of them. Raises `BinError` for another array."""
    from evaluator.images.png import png_bytes

    color = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (color or pixels.ndim == 2) or not pixels.size:
        raise BinError(
            f"{path}: image {slot} (pair {slot // 2}) is an array of {pixels.dtype} and shape"
            f" {pixels.shape}; expected uint8 of shape (height, width, 3) or (height, width)"
        )
    return png_bytes(pixels)


def distinct_images(images: Sequence[bytes]) -> tuple[list[bytes], NDArray[np.intp]]:
    """The distinct images in the order they first appear, and for each slot its index in them.

    So `[distinct[i] for i in index]` is `images` again; index has shape (len(images),).
    """
    places: dict[bytes, int] = {}
    index = [places.setdefault(image, len(places)) for image in images]
    return list(places), np.asarray(index, dtype=np.intp)


# ---- What the file is ----------------------------------------------------------------------------


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _read_unchanged(path: Path) -> bytes:
    """The file's bytes. Raises BinError where it was written to meanwhile: they may be of both."""
    before = path.stat()
    data = path.read_bytes()
    after = path.stat()
    if (before.st_ino, before.st_mtime_ns) != (after.st_ino, after.st_mtime_ns):
        raise BinError(f"{path}: was changed while it was read; repeat when the file is complete")
    return data


def _check_start(path: Path, start: bytes) -> None:
    """Refuse a file that is no pickle by its first bytes."""
    if not start:
        raise BinError(f"{path}: is empty (0 bytes); get the file again")
    if _begins_as_pickle(start) or wrapping(start) is not None:  # which says more when unwrapped
        return
    raise BinError(f"{path}: is no bin (a pickle of images and labels): {_looks_like(start)}")


def _looks_like(start: bytes) -> str:
    for signature, description in _OTHER_FILES:
        if start.startswith(signature):
            return f"it looks like {description}"
    if image := image_format(start):
        return f"it looks like a {image} image; `zoo bins make` builds a bin from images"
    if start[:1] == b"\x80":
        return f"it declares pickle protocol {start[1:2].hex()}, and 5 is the highest known"
    if start[:200].isascii() and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start[:200]):
        return f"it looks like text, starting with {shown(start[:30].decode('ascii'))}"
    return f"it starts with {start[:8]!r}"


# ---- What it holds -------------------------------------------------------------------------------


def _unpickled(path: Path, data: bytes) -> tuple[list[object], list[object]]:
    try:
        value = load_plain(data)
    except PickleError as error:
        raise BinError(f"{path}: {error}") from error
    match _elements(value):
        case [images, labels]:
            return _listed(path, "images", images), _listed(path, "labels", labels)
    raise BinError(
        f"{path}: holds {_described(value)}, where a bin holds two lists, (images, labels)"
    )


def _elements(value: object) -> list[object] | None:
    """The elements of a list, tuple or array of one dimension that matters; None for others."""
    match value:
        case list() | tuple():
            return list(value)
        case PickledArray(content=list() as content) if _is_flat(value):
            return list(content)
        case PickledArray(dtype=dtype, content=bytes() as content) if dtype and _is_flat(value):
            numbers: list[object] = np.frombuffer(content, dtype=dtype).tolist() if content else []
            return numbers
    return None


def _listed(path: Path, part: str, value: object) -> list[object]:
    elements = _elements(value)
    if elements is None:
        raise BinError(f"{path}: its {part} are {_described(value)}, not a list")
    return elements


def _is_flat(array: PickledArray) -> bool:
    return sum(size != 1 for size in array.shape) <= 1


def _check_counts(path: Path, images: Sequence[object], labels: Sequence[object]) -> None:
    if not images:
        raise BinError(f"{path}: holds no images and so no pairs")
    if len(images) % 2:
        raise BinError(
            f"{path}: holds {len(images)} images, an odd number; a bin holds two for each pair"
        )
    if len(labels) * 2 != len(images):
        raise BinError(
            f"{path}: holds {len(images)} images, which are {len(images) // 2} pairs, but"
            f" {len(labels)} labels; a bin holds one for each pair"
        )


def _encoded_images(images: Sequence[object]) -> tuple[list[bytes], dict[int, str]]:
    """The images' bytes, empty where there are none, and what is wrong by slot."""
    known: dict[bytes, bytes] = {}
    faults: dict[int, str] = {}
    encoded = []
    for slot, image in enumerate(images):
        data = _image_bytes(image)
        if data is None:
            faults[slot] = f"is {_described(image)}, not the bytes of an image file"
            data = b""
        elif data not in known and image_format(data) is None:
            start = f"it starts with {data[:8]!r}" if data else "it is empty"
            faults[slot] = f"is no {FORMATS}: {start}"
        else:
            data = known.setdefault(data, data)
        encoded.append(data)
    return encoded, faults


def _image_bytes(image: object) -> bytes | None:
    match image:
        case bytes():
            return image
        case PickledArray(dtype="|u1", content=bytes() as content) if _is_flat(image):
            return content
    return None


def _bad_image(path: Path, slot: int, cause: str) -> BinError:
    return BinError(
        f"{path}: image {slot} (pair {slot // 2}) {cause}; leave that pair out or get the file"
        " again"
    )


def _genuine(path: Path, labels: Sequence[object]) -> NDArray[np.bool_]:
    for pair, label in enumerate(labels):
        if not isinstance(label, int | float) or label not in (0, 1):
            raise BinError(
                f"{path}: label {pair} is {_described(label)}; expected True or 1 for a genuine"
                " pair, False or 0 for an impostor pair"
            )
    genuine = np.array(labels, dtype=np.bool_)
    genuine.flags.writeable = False
    return genuine


def _described(value: object) -> str:
    match value:
        case bool() | int() | float() | None:
            return shown(str(value)).strip("'\"")
        case str() | bytes():
            kind = "the text" if isinstance(value, str) else "the bytes"
            return f"{kind} {shown(value)}"
        case list() | tuple():
            return f"a {type(value).__name__} of {len(value)} values"
        case PickledArray(shape=shape, dtype=dtype):
            kind = dtype.lstrip("|<>=") or "unknown type"
            return f"an array of {kind} and shape {shown(shape)}"
    return f"a {type(value).__name__}"
