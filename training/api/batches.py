"""Faces as batches for Keras's fit, on either backend."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from types import FrameType
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.ahead import ahead
from evaluator.errors import InputError, check_choice
from evaluator.images.inputs import InputSpec
from training.api.teacher import Teacher, TeacherRows
from training.data.batches.feed import tf_rows
from training.data.batches.pipeline import (
    Batch,
    Pass,
    TrainingData,
    generator,
    prepare_data,
    still_pass,
    training_pass,
)
from training.data.sources.faces import FaceSet
from training.recipes.parts import Augment, DataRecipe
from training.recipes.reading import built
from training.triplets.samplers import MinedSampler, Sampler, fitting_batch

# A stream of randomness beside those of the pipeline and of the samplers.
_MIX = 200

# Keras's adapter of a dataset, and its iterator, perhaps with a stranger's dataset between.
_CALLERS = 3

# Threads that each make a batch, at most: a batch of 128 faces has 19 MB.
_WORKERS = 16

# Batches made ahead of the one that is asked for.
_AHEAD = 3

_MIRRORED = Augment()


def face_batches(
    faces: FaceSet,
    *,
    batch_size: int | None = None,
    validation: float = 0.0,
    sampler: Sampler | None = None,
    input: str = "unit",
    channels: str = "rgb",
    size: int | tuple[int, int] = (112, 112),
    augment: Augment | None = _MIRRORED,
    balance: str = "none",
    seed: int = 0,
    initial_epoch: int = 0,
    cache: str = "auto",
) -> tuple[FaceBatches, FaceBatches]:
    """Batches to train on, and batches of the images held back (a share ``validation`` of them;
    each person keeps one to train on), unchanged and in order.

    ``batch_size`` is 128, or what a ``sampler`` asks for. ``input``, ``channels`` and ``size``
    (pixels, or height and width) are what the model sees, in the evaluator's words. ``augment``
    None is none; ``balance="weights"`` gives each image a weight, the inverse of how many its
    person has. ``cache``: ``memory`` keeps decoded pixels, ``auto`` does so below 4 GB. Training
    begins with ``initial_epoch``'s images, which is fit's own.

    Raises InputError (a ValueError) for values out of range, and for fewer than two people.
    """
    check_choice("balance", balance, ("none", "weights"))
    batch_size = fitting_batch(sampler, batch_size)
    if batch_size < 1 or initial_epoch < 0:
        raise InputError(
            "expected a batch_size of 1 or more and an initial_epoch of 0 or more; "
            f"found {batch_size} and {initial_epoch}"
        )
    plain = {
        "validation": validation,
        "seed": seed,
        "cache": cache,
        "class_weights": "balanced" if balance == "weights" else "none",
        "augment": asdict(augment or Augment(flip=False)),
    }
    recipe = built(DataRecipe, plain, (), _refused)
    height, width = (size, size) if isinstance(size, int) else size
    spec = InputSpec(height, width, input, channels)
    data = prepare_data(faces, recipe, spec, batch=batch_size)
    form = _Form(weighted=balance == "weights")
    return (
        FaceBatches(data, form, sampler=sampler, epoch=initial_epoch),
        FaceBatches(data, form, held_back=True),
    )


def _refused(place: tuple[str | int, ...], message: str) -> InputError:
    return InputError(f"{'.'.join(map(str, place))}: {message}")


@dataclass(frozen=True)
class _Form:
    """What a batch consists of: labels among the inputs, weights, a teacher's embeddings, mixing.

    ``outputs`` are the names under which a teacher's embeddings and the labels come.
    """

    weighted: bool = False
    labelled: bool = False
    mixup: float = 0.0
    teacher: TeacherRows | None = None
    outputs: tuple[str, str] = ("embedding", "logits")


class FaceBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches (images, labels): float32 (batch, height, width, channels) and int32 (batch,).

    Batch k is a pure function of the seed, the epoch and k (of a `MinedSampler`, of the weights
    too). An epoch's last batch is filled up with its first images; that of images held back is
    short. ``epoch`` counts from 0 and moves when fit has gone through all of it, or through the
    ``steps_per_epoch`` it was given. In fit they come in order, whatever its ``shuffle`` says: they
    are drawn anew for each epoch, and repeat with the seed.
    """

    def __init__(
        self,
        data: TrainingData,
        form: _Form,
        *,
        sampler: Sampler | None = None,
        epoch: int = 0,
        held_back: bool = False,
        steps: int | None = None,
    ) -> None:
        # One worker: Keras's own threads would serve, after a look at a batch's shapes, what they
        # had made for it as the next epoch's. Ours are ahead instead.
        super().__init__()
        self.epoch = epoch
        self._data, self._form = data, form
        self._sampler, self._held_back = sampler, held_back
        self._lock = threading.Lock()
        self._pass: tuple[int, Pass] | None = None
        self._turn: int | None = None
        self._made: dict[int, Future[tuple[Any, ...]]] = {}
        self._pool = ThreadPoolExecutor(min(max(2, os.cpu_count() or 1), _WORKERS))
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._steps = self._first_steps() if steps is None else steps

    def _first_steps(self) -> int:
        if self._held_back or self._sampler is None:
            count = len(self._data.held_back if self._held_back else self._data.train)
            return -(-count // self._data.batch)
        if isinstance(self._sampler, MinedSampler) and self._sampler.batches is not None:
            return self._sampler.batches
        return -(-len(self._sampler.order(self._data, self.epoch)) // self._data.batch)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._steps

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Batch ``index`` of the epoch. Raises InputError where no image around can be read."""
        if not 0 <= index < len(self):
            raise IndexError(f"expected a batch from 0 to {len(self) - 1}; found {index}")
        with self._lock:
            if self._turn is not None:
                index, self._turn = self._turn % len(self), self._turn + 1
            through, made = self._through(), self._made
            for step in range(index, min(index + _AHEAD, len(self) - 1) + 1):
                if step not in made:
                    made[step] = self._pool.submit(self._row, through, self.epoch, step)
            own = made.pop(index)
        return own.result()

    def on_epoch_begin(self) -> None:
        """What is asked for next is batch 0, whatever its number. Keras calls this."""
        with self._lock:
            self._turn = 0
            # Here, for a `MinedSampler`: in a step the model on JAX has no weights of its own.
            self._through()

    def on_epoch_end(self) -> None:
        """The next epoch. Keras calls this at an epoch's end."""
        with self._lock:
            self._turn = None
            # And it calls this before the first one, to forget the batch whose shapes it looked at.
            if not _while_resetting():
                self.epoch += 1

    @property
    def skipped(self) -> dict[str, str]:
        """Images that could not be read, by where they lie, with the cause; the next in order
        stands for each.
        """
        return dict(self._data.broken)

    def with_labels(self) -> FaceBatches:
        """The same as ((images, labels), labels), for models with layers that take labels.

        Raises InputError for weights, which such a layer's own loss would not see, and for mixing.
        """
        if self._form.weighted:
            raise InputError(
                "balance='weights' does not reach the loss that a layer adds itself; use "
                "sampler=BalancedSampler()"
            )
        return self._changed(labelled=True)

    def with_teacher(
        self, teacher: Teacher, *, embedding: str = "embedding", labels: str = "logits"
    ) -> FaceBatches:
        """The same with targets {``embedding``: the teacher's embeddings (batch, size), ``labels``:
        labels}, under the names of the model's outputs.

        The teacher sees the augmented image. Where nothing but mirroring changes images and it has
        a ``cache``, both views of each are embedded once. Raises InputError for mixing.
        """
        augment = self._data.recipe.augment
        still = self._held_back or not (
            augment.crop_px or augment.cutout_px or augment.randaugment_ops
        )
        rows = teacher.rows(self._data.faces, kept=still)
        return self._changed(teacher=rows, outputs=(embedding, labels))

    def with_mixup(self, alpha: float) -> FaceBatches:
        """The same with each image mixed with one of its batch: shares drawn from
        Beta(alpha, alpha) a batch, the larger its own, and labels (batch, 3) for `MixupLoss`.

        Raises InputError for images held back, a teacher and labels as inputs, and an ``alpha``
        that is not above 0.
        """
        if not alpha > 0:
            raise InputError(f"alpha: expected a number above 0; found {alpha!r}")
        if self._held_back:
            raise InputError("images held back are not mixed: MixupLoss takes them as they are")
        return self._changed(mixup=float(alpha))

    def to_tf(self) -> Any:
        """A tf.data.Dataset of the same batches, as MirroredStrategy needs one: from ``epoch`` on
        without end, so for ``fit(steps_per_epoch=len(batches))``; of images held back, once.
        """

        def rows() -> Iterator[Any]:
            epochs = range(1) if self._held_back else itertools.count(self.epoch)
            begun = (
                self._pool.submit(self._row, through, epoch, step)
                for epoch in epochs
                for through in (self._begin(epoch),)
                for step in range(len(self))
            )
            for each in ahead(begun, _AHEAD + 1):
                yield each.result()

        made = tf_rows(rows, self[0], short=self._held_back)
        if not self._held_back:
            return made
        import tensorflow as tf

        return made.apply(tf.data.experimental.assert_cardinality(len(self)))

    def _changed(self, **changes: Any) -> FaceBatches:
        form = replace(self._form, **changes)
        if form.mixup and (form.labelled or form.teacher):
            what = "a layer that takes labels" if form.labelled else "a teacher"
            raise InputError(f"mixed images are of two people: with_mixup does not go with {what}")
        return FaceBatches(
            self._data,
            form,
            sampler=self._sampler,
            epoch=self.epoch,
            held_back=self._held_back,
            steps=self._steps,
        )

    def _through(self) -> Pass:
        """The epoch's images in order; what was made ahead for another epoch is forgotten."""
        if self._pass is None or self._pass[0] != self.epoch:
            self._pass = (self.epoch, self._begin(self.epoch))
            self._made = {}
        return self._pass[1]

    def _begin(self, epoch: int) -> Pass:
        data = self._data
        if self._held_back:
            return still_pass(data, data.held_back)
        order = None if self._sampler is None else self._sampler.order(data, epoch)
        if isinstance(self._sampler, MinedSampler) and order is not None:
            order = np.resize(order, self._steps * data.batch)
        return training_pass(data, epoch, order)

    def _row(self, through: Pass, epoch: int, step: int) -> tuple[Any, ...]:
        batch, found = through.batch(step, fill=not self._held_back)
        form, images, labels = self._form, batch.images, batch.labels
        inputs: Any = (images, labels) if form.labelled else images
        targets: Any = labels
        if form.teacher is not None:
            flips = [bool(through.flips[number]) for number, _ in found]
            targets = dict(zip(form.outputs, (form.teacher.of(found, flips), labels), strict=True))
        elif form.mixup:
            random = generator(self._data.recipe.seed, _MIX, epoch, step)
            inputs, targets = _mixed(batch, form.mixup, random)
        return (inputs, targets, batch.weights) if form.weighted else (inputs, targets)


def _while_resetting() -> bool:
    """Whether Keras forgets what it has read so far, rather than being at the end of it: both call
    the same functions.
    """
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_CALLERS):
        if frame is not None and frame.f_code.co_name == "reset":
            return True
        frame = frame and frame.f_back
    return False


def _mixed(
    batch: Batch, alpha: float, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The batch mixed with its own reverse, and the labels (batch, 3) of `MixupLoss`.

    Both of a pair get the larger share of themselves: the same mixtures as with the share drawn,
    in another order.
    """
    share = np.float32(random.beta(alpha, alpha))
    share = max(share, np.float32(1) - share)
    images = batch.images * share
    images += batch.images[::-1] * (np.float32(1) - share)
    shares = np.full(len(images), share, np.float32)
    return images, np.stack([batch.labels, batch.labels[::-1], shares], 1, dtype=np.float32)


class _WithLabels(keras.utils.PyDataset):  # type: ignore[misc]
    """A stranger's batches with the labels among the inputs; all else is theirs."""

    def __init__(self, dataset: keras.utils.PyDataset) -> None:
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self._dataset = dataset

    @property
    def num_batches(self) -> int | None:
        """Batches in an epoch."""
        found: int | None = self._dataset.num_batches
        return found

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = tuple(self._dataset[index])
        _check_row(row)
        return (row[0], row[1]), row[1]

    def on_epoch_begin(self) -> None:
        """Theirs."""
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Theirs."""
        self._dataset.on_epoch_end()


def with_labels(dataset: Any) -> Any:
    """A tf.data.Dataset or PyDataset of (images, labels) as one of ((images, labels), labels), for
    models with layers that take labels, as `CenterLoss` and `MarginHead`.

    Raises InputError for another kind of data, for weights, which such a layer's own loss would not
    see, and for one-hot labels.
    """
    if isinstance(dataset, FaceBatches):
        return dataset.with_labels()
    if isinstance(dataset, keras.utils.PyDataset):
        return _WithLabels(dataset)
    if hasattr(dataset, "element_spec") and hasattr(dataset, "map"):
        _check_row(dataset.element_spec)
        return dataset.map(lambda images, labels: ((images, labels), labels))
    raise InputError(
        "with_labels: expected a tf.data.Dataset or a PyDataset of (images, labels); got "
        f"{type(dataset).__name__}; of arrays, fit([images, labels], labels)"
    )


def _check_row(row: Any) -> None:
    """Raises InputError for a batch that is not (images, integer labels)."""
    if not isinstance(row, tuple) or len(row) != 2:
        what = f"{len(row)} parts" if isinstance(row, tuple) else type(row).__name__
        raise InputError(f"with_labels: expected batches (images, labels); found {what}")
    shape: Any = getattr(row[1], "shape", ())
    if shape is not None and len(shape) > 1 and shape[-1] not in (None, 1):
        raise InputError(
            f"with_labels: expected a label an image, found {tuple(shape)}; of one-hot ones, "
            "argmax is the label"
        )
