"""Thumbnails of a bin's faces as data URIs, read only from the very bin that was measured."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.verification_set import read_bin
from evaluator.errors import BinError, InputError, plain_name
from evaluator.images.decode import DecodeError, decode_image
from evaluator.results.record import BinRecord
from evaluator.results.stored import is_there
from evaluator.templates.image_files import template_image
from evaluator.templates.layouts import read_template_set
from evaluator.templates.template_set import TemplateSet

# Shown at 60 to 90 CSS pixels: sharp on most screens, about 3 kB each.
SIDE = 112
_QUALITY = 78
# Reading all of a set's images again takes as long as their disk.
_MOST_IMAGES = 50_000


@dataclass(frozen=True)
class Faces:
    """Data URIs of both images by pair (None: cannot be decoded), or the reason there are none."""

    pairs: Mapping[int, tuple[str | None, str | None]]
    missing: str = ""


def faces_of(record: BinRecord, pairs: Sequence[int]) -> Faces:
    """The faces of these pairs of a bin, if its file is where it was and is still the same."""
    path = Path(record.path)
    name = plain_name(path.name)
    if not is_there(path):  # opening a pipe would wait for somebody who writes
        return Faces({}, f"{name} is no longer where it was when it was measured, or no file")
    try:
        verification_set = read_bin(path)
    except FileNotFoundError:
        return Faces({}, f"{name} is no longer where it was when it was measured")
    except OSError as error:
        return Faces({}, f"{name} cannot be read: {error.strerror}")
    except BinError:
        return Faces({}, f"{name} is no longer a bin that can be read")
    if verification_set.sha256 != record.sha256:
        return Faces({}, f"{name} has changed since it was measured (another SHA-256)")
    if verification_set.pairs != record.pairs:
        return Faces({}, f"{name} has {verification_set.pairs:,} pairs, not {record.pairs:,}")
    made: dict[bytes, str | None] = {}
    for slot in (side for pair in pairs for side in (2 * pair, 2 * pair + 1)):
        data = verification_set.images[slot]
        if data not in made:
            made[data] = thumbnail(data)
    images = verification_set.images
    return Faces({pair: (made[images[2 * pair]], made[images[2 * pair + 1]]) for pair in pairs})


def set_faces_of(record: BinRecord, templates: Iterable[int]) -> tuple[dict[int, str | None], str]:
    """The first image of each of these templates of a set as it was measured, aligned, and why
    there are none.
    """
    path, name = Path(record.path), plain_name(Path(record.path).name)
    if record.images > _MOST_IMAGES:
        why = f"{record.images:,} images are more than a report holds against the set's hash"
        return {}, f"{name}: {why}"
    try:
        held = read_template_set(path)
    except (BinError, OSError):
        return {}, f"{name} is no longer where it was when it was measured, or has no images here"
    if held.sha256 != record.sha256:
        return {}, f"{name} has changed since it was measured (another SHA-256)"
    first = {int(template): i for i, template in reversed(list(enumerate(held.template)))}
    return {each: _template_thumbnail(held, first[each]) for each in templates}, ""


def _template_thumbnail(held: TemplateSet, image: int) -> str | None:
    try:
        return _encoded(template_image(held, image))
    except (InputError, OSError):
        return None


def thumbnail(data: bytes) -> str | None:
    """An image as a small JPEG data URI, upright; None where the bytes are no whole image.

    It is encoded anew, so that nothing but pixels of the bin gets into a report.
    """
    try:
        pixels = decode_image(data)
    except DecodeError:
        return None
    return _encoded(pixels)


def _encoded(pixels: NDArray[np.uint8]) -> str:
    # A camera's photograph is cut down by whole steps before it is filtered.
    step = max(1, min(pixels.shape[:2]) // (4 * SIDE))
    image = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
