"""Eight ways to spoil an image, in five strengths each, as functions of its pixels and a draw.

The kinds are those that face-recognition robustness benchmarks share (ImageNet-C, OODFace); the
strengths are our own, chosen so that 1 is hardly seen and 5 leaves a person barely known. Lengths
are in pixels of a face of 112 and grow with the image. Each takes uint8 (height, width, 3) and
gives the same, or, where the file itself is the corruption, a JPEG's bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Draw = np.random.Generator

SIDE = 112
STRENGTHS = (1, 2, 3, 4, 5)

# Of cloth and of nothing.
_MASK = (150, 190, 220)
_GRAY = 127


@dataclass(frozen=True)
class Corruption:
    """A way to spoil: ``levels[k - 1]`` of ``parameter`` is what strength k stands for."""

    parameter: str
    levels: tuple[float, ...]
    spoil: Callable[[Pixels, float, Draw], Pixels | bytes]


def _blur(pixels: Pixels, sigma: float, _: Draw) -> Pixels:
    from scipy.ndimage import gaussian_filter

    wide = sigma * _scale(pixels)
    return _levels(gaussian_filter(pixels.astype(np.float64), (wide, wide, 0), mode="nearest"))


def _noise(pixels: Pixels, deviation: float, draw: Draw) -> Pixels:
    return _levels(pixels + draw.normal(0, deviation, pixels.shape))


def _jpeg(pixels: Pixels, quality: float, _: Draw) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    return buffer.getvalue()


def _resolution(pixels: Pixels, side: float, _: Draw) -> Pixels:
    image = Image.fromarray(pixels)
    share = side / SIDE
    small = max(1, round(share * image.width)), max(1, round(share * image.height))
    shrunk = image.resize(small, Image.Resampling.BOX)
    return np.asarray(shrunk.resize(image.size, Image.Resampling.BICUBIC))


def _brightness(pixels: Pixels, levels: float, draw: Draw) -> Pixels:
    return _levels(pixels + levels * draw.choice([-1.0, 1.0]))


def _contrast(pixels: Pixels, share: float, _: Draw) -> Pixels:
    mean = pixels.mean(axis=(0, 1), dtype=np.float64)
    return _levels(mean + share * (pixels - mean))


def _occlusion(pixels: Pixels, share: float, draw: Draw) -> Pixels:
    height, width = (max(1, round(share**0.5 * side)) for side in pixels.shape[:2])
    top, left = (
        round(draw.random() * (side - own))
        for side, own in zip(pixels.shape[:2], (height, width), strict=True)
    )
    covered = pixels.copy()
    covered[top : top + height, left : left + width] = _GRAY
    return covered


def _mask(pixels: Pixels, top: float, _: Draw) -> Pixels:
    height, width = pixels.shape[:2]
    covered = pixels.copy()
    covered[
        round(top * height) : round(0.97 * height), round(0.16 * width) : round(0.84 * width)
    ] = _MASK
    return covered


CORRUPTIONS: dict[str, Corruption] = {
    "blur": Corruption("sigma in pixels of 112", (0.8, 1.4, 2.2, 3.2, 4.5), _blur),
    "noise": Corruption("standard deviation in levels", (8, 16, 28, 45, 70), _noise),
    "jpeg": Corruption("quality, 4:2:0", (50, 30, 18, 10, 5), _jpeg),
    "resolution": Corruption("side in pixels of 112", (56, 40, 28, 20, 14), _resolution),
    "brightness": Corruption("levels added or taken, by draw", (25, 50, 80, 110, 140), _brightness),
    "contrast": Corruption("share of it that is left", (0.7, 0.5, 0.32, 0.2, 0.1), _contrast),
    "occlusion": Corruption("share of the image", (0.04, 0.1, 0.18, 0.28, 0.4), _occlusion),
    # ArcFace's template has the nose at 0.64 of the height, the mouth at 0.82, the eyes at 0.46.
    "mask": Corruption("its upper edge, of the height", (0.74, 0.69, 0.64, 0.59, 0.54), _mask),
}


def _scale(pixels: Pixels) -> float:
    """How large the image is, in faces of 112."""
    return float(min(pixels.shape[:2]) / SIDE)


def _levels(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
