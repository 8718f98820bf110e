"""The images of a projection and whose they are; and one sheet of their thumbnails."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.pairs_file import linked_people
from evaluator.bins.verification_set import VerificationSet, distinct_images
from evaluator.images.decode import DecodeError, decode_image
from training.data.sources.faces import FaceSet

# Thumbnails on a page: sharp at 64 CSS pixels on most screens, 2 kB each.
_CELL = 72

# TensorBoard refuses a larger sheet.
_LARGEST_SHEET = 8192

_PAPER = (240, 240, 240)


@dataclass(frozen=True)
class Pictures:
    """Encoded images, the number of the person on each, and names: of people, and of images."""

    images: tuple[bytes, ...]
    people: NDArray[np.int64]
    names: tuple[str, ...]
    origins: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Sheet:
    """Thumbnails in one image, row after row: RGB pixels, the side of a cell, cells in a row."""

    pixels: NDArray[np.uint8]
    cell: int
    columns: int

    def encoded(self, kind: str) -> bytes:
        """The sheet as JPEG or PNG."""
        buffer = io.BytesIO()
        options = {"quality": 80} if kind == "JPEG" else {}
        Image.fromarray(self.pixels).save(buffer, kind, **options)
        return buffer.getvalue()


def pictures_of_bin(verification_set: VerificationSet) -> Pictures:
    """The distinct images of a bin; people are images that genuine pairs link, named by number.

    A bin names nobody: the same person may appear as several.
    """
    images, slots = distinct_images(verification_set.images)
    people, count = linked_people(slots, verification_set.genuine)
    _, first = np.unique(slots, return_index=True)
    return Pictures(
        tuple(images),
        people,
        tuple(f"person {number + 1}" for number in range(count)),
        tuple(f"image {slot}" for slot in first),
    )


def pictures_of_faces(faces: FaceSet, limit: int) -> Pictures:
    """Images of a training set, whole people, at most ``limit`` of them (see `fewer`)."""
    numbers = chosen_people(faces.labels, limit)
    return Pictures(
        tuple(bytes(faces.read(int(i))) for i in numbers),
        faces.labels[numbers],
        faces.names,
        tuple(faces.origin(int(i)).removeprefix(str(faces.source)).strip("/ :") for i in numbers),
    )


def fewer(pictures: Pictures, limit: int) -> Pictures:
    """At most ``limit`` images: of the people with most images all of theirs, in the same order."""
    return fewer_rows(pictures, chosen_people(pictures.people, limit))


def fewer_rows(pictures: Pictures, numbers: NDArray[np.intp]) -> Pictures:
    """These images only, in this order."""
    return Pictures(
        tuple(pictures.images[i] for i in numbers),
        pictures.people[numbers],
        pictures.names,
        tuple(pictures.origins[i] for i in numbers),
    )


def chosen_people(people: NDArray[np.int64], limit: int) -> NDArray[np.intp]:
    """Image numbers, rising: of the people with most images, as many as ``limit`` holds whole.

    Of equals the first; if not even two people fit, images of the first two.
    """
    if len(people) <= limit:
        return np.arange(len(people))
    counts = np.bincount(people)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    taken = max(int((np.cumsum(counts[order]) <= limit).sum()), min(2, len(order)))
    inside = np.flatnonzero(np.isin(people, order[:taken]))
    if len(inside) <= limit:
        return inside
    return np.sort(np.random.default_rng(0).choice(inside, limit, replace=False))


def thumbnail_sheet(images: Sequence[bytes]) -> Sheet:
    """All images on one sheet, small, each in the middle of its cell; gray where one is broken."""
    columns = max(1, int(np.ceil(np.sqrt(len(images)))))
    cell = min(_CELL, _LARGEST_SHEET // columns)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * cell), _PAPER)
    for number, data in enumerate(images):
        try:
            pixels = decode_image(data)
        except DecodeError:
            continue
        # A camera's photograph is cut down by whole steps before it is filtered.
        step = max(1, min(pixels.shape[:2]) // (4 * cell))
        image = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
        scale = cell / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        small = image.resize(
            size, Image.Resampling.NEAREST if scale > 3 else Image.Resampling.BILINEAR
        )
        place = ((cell - size[0]) // 2, (cell - size[1]) // 2)
        sheet.paste(
            small, (number % columns * cell + place[0], number // columns * cell + place[1])
        )
    return Sheet(np.asarray(sheet), cell, columns)
