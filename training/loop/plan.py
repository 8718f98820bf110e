"""What a run will take, before anything runs: steps, parameters, memory, disk, time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from evaluator.errors import InputError
from evaluator.limits import process_bytes
from training.data.batches.pipeline import kept_bytes, spec_of, split_images
from training.data.sources.faces import FaceSet
from training.network.assembly import embedding_copy, embedding_model, stage_model
from training.recipes.parts import OptimizerRecipe, Recipe
from training.recipes.recipe import summary
from training.triplets.stage import steps_an_epoch

# Steps that are timed after one that compiles.
_TIMED_STEPS = 2

# Copies of the embedding model's weights that are there while Keras writes it, as measured.
_EXPORT = 6

# On a CPU the timed batch is no larger than this, whole triplets; the time is scaled.
_CPU_BATCH = 33


def plan_lines(recipe: Recipe, faces: FaceSet, *, devices: str, run: Path) -> list[str]:
    """The plan as lines of text. Builds the model and times a few steps on random images, which
    tells the memory, too: on a CPU it is this process's own, the libraries and all.
    """
    # As training begins; it also imports TensorFlow under JAX, where that is installed.
    keras.utils.set_random_seed(recipe.data.seed)
    own = process_bytes("VmRSS") or 0
    classes = len(faces.names)
    train, held_back = split_images(faces.labels, recipe.data.validation, recipe.data.seed)
    steps = steps_an_epoch(recipe, faces.labels[train])
    total = sum(each * stage.epochs for each, stage in zip(steps, recipe.stages, strict=True))
    epochs = sum(stage.epochs for stage in recipe.stages)
    most = " at most" if any(stage.triplets for stage in recipe.stages) else ""
    # Where the weights begin changes nothing here, and ImageNet's need a network.
    embedding = embedding_copy(recipe)
    size = recipe.model.embedding_size
    headed = any(stage.head != "none" for stage in recipe.stages)
    last = recipe.stages[-1]
    head = classes * size * headed * last.sub_centers
    center = classes * size if recipe.center else 0
    optimizer = last.optimizer
    tried = _tried(recipe, embedding, classes, on_cpu="CPU" in devices)
    seconds = tried.seconds
    disk = _disk_bytes(recipe, classes, embedding.count_params())
    per_image = _activation_bytes(embedding, recipe)
    copies = 2 + _slots(optimizer)
    cached = kept_bytes(recipe.data, spec_of(recipe.preprocess), len(faces))
    weights = 4 * (copies - 1) * (head + embedding.count_params())
    saving = max(weights, _EXPORT * 4 * embedding.count_params())
    return [
        f"data          {len(train):,} images of {classes:,} people to train on, "
        f"{len(held_back):,} held back",
        f"steps         {max(steps):,} an epoch x {epochs} epochs = {total:,}{most} "
        f"(batch {recipe.batch})",
        *(
            f"  stage {number}     {line}"
            for number, line in enumerate(summary(recipe)[1:], start=1)
        ),
        f"parameters    {embedding.count_params():,} embedding model + {head:,} head"
        + (f" + {center:,} centers" if center else ""),
        f"memory        head {_size(head * 4 * copies)} (weight, gradient, "
        f"{copies - 2} optimizer slots)"
        + (f", centers {_size(center * 4)}" if center else "")
        + f", logits {_size(recipe.batch * classes * 4 * 3 * headed * last.sample_rate)}",
        f"              embedding model {_size(embedding.count_params() * 4 * copies)}, "
        f"its activations up to {_size(per_image * recipe.batch)} "
        f"({_size(per_image)} an image, {recipe.precision})",
        *([] if tried.peak is None else [_total_line(tried, recipe, weights, own, cached, saving)]),
        f"disk          {_size(disk)} in {run} at most, "
        f"{_size(shutil.disk_usage(_existing(run)).free)} free",
        f"time          {_duration(seconds * total)} on {devices}: "
        f"{seconds:.3f} s a step, {recipe.batch / seconds:,.0f} images/s",
    ]


def check_disk(recipe: Recipe, classes: int, run: Path) -> None:
    """Raises InputError if the run's files would not fit on its disk."""
    # A checkpoint is written beside the one it replaces.
    needed = _disk_bytes(recipe, classes, embedding_model(recipe).count_params())
    free = shutil.disk_usage(_existing(run)).free
    if free < needed:
        raise InputError(
            f"{run}: the run needs up to {_size(needed)} for its checkpoints and model, and its "
            f"disk has {_size(free)}; free some, or choose another folder"
        )


