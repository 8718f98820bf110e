"""What a run will take, before anything runs: steps, parameters, memory, disk, time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from evaluator.errors import InputError
from evaluator.images.inputs import InputSpec
from training.data.batches.pipeline import split_images
from training.data.sources.faces import FaceSet
from training.network.assembly import embedding_copy, embedding_model, stage_model
from training.recipes.recipe import OptimizerRecipe, Recipe, summary
from training.triplets.stage import steps_an_epoch

# Extra copies of the weights that an optimizer keeps.
_SLOTS = {"adamax": 2, "adam": 2, "sgd": 1}

# Steps that are timed after one that compiles.
_TIMED_STEPS = 2

# On a CPU the timed batch is no larger than this, whole triplets; the time is scaled.
_CPU_BATCH = 33


def plan_lines(recipe: Recipe, faces: FaceSet, *, devices: str, run: Path) -> list[str]:
    """The plan as lines of text. Builds the model and times a few steps on random images."""
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
    head, center = classes * size * headed, classes * size if recipe.center else 0
    optimizer = recipe.stages[-1].optimizer
    seconds = _seconds_a_step(recipe, embedding, classes, on_cpu="CPU" in devices)
    disk = _disk_bytes(recipe, classes, embedding.count_params())
    per_image = _activation_bytes(embedding, recipe)
    copies = 2 + _slots(optimizer)
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
        + f", logits {_size(recipe.batch * classes * 4 * 3 * headed)}",
        f"              embedding model {_size(embedding.count_params() * 4 * copies)}, "
        f"its activations up to {_size(per_image * recipe.batch)} "
        f"({_size(per_image)} an image, {recipe.precision})",
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
            f"disk has {_size(free)}; free some, or name another with --run"
        )


def _disk_bytes(recipe: Recipe, classes: int, embedding: int) -> int:
    """Last and best checkpoint, one being written, and the model, twice while it is written."""
    slots = max(_slots(stage.optimizer) for stage in recipe.stages)
    head = classes * recipe.model.embedding_size
    checkpoint = (embedding + head) * (1 + slots) + (head if recipe.center else 0)
    return 4 * (3 * checkpoint + 2 * embedding) + 2**20


def _slots(optimizer: OptimizerRecipe) -> int:
    return _SLOTS[optimizer.name] if optimizer.name != "sgd" or optimizer.momentum else 0


def _activation_bytes(embedding: keras.Model, recipe: Recipe) -> int:
    """Every layer's output for one image: what the backward pass needs, at most."""
    values = sum(
        int(np.prod([side for side in layer.output.shape[1:] if side]))
        for layer in embedding.layers
    )
    return values * (4 if recipe.precision == "float32" else 2)


def _seconds_a_step(recipe: Recipe, embedding: keras.Model, classes: int, *, on_cpu: bool) -> float:
    """A training step of the last stage that trains all, timed on random images."""
    stage = next(
        (each for each in reversed(recipe.stages) if each.freeze == "none"), recipe.stages[-1]
    )
    batch = min(recipe.batch, _CPU_BATCH) if on_cpu else recipe.batch
    model = stage_model(recipe, stage, embedding, classes=classes, steps_per_epoch=1)
    height, width = recipe.preprocess.size
    spec = InputSpec(height, width, recipe.preprocess.profile, recipe.preprocess.channels)
    random = np.random.default_rng(0)
    images = random.random((batch, *spec.batch_shape), np.float32)
    labels = random.integers(0, classes, batch).astype(np.int32)
    x: Any = (images, labels) if recipe.center else images
    ends: list[float] = []

    def batches() -> Iterator[tuple[Any, Any]]:
        while True:
            yield x, labels

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch
            float((logs or {})["loss"])  # waits for the step
            ends.append(time.perf_counter())

    model.fit(
        batches(),
        steps_per_epoch=1 + _TIMED_STEPS,
        epochs=1,
        verbose=0,
        shuffle=False,
        callbacks=[Clock()],
    )
    return (ends[-1] - ends[0]) / _TIMED_STEPS * recipe.batch / batch


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
