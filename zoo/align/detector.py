"""Faces found by the ``mtcnn`` package, in as many processes as there are cores for many images."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.ahead import ahead
from evaluator.errors import InputError
from evaluator.images.decode import DecodeError, decode_image
from zoo.align.landmarks import Points
from zoo.align.stages import Boxes, faces_of, load_networks

# The detector looks for faces of 20 pixels and more; on a larger photograph it would spend minutes
# on faces in the background.
_LONGER_SIDE = 640

# A process takes about as long to start TensorFlow as 250 images take: it must make up for that.
_IMAGES_A_PROCESS = 1000

# What is read and handed to a process at once, and how many pixels the networks see at once: more
# than two images of the largest size are not faster.
_PART, _PART_BYTES = 32, 8_000_000
_PIXELS = 500_000

#: Landmarks (5, 2), None where there is no face, or what is wrong with the image.
Found = Points | str | None


def check_detector() -> None:
    """Raises InputError if the ``mtcnn`` package is not installed."""
    if importlib.util.find_spec("mtcnn") is None:
        raise InputError(
            "finding faces needs the mtcnn package: pip install 'face-zoo[align]'; zoo align and"
            " zoo bins make take landmarks from a CSV, too (--landmarks)"
        )


def detected(names: Sequence[str], read: Callable[[str], bytes]) -> Iterator[Found]:
    """The landmarks of each image in order; what is wrong with it where it does not decode.

    Of several faces the one that is large and near the centre. Landmarks are (5, 2), in pixels,
    rounded to 1/100, and the same whatever the other images are. In as many processes as there are
    cores, fewer for few images; in this one for the fewest. Raises InputError if ``mtcnn`` is not
    installed, and where a process is killed.
    """
    check_detector()
    cores = os.cpu_count() or 1
    count = min(cores, math.ceil(len(names) / _IMAGES_A_PROCESS))
    if count <= 1:
        for part in _parts(names, read):
            yield from landmarks_of(part, threads=cores)
        return
    # spawn: a fork would copy TensorFlow's threads half way through whatever they do.
    context = multiprocessing.get_context("spawn")
    threads = cores // count
    with ProcessPoolExecutor(count, context, _start_worker, (threads,)) as pool:
        try:
            parts = (
                pool.submit(landmarks_of, part, threads=threads) for part in _parts(names, read)
            )
            for done in ahead(parts, 2 * count + 1):
                yield from done.result()
        except BrokenProcessPool:
            raise InputError(
                "a process that finds faces was killed, as a system does that is out of memory;"
                " what was found is kept: run it again"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _parts(names: Sequence[str], read: Callable[[str], bytes]) -> Iterator[list[bytes]]:
    """The images' bytes in order, a bounded part at a time."""
    part: list[bytes] = []
    for name in names:
        part.append(read(name))
        if len(part) == _PART or sum(map(len, part)) >= _PART_BYTES:
            yield part
            part = []
    if part:
        yield part


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    load_networks()


def landmarks_of(part: Sequence[bytes], *, threads: int = 1) -> list[Found]:
    """The landmarks of each of some encoded images, as `detected` has them."""
    with ThreadPoolExecutor(threads) as pool:
        looked = list(pool.map(_looked, part))
    found: list[Found] = [each if isinstance(each, str) else None for each in looked]
    sizes: dict[tuple[int, ...], list[tuple[int, _Look]]] = {}
    for number, each in enumerate(looked):
        if isinstance(each, _Look):
            sizes.setdefault(each.pixels.shape, []).append((number, each))
    for (height, width, _), group in sizes.items():
        step = max(1, _PIXELS // (height * width))
        for start in range(0, len(group), step):
            some = group[start : start + step]
            faces = faces_of([look.pixels for _, look in some])
            for (number, look), boxes in zip(some, faces, strict=True):
                found[number] = _landmarks(look, boxes)
    return found


@dataclass(frozen=True)
class _Look:
    """An image as the detector sees it, and its pixels in the whole image, along x and y."""

    pixels: NDArray[np.uint8]
    stretch: NDArray[np.float64]


def _looked(data: bytes) -> _Look | str:
    """An image, shrunk if it is large, or what is wrong with it."""
    try:
        pixels = decode_image(data)
    except DecodeError as error:
        return str(error)
    height, width = pixels.shape[:2]
    scale = max(1.0, max(height, width) / _LONGER_SIDE)
    if scale > 1:
        size = max(1, round(width / scale)), max(1, round(height / scale))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    return _Look(pixels, np.array([width / pixels.shape[1], height / pixels.shape[0]]))


def _landmarks(look: _Look, faces: Boxes) -> Points | None:
    """The landmarks of one of the faces, in pixels of the whole image; None for no face."""
    if not len(faces):
        return None
    # Rows are x, y, width, height, score, five x, five y.
    height, width = look.pixels.shape[:2]
    away = ((faces[:, :2] + faces[:, 2:4] / 2 - np.array([width, height]) / 2) ** 2).sum(axis=1)
    # insightface's choice for aligning: area minus twice the squared distance from the centre.
    best = faces[np.argmax(faces[:, 2] * faces[:, 3] - 2 * away)]
    points = np.stack([best[5:10], best[10:15]], axis=1)
    in_pixels: Points = np.round((points + 0.5) * look.stretch - 0.5, 2)
    return in_pixels