def _disk_bytes(recipe: Recipe, classes: int, embedding: int) -> int:
    """Last and best checkpoint, one being written, the model, twice while it is written, and what
    is kept of epochs.
    """
    slots = max(_slots(stage.optimizer) for stage in recipe.stages)
    vectors = classes * recipe.model.embedding_size
    head = vectors * recipe.stages[-1].sub_centers
    checkpoint = (embedding + head) * (1 + slots) + (vectors if recipe.center else 0)
    epochs = sum(stage.epochs for stage in recipe.stages) * (recipe.keep != "last")
    kept = epochs * (embedding + checkpoint * recipe.keep_whole)
    return 4 * (3 * checkpoint + 2 * embedding + kept) + 2**20


def _slots(optimizer: OptimizerRecipe) -> int:
    """Copies of the weights that an optimizer keeps."""
    own = (optimizer.momentum > 0) if optimizer.name in ("sgd", "sgdw") else 2
    return own + (optimizer.accumulate > 1) + (optimizer.ema > 0)


def _activation_bytes(embedding: keras.Model, recipe: Recipe) -> int:
    """Every layer's output for one image: what the backward pass needs, at most."""
    values = sum(
        int(np.prod([side for side in layer.output.shape[1:] if side]))
        for layer in embedding.layers
    )
    return values * (4 if recipe.precision == "float32" else 2)


@dataclass(frozen=True)
class _Tried:
    """Steps that were tried with ``batch`` images: seconds of one of the recipe's batch, and this
    process's memory before the first one, after the last, and at the most, where the system tells.
    """

    seconds: float
    batch: int
    built: int | None
    after: int | None
    peak: int | None


def _tried(recipe: Recipe, embedding: keras.Model, classes: int, *, on_cpu: bool) -> _Tried:
    """Training steps of the last stage that trains all, on random images."""
    stage = next(
        (each for each in reversed(recipe.stages) if each.freeze == "none"), recipe.stages[-1]
    )
    batch = min(recipe.batch, _CPU_BATCH) if on_cpu else recipe.batch
    model = stage_model(recipe, stage, embedding, classes=classes, steps_per_epoch=1)
    random = np.random.default_rng(0)
    images = random.random((batch, *spec_of(recipe.preprocess).batch_shape), np.float32)
    labels = random.integers(0, classes, batch).astype(np.int32)
    x: Any = (images, labels) if recipe.labels_too else images
    ends: list[float] = []

    def batches() -> Iterator[tuple[Any, Any]]:
        while True:
            yield x, labels

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch
            float((logs or {})["loss"])  # waits for the step
            ends.append(time.perf_counter())

    built = process_bytes("VmRSS") if on_cpu else None
    model.fit(
        batches(),
        steps_per_epoch=1 + _TIMED_STEPS,
        epochs=1,
        verbose=0,
        shuffle=False,
        callbacks=[Clock()],
    )
    seconds = (ends[-1] - ends[0]) / _TIMED_STEPS * recipe.batch / batch
    after, peak = (process_bytes(key) if on_cpu else None for key in ("VmRSS", "VmHWM"))
    return _Tried(seconds, batch, built, after, peak)


def _total_line(
    tried: _Tried, recipe: Recipe, fixed: int, own: int, cached: int, saving: int
) -> str:
    """What a run takes in all: in a step, or between two while ``saving`` bytes are copied. Of what
    steps took, ``fixed`` bytes (gradients, and slots that get their pages with the first step) do
    not grow with the batch; ``own`` is from before the model.
    """
    built, after, peak = tried.built or 0, tried.after or 0, tried.peak or 0
    more = max(0, peak - built - fixed) * (recipe.batch / tried.batch - 1)
    steps = max(peak + more, after + saving) - own
    return (
        f"              in all {_size(own + steps + cached)}: {_size(own)} the process itself, "
        f"{_size(steps)} model and steps, {_size(cached)} decoded images"
    )


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
