"""The images of a template set: hashed with it, and read one by one, aligned by their points."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BinError, InputError, plain_name
from evaluator.files import read_bounded
from evaluator.templates.lists import put
from evaluator.templates.template_set import TemplateSet

#: Bytes of the largest file of an image that is read: 64 million pixels have less in any format.
LARGEST_IMAGE = 2**28

# Images that one call hashes: a call costs more than an image.
_CHUNK = 256


def put_images(
    digest: hashlib._Hash, folder: Path, images: Sequence[str], where: Callable[[int], str]
) -> None:
    """The bytes of the images into ``digest``, in their order, each by its own SHA-256.

    ``where(i)`` says which line or file names image i. Raises BinError for one that is missing;
    OSError.
    """

    def hashes(start: int) -> list[bytes]:
        chunk = range(start, min(start + _CHUNK, len(images)))
        return [hashlib.sha256(_bytes_of(folder, images[i], where(i))).digest() for i in chunk]

    pool = ThreadPoolExecutor()
    try:
        for chunk in pool.map(hashes, range(0, len(images), _CHUNK)):
            put(digest, b"".join(chunk))
    finally:
        pool.shutdown(cancel_futures=True)  # at an error nothing more begins


def _bytes_of(folder: Path, name: str, where: str) -> bytes:
    try:
        return read_bounded(folder / name, LARGEST_IMAGE)
    except FileNotFoundError:
        raise BinError(
            f"{where}: names the image {plain_name(name)}, which is not in {folder}; put it there,"
            " or evaluate cached embeddings"
        ) from None


def image_bytes(template_set: TemplateSet, image: int) -> bytes:
    """The file of image number ``image``. Raises BinError for one that is missing; OSError."""
    if template_set.folder is None:
        raise BinError(f"{template_set.path}: has no images; evaluate cached embeddings")
    return _bytes_of(template_set.folder, template_set.images[image], str(template_set.path))


def template_image(
    template_set: TemplateSet, image: int, data: bytes | None = None, *, decoder: str = "accurate"
) -> NDArray[np.uint8]:
    """Image number ``image`` as (height, width, 3) RGB: aligned to 112x112 by its five points
    where the set has points, else as it is. ``data`` are its bytes where they have been read.

    Raises BinError for a set without images and for one that is missing, does not decode or has
    points that align nothing; OSError.
    """
    # Here, because what is stored is answered without Pillow.
    from evaluator.images.alignment import aligned
    from evaluator.images.decode import decode_image

    if data is None:
        data = image_bytes(template_set, image)
    try:
        pixels = decode_image(data, decoder=decoder)
        if template_set.points is None:
            return pixels
        return aligned(pixels, template_set.points[image])
    except InputError as error:
        where = (template_set.folder or template_set.path) / template_set.images[image]
        raise BinError(f"{where}: {error}") from None
