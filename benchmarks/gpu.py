"""Images/s of a training step with an 85,742-class head, from synthetic data.

    KERAS_BACKEND=jax python benchmarks/gpu.py [--backbones resnet50v2 iresnet50]

Prints a Markdown table with the hardware. Needs a GPU to mean anything, and no TensorFlow on the
JAX backend. The founding system recorded 640 images/s (200 ms a step of 128) on a GPU it does not
name.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from training.network.assembly import embedding_model, stage_model
from training.recipes.recipe import parse_recipe

SEED_IMAGES_PER_SECOND = 640


def main() -> None:
    """Times every combination and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["resnet50v2", "iresnet50"])
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--precisions", nargs="+", default=["float32", "mixed_bfloat16"])
    parser.add_argument("--classes", type=int, default=85_742)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--size", type=int, default=112)
    given = parser.parse_args()
    print(f"{hardware()}; {keras.backend.backend()} backend, Keras {keras.__version__}; ", end="")
    print(f"{given.classes:,} classes, {given.size}x{given.size} pixels, {given.steps} steps\n")
    print("| backbone | precision | batch | ms a step | images/s | of the seed's 640 |")
    print("|---|---|---|---|---|---|")
    for backbone in given.backbones:
        for precision in given.precisions:
            for batch in given.batches:
                print(row(backbone, precision, batch, given), flush=True)


def row(backbone: str, precision: str, batch: int, given: argparse.Namespace) -> str:
    """One line of the table: the median step after three that compile and settle."""
    seconds = float(np.median(step_seconds(backbone, precision, batch, given)[3:]))
    rate = batch / seconds
    return (
        f"| {backbone} | {precision} | {batch} | {1000 * seconds:.1f} | {rate:,.0f} "
        f"| {rate / SEED_IMAGES_PER_SECOND:.1f}x |"
    )


def step_seconds(
    backbone: str, precision: str, batch: int, given: argparse.Namespace
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The seconds of each step of a fit, each waited for, host to device copies included."""
    keras.backend.clear_session()
    pooling = "e" if backbone == "iresnet50" else "gap"
    margin = {"name": "margin", "preset": "arcface"}
    recipe = parse_recipe(
        {
            "model": {"backbone": backbone, "pooling": pooling},
            "stages": [
                {"epochs": 1, "loss": margin, "optimizer": "adamax", "learning_rate": 0.001}
            ],
            "precision": precision,
            "batch": batch,
            "preprocess": {"size": given.size},
            "xla": True,
        },
        lambda place, message: ValueError(f"{place}: {message}"),
    )
    model = stage_model(
        recipe,
        recipe.stages[0],
        embedding_model(recipe),
        classes=given.classes,
        steps_per_epoch=given.steps,
    )
    random = np.random.default_rng(0)
    images = random.random((batch, given.size, given.size, 3), np.float32)
    labels = random.integers(0, given.classes, batch).astype(np.int32)
    clock = Clock()
    model.fit(
        batches(images, labels, given.steps + 3),
        steps_per_epoch=given.steps + 3,
        verbose=0,
        shuffle=False,
        callbacks=[clock],
    )
    return np.diff(clock.ends)


def batches(images: Any, labels: Any, count: int) -> Iterator[tuple[Any, Any]]:
    """The same batch again and again: the pipeline is timed elsewhere."""
    for _ in range(count):
        yield images, labels


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """When each step's loss was known."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = [time.perf_counter()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Waits for the loss."""
        del batch
        float(logs["loss"])
        self.ends.append(time.perf_counter())


def hardware() -> str:
    """What the backend computes on."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return f"{len(jax.devices())} x {device.device_kind} ({device.platform}); one used"
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))


if __name__ == "__main__":
    main()
