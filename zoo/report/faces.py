"""Thumbnails of a bin's faces as data URIs, read only from the very bin that was measured."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from evaluator.bins.verification_set import read_bin
from evaluator.errors import BinError, plain_name
from evaluator.images.decode import DecodeError, decode_image
from evaluator.results.record import BinRecord
from evaluator.results.stored import is_there

# Shown at 60 to 90 CSS pixels: sharp on most screens, about 3 kB each.
SIDE = 112
_QUALITY = 78


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


def thumbnail(data: bytes) -> str | None:
    """An image as a small JPEG data URI, upright; None where the bytes are no whole image.

    It is encoded anew, so that nothing but pixels of the bin gets into a report.
    """
    try:
        pixels = decode_image(data)
    except DecodeError:
        return None
    # A camera's photograph is cut down by whole steps before it is filtered.
    step = max(1, min(pixels.shape[:2]) // (4 * SIDE))
    image = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
