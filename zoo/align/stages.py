"""The three networks of the ``mtcnn`` package over many images at once, its very answers.

Its own lists of images will not do: there, boxes whose scores are equal are sorted together with
other images' boxes and may fall in another order, so that another box wins; in one of some forty
photographs the landmarks move, by up to 3 pixels. Here the networks see all images and all boxes at
once, compiled, and everything between them is done image by image by the package's functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The package's own defaults (its detect_faces): the smallest face in pixels, the steps of the
# pyramid, and for each network the least score and the overlap at which the lesser box goes.
_SMALLEST, _STEP = 20, 0.709
_SCORES = (0.6, 0.7, 0.8)
_OVERLAP_A_LEVEL, _OVERLAP = 0.5, 0.7

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class _Networks:
    """``propose`` takes images and the size to bring them to, the others patches of 24 and 48."""

    propose: Callable[..., Any]
    refine: Callable[..., Any]
    complete: Callable[..., Any]


def faces_of(images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
    """The faces in each image, bit for bit what ``MTCNN().detect_faces`` finds in it alone.

    Images are (height, width, 3) of one size. Faces are rows of x, y, width, height, score in 0..1,
    five x and five y of the landmarks, in pixels; (0, 15) where there is none.
    """
    import tensorflow as tf
    from mtcnn.utils.bboxes import limit_bboxes

    networks = load_networks()
    with tf.device("CPU:0"):  # as the package
        # Nine bits before and after: nothing is rounded.
        pixels = tf.constant(((np.stack(images) - 127.5) / 128).astype(np.float32))
        boxes = _completed(
            networks, pixels, _refined(networks, pixels, _proposed(networks, pixels))
        )
    sizes = np.array([image.shape for image in images])
    found = []
    for each in boxes:
        inside = limit_bboxes(each, sizes, limit_landmarks=False) if len(each) else each
        inside[:, 3:5] -= inside[:, 1:3]
        found.append(inside[:, 1:])
    return found


def _proposed(networks: _Networks, pixels: Any) -> list[Boxes]:
    """Square boxes a first look finds at each level of a pyramid: image, corners, score."""
    from mtcnn.utils.bboxes import generate_bounding_box, resize_to_square, upscale_bboxes
    from mtcnn.utils.images import build_scale_pyramid

    count, height, width, _ = pixels.shape
    scales = build_scale_pyramid(width, height, min_face_size=_SMALLEST, scale_factor=_STEP)
    sizes = (np.array([[height, width]]) * scales[:, None]).astype(np.int32)
    levels = [networks.propose(pixels, size) for size in sizes]
    proposed = []
    for number in range(count):
        found = [np.empty((0, 6))]
        for scale, (offsets, scores) in zip(scales, levels, strict=True):
            one = slice(number, number + 1)
            boxes = generate_bounding_box(offsets[one], scores[one], _SCORES[0])
            boxes = upscale_bboxes(boxes, np.array([scale]))
            found.append(_apart(boxes, _OVERLAP_A_LEVEL, initial_sort=False))
        boxes = resize_to_square(_apart(np.concatenate(found), _OVERLAP))
        boxes[:, 0] = number
        proposed.append(boxes)
    return proposed


def _refined(networks: _Networks, pixels: Any, proposed: list[Boxes]) -> list[Boxes]:
    """The boxes that stand a second look, moved."""
    from mtcnn.utils.bboxes import (
        adjust_bboxes,
        pick_matches,
        replace_confidence,
        resize_to_square,
    )

    refined = [np.empty((0, 6)) for _ in proposed]
    for number, (offsets, scores) in _looked(networks.refine, pixels, proposed, 24):
        boxes = adjust_bboxes(replace_confidence(proposed[number], scores), offsets)
        boxes = pick_matches(boxes, score_threshold=_SCORES[1])
        refined[number] = resize_to_square(_apart(boxes, _OVERLAP))
    return refined


def _completed(networks: _Networks, pixels: Any, refined: list[Boxes]) -> list[Boxes]:
    """The boxes that stand a third look, with landmarks."""
    from mtcnn.utils.bboxes import adjust_bboxes, pick_matches, replace_confidence
    from mtcnn.utils.landmarks import adjust_landmarks

    completed = [np.empty((0, 16)) for _ in refined]
    for number, (offsets, points, scores) in _looked(networks.complete, pixels, refined, 48):
        points = adjust_landmarks(points, refined[number])
        boxes = adjust_bboxes(replace_confidence(refined[number], scores), offsets)
        boxes = np.concatenate([boxes, points], axis=1)
        boxes = pick_matches(boxes, scores_column=5, score_threshold=_SCORES[2])
        if len(boxes):
            completed[number] = _apart(boxes, _OVERLAP, method="min")
    return completed


def _apart(boxes: Boxes, overlap: float, **options: Any) -> Boxes:
    """The boxes of one image without those that a better one covers."""
    from mtcnn.utils.bboxes import smart_nms_from_bboxes

    apart: Boxes = smart_nms_from_bboxes(boxes, threshold=overlap, **options)
    return apart


def _looked(
    network: Callable[..., Any], pixels: Any, boxes: list[Boxes], side: int
) -> Iterator[tuple[int, list[Any]]]:
    """What a network says of the boxes of each image that has any.

    An only box goes alone: a product with a matrix of one row is rounded otherwise than the same
    row among others.
    """
    from mtcnn.utils.images import extract_patches

    together = [number for number, each in enumerate(boxes) if len(each) > 1]
    alone = [[number] for number, each in enumerate(boxes) if len(each) == 1]
    for group in [together, *alone] if together else alone:
        rows = np.concatenate([boxes[number] for number in group])
        answers = network(extract_patches(pixels, rows, (side, side)))
        start = 0
        for number in group:
            end = start + len(boxes[number])
            # Tensors still: the package's functions compute with them in float32.
            yield number, [answer[start:end] for answer in answers]
            start = end


@lru_cache(maxsize=1)
def load_networks() -> _Networks:
    """The package's networks, compiled for any number of images; TensorFlow is started."""
    from evaluator.models.runtime import import_keras, native_messages_held

    import_keras()
    with native_messages_held(), _late_flushes_ignored():
        import tensorflow as tf
        from mtcnn import MTCNN

        propose, refine, complete = (stage.model for stage in MTCNN().stages)

    def compiled(function: Callable[..., Any], *shapes: tuple[int | None, ...]) -> Any:
        types = (tf.float32, tf.int32)
        signature = [tf.TensorSpec(*each) for each in zip(shapes, types, strict=False)]
        return tf.function(function, input_signature=signature, autograph=False)

    def scaled(images: Any, size: Any) -> Any:
        return propose(tf.image.resize(images, size, method="area"))

    return _Networks(
        compiled(scaled, (None, None, None, 3), (2,)),
        compiled(lambda patches: refine(patches), (None, 24, 24, 3)),
        compiled(lambda patches: complete(patches), (None, 48, 48, 3)),
    )


@contextmanager
def _late_flushes_ignored() -> Iterator[None]:
    """Python 3.13 reports that lz4 flushes a file it only read, and after that was closed."""
    told = sys.unraisablehook

    def tell(problem: Any) -> None:
        if "I/O operation on closed file" not in str(problem.exc_value):
            told(problem)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = told
