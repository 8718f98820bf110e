"""Labelled images to training batches: split, order, decoding, augmentation.

Everything random is a pure function of (seed, epoch, image), so that batch k of an epoch can be
made without the k before it: a resumed run goes on mid-epoch at no cost and with the same data.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.ahead import ahead
from evaluator.errors import InputError
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.inputs import InputSpec, write_model_input
from training.data.batches.augment import changed
from training.data.batches.buffers import recycled_arrays
from training.data.sources.faces import FaceSet
from training.data.sources.recordio import RecordError
from training.recipes.recipe import DataRecipe

# Streams of randomness that must not be the same numbers: what each is for.
_SPLIT, _ORDER, _FLIP, _AUGMENT = range(4)

# Batches made ahead of the one that is trained on.
_AHEAD = 3

# Decoded images are kept below this many bytes with cache "auto".
_CACHE_BYTES = 4 * 2**30

# So many images in a row that do not decode are no accident any more.
_MAX_BROKEN = 64


class Batch(NamedTuple):
    """Model input (batch, *input.batch_shape) float32, ids (batch,) int32, weights (batch,)
    float32 (ones without class weights).
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass
class Broken:
    """Images that could not be read, by where they lie, with the cause; filled while training."""

    causes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingData:
    """A FaceSet split, with all that decides its batches.

    ``train`` and ``held_back`` are image numbers. ``shard`` (i, n) makes each batch the i-th of
    its n parts, for n processes that train together. ``new_images`` gives the array of a batch,
    in memory that earlier ones had. ``cache`` holds decoded pixels by number, None where it is
    off; ``broken`` names the images that were skipped.
    """

    faces: FaceSet
    train: NDArray[np.int64]
    held_back: NDArray[np.int64]
    input: InputSpec
    recipe: DataRecipe
    batch: int
    class_weights: NDArray[np.float32]
    new_images: Callable[[], NDArray[np.float32]]
    cache: list[NDArray[np.uint8] | None] | None
    broken: Broken
    shard: tuple[int, int] = (0, 1)

    @property
    def steps(self) -> int:
        """Batches in an epoch: the last one is filled up with the epoch's first images."""
        return -(-len(self.train) // self.batch)


def prepare_data(
    faces: FaceSet,
    recipe: DataRecipe,
    spec: InputSpec,
    *,
    batch: int,
    shard: tuple[int, int] = (0, 1),
) -> TrainingData:
    """The training data of a recipe.

    Raises InputError for a batch that n processes cannot share, and for fewer than two people.
    """
    if len(faces.names) < 2:
        raise InputError(f"{faces.source}: expected at least 2 people, found {len(faces.names)}")
    if batch % shard[1]:
        raise InputError(f"batch: expected a multiple of {shard[1]} processes; found {batch}")
    train, held_back = split_images(faces.labels, recipe.validation, recipe.seed)
    kept = recipe.cache == "memory" or (
        recipe.cache == "auto" and len(faces) * spec.height * spec.width * 3 <= _CACHE_BYTES
    )
    return TrainingData(
        faces=faces,
        train=train,
        held_back=held_back,
        input=spec,
        recipe=recipe,
        batch=batch,
        class_weights=_class_weights(faces.labels[train], len(faces.names), recipe.class_weights),
        new_images=recycled_arrays((batch // shard[1], *spec.batch_shape)),
        cache=[None] * len(faces) if kept else None,
        broken=Broken(),
        shard=shard,
    )


def split_images(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image numbers to train on and to hold back, each rising.

    About ``share`` of the images are held back, drawn from all but one image of each person.
    """
    order = _generator(seed, _SPLIT).permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    free = np.delete(order, first)
    held_back = np.sort(free[: round(share * len(labels))])
    train = np.setdiff1d(np.arange(len(labels)), held_back, assume_unique=True)
    return train, held_back


def epoch_order(data: TrainingData, epoch: int) -> NDArray[np.int64]:
    """The image numbers of an epoch in its order: every training image once."""
    return _generator(data.recipe.seed, _ORDER, epoch).permutation(data.train)


def train_batches(
    data: TrainingData,
    epoch: int,
    start: int = 0,
    stop: int | None = None,
    *,
    order: NDArray[np.int64] | None = None,
) -> Iterator[Batch]:
    """The batches of an epoch from step ``start`` up to ``stop`` (or its end), made ahead by
    threads.

    ``order`` are the image numbers of an epoch that has its own, as triplets have.
    Images that cannot be read are noted in ``data.broken`` and replaced by the next in order.
    Raises InputError where no image around can be read.
    """
    order = epoch_order(data, epoch) if order is None else order
    flips = _flips(data, epoch)
    steps = range(start, -(-len(order) // data.batch) if stop is None else stop)
    yield from _ahead(
        data,
        steps,
        lambda number: _training_pixels(data, number, epoch, bool(flips[number])),
        order,
    )


def validation_batches(data: TrainingData) -> Iterator[Batch]:
    """The held-back images, unchanged, in order, in batches of one size, as several devices and
    compiled graphs want them: the last one is filled up with the first images. These, and any that
    stand for images that cannot be read, have the label -1 and are not to be counted.
    """
    part = data.batch // data.shard[1]
    start = data.shard[0] * part
    for number, batch in enumerate(still_batches(data, data.held_back, uncounted=-1)):
        left = len(data.held_back) - (number * data.batch + start)
        batch.labels[max(left, 0) :] = -1
        yield batch


def still_batches(
    data: TrainingData, numbers: NDArray[np.int64], *, uncounted: int | None = None
) -> Iterator[Batch]:
    """Some images, unchanged, in order; the last batch is filled up with the first ones.

    An image that cannot be read is replaced by the next, with that one's label or ``uncounted``.
    """
    steps = range(-(-len(numbers) // data.batch))
    yield from _ahead(
        data, steps, lambda number: _pixels(data, number), numbers, uncounted=uncounted
    )


def empty_batch(data: TrainingData) -> Batch:
    """A batch (this process's part) whose values are still to be written."""
    size = data.batch // data.shard[1]
    return Batch(data.new_images(), np.empty(size, np.int32), np.empty(size, np.float32))


def _ahead(
    data: TrainingData,
    steps: range,
    pixels: Callable[[int], NDArray[np.uint8]],
    order: NDArray[np.int64],
    *,
    uncounted: int | None = None,
) -> Iterator[Batch]:
    """A batch for each step through ``order``, which begins anew at its end; some made ahead, each
    by several threads.
    """
    workers = max(2, os.cpu_count() or 1)

    @functools.cache
    def ranks() -> NDArray[np.int64]:
        found = np.empty(len(data.faces), np.int64)
        found[order] = np.arange(len(order))
        return found

    def neighbour(number: int) -> int:
        return int(order[(ranks()[number] + 1) % len(order)])

    def fill(batch: Batch, numbers: NDArray[np.int64], rows: range) -> None:
        used = numbers[rows.start : rows.stop].tolist()
        for at, (row, wanted) in enumerate(zip(rows, tuple(used), strict=True)):
            number = wanted
            for _ in range(min(_MAX_BROKEN, len(order))):
                try:
                    values = pixels(number)
                    break
                except (DecodeError, RecordError, OSError) as error:
                    cause = " ".join(str(error).split())
                    data.broken.causes.setdefault(data.faces.origin(number), cause)
                    number = neighbour(number)
            else:
                origin, cause = next(iter(data.broken.causes.items()))
                raise InputError(
                    f"{data.faces.origin(wanted)}: neither this image nor the {_MAX_BROKEN} after "
                    f"it can be read: {cause if origin in cause else f'{origin}: {cause}'}"
                )
            write_model_input(values, data.input, batch.images[row])
            used[at] = number
        labels = data.faces.labels[used]
        batch.weights[rows.start : rows.stop] = data.class_weights[labels]
        if uncounted is not None:
            labels[used != numbers[rows.start : rows.stop]] = uncounted
        batch.labels[rows.start : rows.stop] = labels

    def submit(step: int) -> tuple[Batch, list[Future[None]]]:
        size = data.batch // data.shard[1]
        first = step * data.batch + data.shard[0] * size
        numbers = order[np.arange(first, first + size) % len(order)]
        batch = empty_batch(data)
        stride = -(-size // workers)
        parts = [range(at, min(at + stride, size)) for at in range(0, size, stride)]
        return batch, [pool.submit(fill, batch, numbers, part) for part in parts]

    pool = ThreadPoolExecutor(workers)
    try:
        yield from map(_finished, ahead(map(submit, steps), _AHEAD + 1))
    finally:
        # Nobody waits: the garbage collector may end an abandoned generator in a thread that is
        # just starting, which cannot wait for others then.
        pool.shutdown(wait=False, cancel_futures=True)


def _finished(begun: tuple[Batch, list[Future[None]]]) -> Batch:
    batch, parts = begun
    for part in parts:
        part.result()
    return batch


def _pixels(data: TrainingData, number: int) -> NDArray[np.uint8]:
    held = data.cache[number] if data.cache is not None else None
    if held is not None:
        return held
    pixels = decode_image(bytes(data.faces.read(number)))
    if data.cache is not None:
        data.cache[number] = pixels
    return pixels


def _training_pixels(data: TrainingData, number: int, epoch: int, flip: bool) -> NDArray[np.uint8]:
    pixels = _pixels(data, number)
    augment = data.recipe.augment
    if flip:
        # Three bytes at a time in one call without the interpreter's lock: Pillow is as fast in one
        # thread, and half as fast in two.
        mirror = np.ascontiguousarray(pixels).view("V3")[:, ::-1]
        pixels = np.ascontiguousarray(mirror).view(np.uint8)
    if augment.randaugment_ops or augment.crop_px or augment.cutout_px:
        pixels = changed(pixels, augment, _generator(data.recipe.seed, _AUGMENT, epoch, number))
    return pixels


def _flips(data: TrainingData, epoch: int) -> NDArray[np.bool_]:
    """Whether each image of the set is mirrored in this epoch."""
    if not data.recipe.augment.flip:
        return np.zeros(len(data.faces), np.bool_)
    drawn = _generator(data.recipe.seed, _FLIP, epoch).integers(0, 2, len(data.faces), np.uint8)
    return drawn.astype(np.bool_)


def _generator(seed: int, *counter: int) -> np.random.Generator:
    """The generator at a counter; counter-based, so that none depends on another's use."""
    filled = [0, *counter] + [0] * (3 - len(counter))
    return np.random.Generator(np.random.Philox(key=seed, counter=filled))


def _class_weights(labels: NDArray[np.int64], people: int, mode: str) -> NDArray[np.float32]:
    """The weight of each person's images; ``balanced`` has the mean 1 over the images."""
    if mode == "none":
        return np.ones(people, np.float32)
    counts = np.bincount(labels, minlength=people)
    return (len(labels) / (people * counts)).astype(np.float32)
