"""The input pipeline beside the model it feeds, and beside one-hot labels.

    python benchmarks/pipeline.py FACES [--backbone resnet50v2] [--batch 32] [--steps 3]

FACES is a folder per person or a .rec file. Rates are of this machine while it does nothing else;
pipeline and model are timed in turns, and their ratio is what counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np

from evaluator.inputs import InputSpec
from training.assembly import embedding_model, stage_model
from training.data.faces import open_faces
from training.data.pipeline import TrainingData, prepare_data, train_batches
from training.recipes import Augment, DataRecipe, Recipe, parse_recipe

CLASSES = 85_742


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--backbone", default="resnet50v2")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    faces = open_faces(given.faces)
    augmented = Augment(flip=True, crop_px=4, cutout_px=16, randaugment_ops=2)
    variants = {
        "decode and flip": DataRecipe(validation=0, cache="none"),
        "from memory and flip": DataRecipe(validation=0, cache="memory"),
        "decode, flip, crop, cutout, RandAugment": DataRecipe(
            validation=0, cache="none", augment=augmented
        ),
    }
    sources = {
        name: prepare_data(faces, recipe, InputSpec(112, 112), batch=128)
        for name, recipe in variants.items()
    }
    step = training_step(given.backbone, given.batch, len(faces.names))
    step(1)  # compiles
    rates: dict[str, list[float]] = {name: [] for name in [*sources, given.backbone]}
    for number in range(given.rounds):
        for name, data in sources.items():
            rates[name].append(pipeline_rate(data, epoch=number))
        begin = time.perf_counter()
        step(given.steps)
        rates[given.backbone].append(given.steps * given.batch / (time.perf_counter() - begin))
    model = float(np.median(rates.pop(given.backbone)))
    print(f"| pipeline | images/s | of {given.backbone}'s {model:,.0f} |\n|---|---|---|")
    for name, values in rates.items():
        rate = float(np.median(values))
        print(f"| {name} | {rate:,.0f} | {rate / model:.0f}x |")
    print(f"\nlabels of a batch of 128, {CLASSES:,} classes:")
    print_label_times()


def pipeline_rate(data: TrainingData, *, epoch: int) -> float:
    """Images a second over at most 16 batches, with "memory" after they were decoded once."""
    if data.cache is not None:
        for _ in islice(train_batches(data, epoch), 16):
            pass
    begin = time.perf_counter()
    count = sum(len(batch.labels) for batch in islice(train_batches(data, epoch), 16))
    return count / (time.perf_counter() - begin)


def training_step(backbone: str, batch: int, classes: int) -> Callable[[int], None]:
    """A function that trains so many steps on random images."""
    stage = {"epochs": 1, "loss": "softmax", "optimizer": "adamax", "learning_rate": 0.001}
    recipe: Recipe = parse_recipe(
        {"model": {"backbone": backbone}, "stages": [stage], "batch": batch},
        lambda place, message: ValueError(f"{place}: {message}"),
    )
    model = stage_model(
        recipe, recipe.stages[0], embedding_model(recipe), classes=classes, steps_per_epoch=1
    )
    random = np.random.default_rng(0)
    images = random.random((batch, 112, 112, 3), np.float32)
    labels = random.integers(0, classes, batch).astype(np.int32)

    def train(steps: int) -> None:
        for _ in range(steps):
            model.train_on_batch(images, labels)

    return train


def print_label_times() -> None:
    """Labels through tf.data as one-hot rows, as the seed made them, and as integers."""
    if keras.backend.backend() != "tensorflow":
        print("needs TensorFlow, whose tf.data the seed's labels went through")
        return
    import tensorflow as tf

    labels = np.random.default_rng(0).integers(0, CLASSES, 128 * 40)

    def dataset(one_hot: bool) -> Any:
        rows = tf.data.Dataset.from_tensor_slices(labels)
        if one_hot:
            rows = rows.map(lambda label: tf.one_hot(label, CLASSES), tf.data.AUTOTUNE)
        return rows.batch(128).prefetch(tf.data.AUTOTUNE)

    def milliseconds(rows: Any) -> float:
        iterator: Iterator[Any] = iter(rows)
        next(iterator)
        begin = time.perf_counter()
        count = sum(1 for _ in iterator)
        return 1000 * (time.perf_counter() - begin) / count

    rounds = [(milliseconds(dataset(True)), milliseconds(dataset(False))) for _ in range(3)]
    seed, ours = (float(np.median(values)) for values in zip(*rounds, strict=True))
    print(f"one-hot {seed:.2f} ms, integers {ours:.3f} ms a batch: {seed / ours:.0f}x")


if __name__ == "__main__":
    main()
