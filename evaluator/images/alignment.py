"""Five-point alignment: a least-squares similarity onto the ArcFace template of 112x112."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from evaluator.errors import InputError

SIDE = 112

#: Where the eyes, the tip of the nose and the corners of the mouth belong, as (x, y) in pixels,
#: left and right as the image shows them: insightface's arcface_dst, on which its published
#: models and bins were aligned.
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


def similarity(points: ArrayLike) -> Any:
    """The ``skimage.transform.SimilarityTransform`` from landmarks (5, 2) onto the template.

    Least squares over rotation, one scale and translation, never a reflection (Umeyama 1991).
    Raises InputError for landmarks that lie in one place or are not finite.
    """
    from skimage.transform import SimilarityTransform

    source = np.asarray(points, dtype=np.float64)
    if source.shape != TEMPLATE.shape or not np.isfinite(source).all():
        raise InputError("expected five landmarks of two finite numbers each")
    if np.ptp(source, axis=0).max() < 1e-3:
        raise InputError("the five landmarks lie in one place")
    if hasattr(SimilarityTransform, "from_estimate"):  # scikit-image 0.26 deprecates the other
        return SimilarityTransform.from_estimate(source, TEMPLATE)
    transform = SimilarityTransform()
    transform.estimate(source, TEMPLATE)
    return transform


def aligned(pixels: NDArray[np.uint8], points: ArrayLike) -> NDArray[np.uint8]:
    """The face (112, 112, 3) out of an image (height, width, 3), its landmarks on the template.

    Sampled bilinearly, black where the image ends, as insightface samples (cv2.warpAffine). A
    face larger than twice the template is first averaged over blocks of whole pixels: to skip
    pixels instead, as cv2 does, would alias.
    """
    from skimage.transform import warp

    points = np.asarray(points, dtype=np.float64)
    transform = similarity(points)
    block = max(1, int(1 / transform.scale))
    if block > 1:
        pixels = np.asarray(Image.fromarray(pixels).reduce(block))
        transform = similarity((points + 0.5) / block - 0.5)
    face = warp(pixels, transform.inverse, output_shape=(SIDE, SIDE), order=1, preserve_range=True)
    rounded: NDArray[np.uint8] = np.rint(face).astype(np.uint8)
    return rounded


def centre_crop(pixels: NDArray[np.uint8], *, fraction: float = 1.0) -> NDArray[np.uint8]:
    """The central square, ``fraction`` of the shorter side, as (112, 112, 3): not aligned."""
    height, width = pixels.shape[:2]
    side = max(1, round(min(height, width) * fraction))
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
