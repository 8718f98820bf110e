"""Random changes to a training image, each a pure function of the generator it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from training.recipes.parts import Augment

Pixels = NDArray[np.uint8]

# Mid-gray: what stands where an operation has no pixel, and in a cut-out square.
_FILL = 128


def changed(pixels: Pixels, augment: Augment, generator: np.random.Generator) -> Pixels:
    """The image (height, width, 3) after RandAugment, crop and cutout, those that are on.

    Mirroring is not done here: the pipeline draws it for a whole epoch at once.
    """
    if augment.randaugment_ops:
        pixels = rand_augment(
            pixels, augment.randaugment_ops, augment.randaugment_magnitude, generator
        )
    if augment.crop_px:
        pixels = shifted(pixels, augment.crop_px, generator)
    if augment.cutout_px:
        pixels = cut_out(pixels, augment.cutout_px, generator)
    return pixels


def shifted(pixels: Pixels, limit: int, generator: np.random.Generator) -> Pixels:
    """The image moved by up to ``limit`` pixels each way; its edge pixels fill what opens."""
    height, width = pixels.shape[:2]
    down, right = (int(each) for each in generator.integers(0, 2 * limit + 1, 2) - limit)
    down, right = np.clip(down, 1 - height, height - 1), np.clip(right, 1 - width, width - 1)
    # Where the result has pixels of the image, and there which: slices, a fifth of np.pad's time.
    top, bottom = max(-down, 0), height - max(down, 0)
    left, end = max(-right, 0), width - max(right, 0)
    rows = pixels[top + down : bottom + down]
    found = np.empty_like(pixels)
    found[top:bottom, left:end] = rows[:, left + right : end + right]
    found[top:bottom, :left] = rows[:, :1]
    found[top:bottom, end:] = rows[:, -1:]
    found[:top], found[bottom:] = found[top], found[bottom - 1]
    return found


def cut_out(pixels: Pixels, side: int, generator: np.random.Generator) -> Pixels:
    """The image with a gray square centred anywhere in it, cut at its borders (DeVries 2017)."""
    height, width = pixels.shape[:2]
    top = int(generator.integers(0, height)) - side // 2
    left = int(generator.integers(0, width)) - side // 2
    pixels = pixels.copy()
    pixels[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = _FILL
    return pixels


def rand_augment(
    pixels: Pixels, count: int, magnitude: float, generator: np.random.Generator
) -> Pixels:
    """``count`` operations drawn with replacement, each at ``magnitude`` of 10 in either sense."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    names = tuple(OPERATIONS)
    for _ in range(count):
        name = names[int(generator.integers(0, len(names)))]
        sign = 1.0 if generator.integers(0, 2) else -1.0
        image = OPERATIONS[name](image, sign * magnitude / 10)
    return np.asarray(image)


def _affine(
    image: Image.Image, matrix: tuple[float, float, float, float, float, float]
) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        resample=Image.Resampling.BILINEAR,
        fillcolor=(_FILL, _FILL, _FILL),
    )


# Strengths at magnitude 10 as in the paper's table, but translation, shear and rotation halved:
# an aligned face is never far from upright and centred.
OPERATIONS: Mapping[str, Callable[[Image.Image, float], Image.Image]] = MappingProxyType(
    {
        "identity": lambda image, _: image,
        "autocontrast": lambda image, _: ImageOps.autocontrast(image),
        "equalize": lambda image, _: ImageOps.equalize(image),
        "brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(1 + 0.9 * level),
        "contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(1 + 0.9 * level),
        "color": lambda image, level: ImageEnhance.Color(image).enhance(1 + 0.9 * level),
        "sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * level),
        "posterize": lambda image, level: ImageOps.posterize(image, 8 - round(4 * abs(level))),
        "solarize": lambda image, level: ImageOps.solarize(image, 256 - round(128 * abs(level))),
        "rotate": lambda image, level: image.rotate(
            15 * level, Image.Resampling.BILINEAR, fillcolor=(_FILL, _FILL, _FILL)
        ),
        "shear_x": lambda image, level: _affine(image, (1, 0.15 * level, 0, 0, 1, 0)),
        "shear_y": lambda image, level: _affine(image, (1, 0, 0, 0.15 * level, 1, 0)),
        "translate_x": lambda image, level: _affine(
            image, (1, 0, 0.15 * level * image.width, 0, 1, 0)
        ),
        "translate_y": lambda image, level: _affine(
            image, (1, 0, 0, 0, 1, 0.15 * level * image.height)
        ),
    }
)
