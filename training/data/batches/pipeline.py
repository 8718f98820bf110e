"""Labelled images to training batches: split, order, decoding, augmentation.

Everything random is a pure function of (seed, epoch, image), so that batch k of an epoch can be
made without the k before it: a resumed run goes on mid-epoch at no cost and with the same data.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.ahead import ahead
from evaluator.errors import InputError, cause_of
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.inputs import InputSpec, write_model_input
from training.data.batches.augment import changed
from training.data.batches.balance import balanced_by_person
from training.data.batches.buffers import recycled_arrays
from training.data.sources.faces import FaceSet
from training.data.sources.recordio import RecordError
from training.recipes.parts import DataRecipe, Preprocess

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


@dataclass(frozen=True)
class TrainingData:
    """A FaceSet split, with all that decides its batches.

    ``train`` and ``held_back`` are image numbers. ``shard`` (i, n) makes each batch the i-th of
    its n parts, for n processes that train together. ``new_images`` gives the array of a batch,
    in memory that earlier ones had. ``cache`` holds decoded pixels by number, None where it is
    off; ``broken`` has the images that were skipped, by where they lie, with the cause.
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
    broken: dict[str, str]
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
    return TrainingData(
        faces=faces,
        train=train,
        held_back=held_back,
        input=spec,
        recipe=recipe,
        batch=batch,
        class_weights=_class_weights(faces.labels[train], len(faces.names), recipe.class_weights),
        new_images=recycled_arrays((batch // shard[1], *spec.batch_shape)),
        cache=[None] * len(faces) if kept_bytes(recipe, spec, len(faces)) else None,
        broken={},
        shard=shard,
    )


def spec_of(preprocess: Preprocess) -> InputSpec:
    """What a recipe's model sees."""
    return InputSpec(*preprocess.size, preprocess.profile, preprocess.channels)


def kept_bytes(recipe: DataRecipe, spec: InputSpec, images: int) -> int:
    """The bytes of decoded images that are kept in memory; 0 where none are."""
    size = images * spec.height * spec.width * 3
    kept = recipe.cache == "memory" or (recipe.cache == "auto" and size <= _CACHE_BYTES)
    return size if kept else 0


def split_images(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image numbers to train on and to hold back, each rising.

    About ``share`` of the images are held back, drawn from all but one image of each person.
    """
    order = generator(seed, _SPLIT).permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    free = np.delete(order, first)
    held_back = np.sort(free[: round(share * len(labels))])
    train = np.setdiff1d(np.arange(len(labels)), held_back, assume_unique=True)
    return train, held_back


def epoch_order(data: TrainingData, epoch: int) -> NDArray[np.int64]:
    """The image numbers of an epoch in its order: every training image once, or as many of each
    person as ``balance`` says.
    """
    random = generator(data.recipe.seed, _ORDER, epoch)
    if data.recipe.balance:
        order = balanced_by_person(data.faces.labels[data.train], data.recipe.balance, random)
        return data.train[order]
    return random.permutation(data.train)


@dataclass(frozen=True)
class Pass:
    """Some images once in their order, batch by batch: batch k needs none of those before it.

    ``pixels(number)`` gives an image. One that cannot be read is noted in ``data.broken`` and
    replaced by the next in order, with that one's label or ``uncounted``. ``flips`` (images,) says
    which are mirrored.
    """

    data: TrainingData
    order: NDArray[np.int64]
    pixels: Callable[[int], NDArray[np.uint8]]
    flips: NDArray[np.bool_]
    uncounted: int | None = None

    @property
    def steps(self) -> int:
        """Batches in it, the last one short or filled up."""
        return -(-len(self.order) // self.data.batch)

    def numbers(self, step: int, *, fill: bool = True) -> NDArray[np.int64]:
        """The images of a batch (this process's part); ``fill``: the last batch is filled up with
        the first images.
        """
        size = self.data.batch // self.data.shard[1]
        first = step * self.data.batch + self.data.shard[0] * size
        places = np.arange(first, first + size)
        return self.order[places % len(self.order) if fill else places[places < len(self.order)]]

    def batch(
        self, step: int, *, fill: bool = True
    ) -> tuple[Batch, list[tuple[int, NDArray[np.uint8]]]]:
        """A batch made by this thread alone, and what `fill` gives: its images' numbers and pixels.

        Without ``fill`` the last batch is short. Raises InputError as `fill` does.
        """
        numbers = self.numbers(step, fill=fill)
        images, labels, weights = empty_batch(self.data)
        count = len(numbers)
        batch = Batch(images[:count], labels[:count], weights[:count])
        return batch, self.fill(batch, numbers, range(count))

    def fill(
        self, batch: Batch, numbers: NDArray[np.int64], rows: range
    ) -> list[tuple[int, NDArray[np.uint8]]]:
        """Writes these rows of the batch; the numbers and pixels that they are of.

        Raises InputError where no image around can be read.
        """
        data, found = self.data, []
        for row in rows:
            number, values = self._readable(int(numbers[row]))
            write_model_input(values, data.input, batch.images[row])
            found.append((number, values))
        used = [number for number, _ in found]
        labels = data.faces.labels[used]
        batch.weights[rows.start : rows.stop] = data.class_weights[labels]
        if self.uncounted is not None:
            labels[used != numbers[rows.start : rows.stop]] = self.uncounted
        batch.labels[rows.start : rows.stop] = labels
        return found

    def _readable(self, wanted: int) -> tuple[int, NDArray[np.uint8]]:
        """The number and pixels of an image, or of the next that can be read."""
        data, number = self.data, wanted
        for _ in range(min(_MAX_BROKEN, len(self.order))):
            try:
                return number, self.pixels(number)
            except (DecodeError, RecordError, OSError) as error:
                data.broken.setdefault(data.faces.origin(number), cause_of(error))
                number = int(self.order[(self._ranks[number] + 1) % len(self.order)])
        origin, cause = next(iter(data.broken.items()))
        raise InputError(
            f"{data.faces.origin(wanted)}: neither this image nor the {_MAX_BROKEN} after "
            f"it can be read: {cause if origin in cause else f'{origin}: {cause}'}"
        )

    @functools.cached_property
    def _ranks(self) -> NDArray[np.int64]:
        """Where each image stands in the order."""
        found = np.empty(len(self.data.faces), np.int64)
        found[self.order] = np.arange(len(self.order))
        return found


def training_pass(data: TrainingData, epoch: int, order: NDArray[np.int64] | None = None) -> Pass:
    """An epoch of augmented images; ``order`` are the image numbers of one that has its own, as
    triplets have.
    """
    flips = epoch_flips(data, epoch)
    return Pass(
        data,
        epoch_order(data, epoch) if order is None else order,
        lambda number: _training_pixels(data, number, epoch, bool(flips[number])),
        flips,
    )


def still_pass(
    data: TrainingData, numbers: NDArray[np.int64], *, uncounted: int | None = None
) -> Pass:
    """Some images, unchanged, in order."""
    unchanged = np.zeros(len(data.faces), np.bool_)
    return Pass(data, numbers, lambda number: _pixels(data, number), unchanged, uncounted)


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

    ``order`` is that of `training_pass`. Raises InputError as `Pass.fill` does.
    """
    through = training_pass(data, epoch, order)
    yield from _ahead(through, range(start, through.steps if stop is None else stop))


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
    """The batches of `still_pass`, made ahead; the last one is filled up with the first images."""
    through = still_pass(data, numbers, uncounted=uncounted)
    yield from _ahead(through, range(through.steps))


def empty_batch(data: TrainingData) -> Batch:
    """A batch (this process's part) whose values are still to be written."""
    size = data.batch // data.shard[1]
    return Batch(data.new_images(), np.empty(size, np.int32), np.empty(size, np.float32))


def _ahead(through: Pass, steps: range) -> Iterator[Batch]:
    """A batch for each step; some made ahead, each by several threads."""
    workers = max(2, os.cpu_count() or 1)

    def submit(step: int) -> tuple[Batch, list[Future[Any]]]:
        numbers, batch = through.numbers(step), empty_batch(through.data)
        stride = -(-len(numbers) // workers)
        parts = [range(len(numbers))[at : at + stride] for at in range(0, len(numbers), stride)]
        return batch, [pool.submit(through.fill, batch, numbers, part) for part in parts]

    pool = ThreadPoolExecutor(workers)
    try:
        yield from map(_finished, ahead(map(submit, steps), _AHEAD + 1))
    finally:
        # Nobody waits: the garbage collector may end an abandoned generator in a thread that is
        # just starting, which cannot wait for others then.
        pool.shutdown(wait=False, cancel_futures=True)


def _finished(begun: tuple[Batch, list[Future[Any]]]) -> Batch:
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
        pixels = changed(pixels, augment, generator(data.recipe.seed, _AUGMENT, epoch, number))
    return pixels


def epoch_flips(data: TrainingData, epoch: int) -> NDArray[np.bool_]:
    """Whether each image of the set is mirrored in this epoch."""
    if not data.recipe.augment.flip:
        return np.zeros(len(data.faces), np.bool_)
    drawn = generator(data.recipe.seed, _FLIP, epoch).integers(0, 2, len(data.faces), np.uint8)
    return drawn.astype(np.bool_)


def generator(seed: int, *counter: int) -> np.random.Generator:
    """The generator at a counter; counter-based, so that none depends on another's use."""
    filled = [0, *counter] + [0] * (3 - len(counter))
    return np.random.Generator(np.random.Philox(key=seed, counter=filled))


def _class_weights(labels: NDArray[np.int64], people: int, mode: str) -> NDArray[np.float32]:
    """The weight of each person's images; ``balanced`` has the mean 1 over the images."""
    if mode == "none":
        return np.ones(people, np.float32)
    counts = np.bincount(labels, minlength=people)
    return (len(labels) / (people * counts)).astype(np.float32)
