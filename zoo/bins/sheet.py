"""A contact sheet: pairs of a bin as one picture, to see with one's own eyes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evaluator.bins.verification_set import StoredBin
from evaluator.files import whole_file
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.png import png_bytes

_FACE = 96
_EDGE = 3
_GAP = 10
_TITLE = 20
_COLUMNS = 4
_PAPER, _INK = "#f6f6f4", "#30302e"

# Blue and orange, which also a colour-blind reader tells apart; the words stand beside them.
_COLORS = {True: "#0072b2", False: "#d55e00"}


def write_sheet(path: Path, stored: StoredBin, *, pairs: int = 40) -> list[int]:
    """Writes a PNG of up to ``pairs`` pairs, spread over the file, half of each label.

    Genuine pairs are framed in blue and impostor pairs in orange, with number and label above; an
    image that does not decode is a crossed box. Returns the numbers of the pairs shown.
    """
    shown = _chosen(stored, pairs)
    cell = 2 * (_FACE + _EDGE) + _EDGE + _GAP, _FACE + 2 * _EDGE + _TITLE + _GAP
    rows = math.ceil(len(shown) / _COLUMNS)
    size = _COLUMNS * cell[0] + _GAP, rows * cell[1] + _GAP
    sheet = Image.new("RGB", size, _PAPER)
    for place, pair in enumerate(shown):
        row, column = divmod(place, _COLUMNS)
        _draw_pair(sheet, stored, pair, (_GAP + column * cell[0], _GAP + row * cell[1]))
    with whole_file(path) as file:
        file.write(png_bytes(np.asarray(sheet)))
    return shown


def _chosen(stored: StoredBin, pairs: int) -> list[int]:
    """Pairs spread evenly over the genuine and over the impostor ones, in the file's order."""
    kinds = [np.flatnonzero(stored.genuine), np.flatnonzero(~stored.genuine)]
    half = [min(len(kind), pairs // 2) for kind in kinds]
    shares = [min(len(kinds[i]), pairs - half[1 - i]) for i in (0, 1)]
    chosen: list[int] = []
    for kind, share in zip(kinds, shares, strict=True):
        if share:
            chosen += kind[np.linspace(0, len(kind) - 1, share).round().astype(int)].tolist()
    return sorted(set(chosen))[:pairs]


def _draw_pair(sheet: Image.Image, stored: StoredBin, pair: int, at: tuple[int, int]) -> None:
    genuine = bool(stored.genuine[pair])
    color = _COLORS[genuine]
    draw = ImageDraw.Draw(sheet)
    label = f"{pair}  {'genuine' if genuine else 'impostor'}"
    draw.text(at, label, fill=color, font=ImageFont.load_default(13))
    left, top = at[0], at[1] + _TITLE
    width, height = 2 * (_FACE + _EDGE) + _EDGE, _FACE + 2 * _EDGE
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=color)
    for side in (0, 1):
        face = _thumbnail(stored.images, 2 * pair + side)
        sheet.paste(face, (left + _EDGE + side * (_FACE + _EDGE), top + _EDGE))


def _thumbnail(images: Sequence[bytes], slot: int) -> Image.Image:
    """The image in a square of ``_FACE`` pixels, its sides in proportion."""
    square = Image.new("RGB", (_FACE, _FACE), _PAPER)
    try:
        face = Image.fromarray(decode_image(images[slot]))
    except DecodeError:
        draw = ImageDraw.Draw(square)
        draw.line((0, 0, _FACE, _FACE), fill=_INK, width=2)
        draw.line((0, _FACE, _FACE, 0), fill=_INK, width=2)
        return square
    scale = _FACE / max(face.size)
    size = max(1, round(face.width * scale)), max(1, round(face.height * scale))
    square.paste(
        face.resize(size, Image.Resampling.LANCZOS),
        ((_FACE - size[0]) // 2, (_FACE - size[1]) // 2),
    )
    return square
