"""Distinct images -> embeddings, decoding ahead of the forward pass; and pair scores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BinError, ForwardError
from evaluator.inputs import Embedder, mirrored, write_model_input

# Batches decoded ahead of the one in the forward pass: enough to hide a slow image, few enough
# that memory stays at three batches.
_AHEAD = 2

# Rows of embeddings turned to float64 at once when scoring.
_SCORE_ROWS = 65_536


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
    describe: Callable[[int], str] = "image {}".format,
    on_progress: Callable[[int], None] | None = None,
    on_resize: Callable[[tuple[int, int]], None] | None = None,
) -> NDArray[np.float32]:
    """Embeddings (images, embedding size) as the model gives them: not normalised.

    ``describe(i)`` names image i in errors; ``on_progress`` is called with the number of images
    done since the last call, ``on_resize`` once for each (height, width) of images that is not the
    model's, both in the caller's thread. Raises BinError for an image that does not decode, and
    ForwardError, which names the batch, where the model fails on it.
    """
    size = embedder.fixed_batch or options.batch_size
    found = np.zeros((0, 0), np.float32)
    done = 0
    met = {(embedder.input.height, embedder.input.width)}
    for batch, count, sizes in _prepared_batches(embedder, images, size, options.decoder, describe):
        if on_resize is not None:
            for other in sorted(sizes - met):
                on_resize(other)
        met |= sizes
        try:
            embeddings = embedder.forward(batch)
            if options.flip == "sum":
                embeddings = embeddings + embedder.forward(
                    np.ascontiguousarray(mirrored(batch, embedder.input))
                )
        except ForwardError as error:
            first, last = describe(done), describe(done + count - 1)
            raise type(error)(f"fails on the batch of {first} to {last}: {error}") from None
        if not done:
            found = np.empty((len(images), embeddings.shape[1]), np.float32)
        # Copied: what a model returns may be a view that keeps its whole batch alive.
        found[done : done + count] = embeddings[:count]
        done += count
        if on_progress is not None:
            on_progress(count)
    return found


# A batch of model input, how many of its rows are images, and the sizes that these had.
_Batch = tuple[NDArray[np.float32], int, set[tuple[int, int]]]
_Pending = tuple[NDArray[np.float32], int, list[Future[set[tuple[int, int]]]]]


def _prepared_batches(
    embedder: Embedder,
    images: Sequence[bytes],
    size: int,
    decoder: str,
    describe: Callable[[int], str],
) -> Iterator[_Batch]:
    """Batches in order, decoded by threads ahead of their use."""
    # Here, because what is stored is answered without Pillow.
    from evaluator.decode import DecodeError, decode_image

    spec = embedder.input

    def prepare(start: int, stop: int, out: NDArray[np.float32]) -> set[tuple[int, int]]:
        sizes = set()
        for i in range(start, stop):
            try:
                pixels = decode_image(images[i], decoder=decoder)
            except DecodeError as error:
                raise BinError(f"{describe(i)}: {error}") from None
            write_model_input(pixels, spec, out[i - start])
            sizes.add((pixels.shape[0], pixels.shape[1]))
        return sizes

    def submit(start: int) -> _Pending:
        stop = min(start + size, len(images))
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
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[_Pending] = deque()
        for start in range(0, len(images), size):
            pending.append(submit(start))
            if len(pending) <= _AHEAD:
                continue
            yield _finished(pending.popleft())
        while pending:
            yield _finished(pending.popleft())


def _finished(item: _Pending) -> _Batch:
    batch, count, parts = item
    return batch, count, set().union(*(part.result() for part in parts))


def unusable_rows(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """For each embedding, whether it has a non-finite value or no length: it cannot be scored."""
    finite = np.isfinite(embeddings).all(axis=1)
    has_length = (embeddings != 0).any(axis=1)
    unusable: NDArray[np.bool_] = ~(finite & has_length)
    return unusable


def pair_scores(
    embeddings: NDArray[np.float32], left: NDArray[np.intp], right: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Cosine of embeddings[left[i]] and embeddings[right[i]], computed in float64, in [-1, 1]."""
    scores = np.empty(len(left), np.float64)
    for start in range(0, len(left), _SCORE_ROWS):
        rows = slice(start, start + _SCORE_ROWS)
        a = _unit(embeddings[left[rows]])
        b = _unit(embeddings[right[rows]])
        scores[rows] = np.einsum("ij,ij->i", a, b)
    return np.clip(scores, -1.0, 1.0, out=scores)


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = embeddings.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide
