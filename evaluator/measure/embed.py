"""Distinct images -> embeddings, decoding ahead of the forward pass; and pair scores."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.ahead import ahead
from evaluator.errors import BinError, ForwardError, InputError
from evaluator.images.inputs import Embedder, Forward, InputSpec, mirrored, write_model_input
from evaluator.measure.rows import RowCountError, check_size, embedding_rows

# Batches decoded ahead of the one in the forward pass: enough to hide a slow image, few enough
# that memory stays at three batches.
_AHEAD = 2

# Sizes of batch that are tried where the one asked for does not give a row for each image.
_TRIED_SIZES = (64, 32, 16, 8, 4, 2)

# Numbers in a block of vectors that are multiplied at once, 16 MB a side.
_PICKED = 1 << 21

# Bytes of one batch, of which there are three or four: 7,000 images of 112x112.
_LARGEST_BATCH = 2**30

# A batch of model input, how many of its rows are images, and the sizes that these had.
_Batch = tuple[NDArray[np.float32], int, set[tuple[int, int]]]

#: What is said of a model for which ``on_single`` is called.
ONE_AT_A_TIME = "it gives one row however many images it gets, so it gets them one at a time"


@dataclass(frozen=True)
class EmbedOptions:
    """``flip``: ``none``, or ``sum`` to add the mirrored image's embedding; ``decoder``:
    ``accurate`` or ``fast``; ``batch_size``: images in one forward pass.
    """

    flip: str = "none"
    decoder: str = "accurate"
    batch_size: int = 64


def embed_images(
    embedder: Embedder,
    images: Sequence[bytes],
    *,
    options: EmbedOptions,
    pixels: Callable[[int], NDArray[np.uint8]] | None = None,
    describe: Callable[[int], str] = "image {}".format,
    on_progress: Callable[[int], None] | None = None,
    on_resize: Callable[[tuple[int, int]], None] | None = None,
    on_single: Callable[[], None] | None = None,
) -> NDArray[np.float32]:
    """Embeddings (images, embedding size) as the model gives them: not normalised.

    ``pixels(i)`` gives image i, (height, width, 3) RGB, where decoding it is not all; it is called
    by several threads. ``describe(i)`` names image i in errors; ``on_progress`` is called with the
    number of images done since the last call, ``on_resize`` once for each (height, width) of images
    that is not the model's, both in the caller's thread. A model that gives one row for one image,
    and another number of rows than images for a batch, gets one image at a time: ``on_single`` is
    called once.
    Raises BinError for an image that does not decode, and ForwardError, which names the batch,
    where the model fails on it or does not give one embedding an image.
    """
    from evaluator.images.decode import decode_image  # what is stored is answered without Pillow

    size = embedder.fixed_batch or _fitting(options.batch_size, embedder.input)
    check_batch(size, embedder)
    found = np.zeros((0, 0), np.float32)
    done = 0
    forward = _RowwiseForward(embedder, on_single)
    met = {(embedder.input.height, embedder.input.width)}
    read = pixels or (lambda i: decode_image(images[i], decoder=options.decoder))

    def embedded(batch: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        embeddings = forward(batch, count)
        if options.flip == "sum":
            flipped = np.ascontiguousarray(mirrored(batch, embedder.input))
            embeddings = embeddings + forward(flipped, count)
        return embeddings

    # Closed here: an error that is kept keeps them, and the collector of garbage would end them
    # later, perhaps where a thread is just starting, which cannot wait for others then.
    with (
        contextlib.closing(
            _prepared_batches(embedder, len(images), size, read, describe)
        ) as batches,
        contextlib.closing(_at_once(batches, embedded, embedder.at_once)) as begun,
    ):
        for result, count, sizes in begun:
            if on_resize is not None:
                for other in sorted(sizes - met):
                    on_resize(other)
            met |= sizes
            try:
                embeddings = result()
            except ForwardError as error:
                first, last = describe(done), describe(done + count - 1)
                raise type(error)(f"fails on the batch of {first} to {last}: {error}") from None
            if not done:
                found = np.empty((len(images), embeddings.shape[1]), np.float32)
            # Copied: what a model returns may be a view that keeps its whole batch alive.
            found[done : done + count] = embeddings
            done += count
            if on_progress is not None:
                on_progress(count)
    return found


def _at_once(
    batches: Iterator[_Batch],
    embedded: Callable[[NDArray[np.float32], int], NDArray[np.float32]],
    count: int,
) -> Generator[tuple[Callable[[], NDArray[np.float32]], int, set[tuple[int, int]]], None, None]:
    """Each batch's result, its images and their sizes, in order. ``count`` are embedded at once, by
    threads, after the first, which tells how the model takes them; one at a time by the caller.
    """
    for batch, images, sizes in itertools.islice(batches, 1 if count > 1 else None):
        yield functools.partial(embedded, batch, images), images, sizes
    pool = ThreadPoolExecutor(count)
    try:
        calls = (
            (pool.submit(embedded, batch, images).result, images, sizes)
            for batch, images, sizes in batches
        )
        yield from ahead(calls, count + 1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _fitting(size: int, spec: InputSpec) -> int:
    """So many images, or fewer where they are so large that a batch would take much memory."""
    return max(1, min(size, _LARGEST_BATCH // _image_bytes(spec)))


def check_batch(size: int, embedder: Embedder) -> None:
    """Raises ForwardError for a batch that is too large and cannot be made smaller."""
    needed = size * _image_bytes(embedder.input)
    if needed > _LARGEST_BATCH:
        raise ForwardError(
            f"takes batches of {size:,} images of {embedder.input.height}x{embedder.input.width}, "
            f"{needed:,} bytes; the limit is {_LARGEST_BATCH:,}"
        )


def _image_bytes(spec: InputSpec) -> int:
    return math.prod(spec.batch_shape) * np.dtype(np.float32).itemsize


class _RowwiseForward:
    """A forward pass that gives as many rows as it got images, of one size throughout.

    Calling it with a batch, of which the first ``count`` are images, gives (count, embedding size).
    """

    def __init__(self, embedder: Embedder, on_single: Callable[[], None] | None) -> None:
        self._forward = embedder.forward
        self._fixed = embedder.fixed_batch is not None
        self._on_single = on_single
        self._single = False
        self._width: int | None = None

    def __call__(self, batch: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        embeddings = self._rows(batch, count)[:count]
        if self._width is None:
            self._width = embeddings.shape[1]
        check_size(embeddings.shape[1], self._width)
        return embeddings

    def _rows(self, batch: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        if not self._single:
            try:
                return embedding_rows(self._forward(batch), len(batch))
            except RowCountError as error:
                if self._fixed:
                    raise
                if not _takes(self._forward, batch, 1):
                    raise RowCountError(f"{error}{self._working_size(batch)}") from None
            self._single = True
            if self._on_single is not None:
                self._on_single()
        return np.concatenate(
            [embedding_rows(self._forward(batch[i : i + 1]), 1) for i in range(count)]
        )

    def _working_size(self, batch: NDArray[np.float32]) -> str:
        """Which size of batch would do, in words; found by trying."""
        for size in _TRIED_SIZES:
            if size != len(batch) and _takes(self._forward, batch, size):
                return f"; with --batch-size {size} it gives one for each"
        return "; no size of batch that was tried gives one row for each image"


def _takes(forward: Forward, batch: NDArray[np.float32], size: int) -> bool:
    """Whether a forward pass gives one row an image for so many images, a batch's in turn."""
    try:
        embedding_rows(forward(np.resize(batch, (size, *batch.shape[1:]))), size)
    except ForwardError:
        return False
    return True


def _prepared_batches(
    embedder: Embedder,
    images: int,
    size: int,
    read: Callable[[int], NDArray[np.uint8]],
    describe: Callable[[int], str],
) -> Generator[_Batch, None, None]:
    """Batches of so many images in order, read by threads ahead of their use."""
    from evaluator.images.decode import DecodeError

    spec = embedder.input

    def prepare(start: int, stop: int, out: NDArray[np.float32]) -> set[tuple[int, int]]:
        sizes = set()
        for i in range(start, stop):
            try:
                pixels = read(i)
            except DecodeError as error:
                raise BinError(f"{describe(i)}: {error}") from None
            try:
                sizes.add(write_model_input(pixels, spec, out[i - start]))
            except InputError as error:
                raise BinError(f"{describe(i)}: {error}") from None
        return sizes

    def submit(start: int) -> tuple[NDArray[np.float32], int, list[Future[set[tuple[int, int]]]]]:
        stop = min(start + size, images)
        # A model of fixed batch size gets zeros after the last image.
        length = size if embedder.fixed_batch else stop - start
        batch = np.zeros((length, *spec.batch_shape), np.float32)
        step = -(-(stop - start) // workers)
        parts = [
            pool.submit(prepare, at, min(at + step, stop), batch[at - start :])
            for at in range(start, stop, step)
        ]
        return batch, stop - start, parts

    workers = min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers)
    try:
        for batch, count, parts in ahead(map(submit, range(0, images, size)), _AHEAD + 1):
            yield batch, count, set().union(*(part.result() for part in parts))
    finally:
        # Of what is left nobody wants the outcome any more: an error, or Ctrl-C.
        pool.shutdown(cancel_futures=True)


def unusable_rows(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """For each embedding, whether it has a non-finite value or no length: it cannot be scored."""
    finite = np.isfinite(embeddings).all(axis=1)
    has_length = (embeddings != 0).any(axis=1)
    unusable: NDArray[np.bool_] = ~(finite & has_length)
    return unusable


def norms_of(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """The length of each embedding as the model gave it."""
    squares = np.einsum("ij,ij->i", embeddings, embeddings, dtype=np.float64)
    with np.errstate(over="ignore"):
        norms: NDArray[np.float32] = np.sqrt(squares).astype(np.float32)
    return norms


def pair_scores(
    embeddings: NDArray[np.float32], left: NDArray[np.intp], right: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Cosine of embeddings[left[i]] and embeddings[right[i]], computed in float64, in [-1, 1]."""
    return np.clip(cosines(embeddings, left, right, unit=False), -1.0, 1.0)


def cosines(
    vectors: NDArray[np.float32] | NDArray[np.float64],
    left: NDArray[np.integer],
    right: NDArray[np.integer],
    *,
    unit: bool = True,
) -> NDArray[np.float64]:
    """The cosine (p,) of rows ``left`` and ``right``, in float64; ``unit`` says that these are of
    length 1 already.

    The same two rows give the same bits, wherever they stand and whichever is left.
    """
    found = np.empty(len(left))
    step = max(1, _PICKED // max(1, vectors.shape[1]))
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        rows = [vectors[side[part]].astype(np.float64) for side in (left, right)]
        if not unit:
            for each in rows:
                each /= np.linalg.norm(each, axis=1, keepdims=True)
        found[part] = np.einsum("ij,ij->i", *rows)
    return found


def score_of_failed(nan: str) -> float:
    """What a pair scores without a usable embedding: NaN is left out, -inf rejected everywhere."""
    return -np.inf if nan == "miss" else np.nan
