"""Faces found by the ``mtcnn`` package, one process a core: its own work is mostly Python."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from evaluator.ahead import ahead
from evaluator.errors import InputError
from evaluator.images.decode import DecodeError, decode_image
from zoo.align.landmarks import Points

# The detector looks for faces of 20 pixels and more; on a larger photograph it would spend minutes
# on faces in the background.
_LONGER_SIDE = 640

# A process takes about as long to start TensorFlow as 100 images take: it must make up for that.
_IMAGES_A_PROCESS = 400


def check_detector() -> None:
    """Raises InputError if the ``mtcnn`` package is not installed."""
    if importlib.util.find_spec("mtcnn") is None:
        raise InputError(
            "finding faces needs the mtcnn package: pip install 'face-zoo[align]', or give the"
            " landmarks in a CSV with --landmarks"
        )


def detected(names: Sequence[str], read: Callable[[str], bytes]) -> Iterator[Points | None]:
    """The landmarks of each image in order, None where no face was found.

    Of several faces the one that is large and near the centre. Landmarks are (5, 2), in pixels,
    rounded to 1/100. In as many processes as there are cores, fewer for few images. Raises
    InputError for an image that does not decode, and if ``mtcnn`` is not installed.
    """
    check_detector()
    count = min(os.cpu_count() or 1, math.ceil(len(names) / _IMAGES_A_PROCESS))
    if count <= 1:
        for name in names:
            yield _unwrapped(name, _landmarks(read(name)))
        return
    # spawn: a fork would copy TensorFlow's threads half way through whatever they do.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=_start_worker) as pool:
        try:
            parts = ((name, pool.submit(_landmarks, read(name))) for name in names)
            for name, found in ahead(parts, 8 * count + 1):
                yield _unwrapped(name, found.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _unwrapped(name: str, found: Points | str | None) -> Points | None:
    if isinstance(found, str):
        raise InputError(f"{name}: the image {found}; remove it or get it again")
    return found


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    _mtcnn()


@lru_cache(maxsize=1)
def _mtcnn() -> Any:
    from evaluator.models.runtime import import_keras, native_messages_held

    import_keras()
    with native_messages_held(), _late_flushes_ignored():
        from mtcnn import MTCNN

        return MTCNN()


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


def _landmarks(data: bytes) -> Points | str | None:
    """Landmarks, None for no face, or what is wrong with the image."""
    try:
        pixels = decode_image(data)
    except DecodeError as error:
        return str(error)
    image = Image.fromarray(pixels)
    scale = max(1.0, max(image.size) / _LONGER_SIDE)
    if scale > 1:
        size = round(image.width / scale), round(image.height / scale)
        image = image.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.BOX)
    faces = _mtcnn().detect_faces(np.asarray(image), output_type="numpy")
    if not len(faces):
        return None
    # Rows are image, x, y, width, height, confidence, five x, five y.
    centres = faces[:, 1:3] + faces[:, 3:5] / 2
    away = ((centres - np.array(image.size) / 2) ** 2).sum(axis=1)
    # insightface's choice for aligning: area minus twice the squared distance from the centre.
    best = faces[np.argmax(faces[:, 3] * faces[:, 4] - 2 * away)]
    points = np.stack([best[6:11], best[11:16]], axis=1).astype(np.float64)
    stretch = np.array([pixels.shape[1] / image.width, pixels.shape[0] / image.height])
    in_pixels: Points = np.round((points + 0.5) * stretch - 0.5, 2)
    return in_pixels
