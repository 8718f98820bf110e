"""How long a model takes for a batch: the median of some, and how far they lie apart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError
from evaluator.images.inputs import Embedder, write_model_input
from evaluator.measure.embed import check_batch

# The first batch compiles and fills caches; the second may still grow memory.
_WARM_UP = 3
# A model that takes minutes a batch is timed fewer times, but never less than this.
_SECONDS, _FEWEST = 60.0, 5


@dataclass(frozen=True)
class Timing:
    """Seconds of a batch: the median of ``repeats``, its quartiles ``low`` and ``high``, and the
    ``least``. ``load`` is how many processes wanted to run meanwhile, one minute's average, this
    one among them; None where the system does not tell.
    """

    batch: int
    repeats: int
    seconds: float
    low: float
    high: float
    least: float
    load: float | None


def time_batches(
    embedder: Embedder,
    batch: int,
    *,
    repeats: int,
    on_progress: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """The time of forward passes of so many images of noise, after a warm-up, one after another.

    Decoding is not in it; handing a batch over to the model's process and its embeddings back is.
    At least five are timed, and no more than ``repeats`` or a minute. ``on_progress`` is called
    with 1 after each. Raises ForwardError.
    """
    check_batch(batch, embedder)
    images = noise(embedder, batch)
    for _ in range(_WARM_UP):
        rows = len(embedder.forward(images))
        if rows != batch:
            raise ForwardError(f"rows for {batch:,} images: {rows:,}; --batch-size 1 may do")
    taken: list[float] = []
    begin = clock()
    while len(taken) < repeats and (len(taken) < _FEWEST or clock() - begin < _SECONDS):
        start = clock()
        embedder.forward(images)
        taken.append(clock() - start)
        if on_progress is not None:
            on_progress(1)
    low, middle, high = (float(each) for each in np.percentile(taken, [25, 50, 75]))
    return Timing(batch, len(taken), middle, low, high, min(taken), _load())


def noise(embedder: Embedder, count: int) -> NDArray[np.float32]:
    """A batch of the model's input: random pixels, always the same."""
    spec = embedder.input
    numbers = np.random.default_rng(0)
    batch = np.empty((count, *spec.batch_shape), np.float32)
    for image in batch:
        pixels = numbers.integers(0, 256, (*spec.image_size, 3), np.uint8)
        write_model_input(pixels, spec, image)
    return batch


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
