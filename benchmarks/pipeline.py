"""Training images a second: our pipeline beside the founding one, and beside the model it feeds.

    python benchmarks/pipeline.py            # 4,312 faces; the seed labels 85,742 classes
    python benchmarks/pipeline.py --quick    # two batches; 1,000 classes

Ours is what `fit` reads (`batches.feed`), from a folder a person and from a .rec file and
TFRecord shards that `zoo data pack` made of it, decoding each image anew, and from decoded pixels
in memory. The founding pipeline is restated: names through tf.data, each read, decoded, resized,
flipped, its label made one-hot. All sides read the same faces for an epoch and give
(128, 112, 112, 3) float32 with labels. The limit is the JPEG decoder alone on the same bytes, in as
many threads as there are cores.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.images.decode import decode_image
from evaluator.images.inputs import InputSpec
from evaluator.models.runtime import import_keras
from rows import Row, agree, parsed, parser, say
from table import finish
from timing import interleaved, median, ratio

BATCH, CLASSES = 128, 85_742


def main() -> None:
    """Prints the rows of the input pipeline."""
    options = parsed(parser(__doc__))
    import_keras()
    with tempfile.TemporaryDirectory() as name:
        finish(measured(options.shared, Path(name), options=options), options)


def measured(shared: Path, folder: Path, *, options: Any) -> list[Row]:
    """The rows: each way to read beside the seed's, and the slowest of them beside the model."""
    from training.data.convert.pack import pack_records
    from training.data.convert.tfrecords import pack_tfrecords
    from training.data.sources.faces import open_faces
    from training.data.sources.shards import open_training_faces

    source = shared / "faces" / "lfw_train"
    faces = open_faces(source)
    batches = 2 if options.quick else len(faces) // BATCH
    pack_records(faces, folder / "packed")
    pack_tfrecords(faces, folder / "shards")
    # Raw decoding is TensorFlow's INTEGER_FAST there and accurate here: up to 15 of 255 levels.
    check_same_images(source, faces)
    packed = open_faces(folder / "packed")
    shards = open_training_faces(folder / "shards")
    drawn = {"flip": True}
    sides = {
        "seed": seed_side(source, 1000 if options.quick else CLASSES, batches),
        "folder": our_side(faces, batches, cache="none", augment=drawn),
        "rec": our_side(packed, batches, cache="none", augment=drawn),
        "tfrecord": our_side(shards, batches, cache="none", augment=drawn),
        "memory": our_side(packed, batches, cache="memory", augment=drawn),
        "augmented": our_side(
            packed, batches, cache="none",
            augment={"flip": True, "crop_px": 4, "cutout_px": 16, "randaugment_ops": 2},
        ),
    }  # fmt: skip
    sides["limit"] = decoder_alone(packed, batches * BATCH)
    if not options.quick:
        sides["model"] = training_step("resnet50v2", 32, len(faces.names))
    times = interleaved(sides, options.rounds)
    images = {**dict.fromkeys(sides, batches * BATCH), "model": 32}
    rates = {side: images[side] / median(times, side) for side in sides}
    for side, rate in rates.items():
        say(f"{side}: {rate:,.0f} images/s")
    rows = []
    seed = f"{rates['seed']:,.0f} images/s"
    for side, what in WAYS.items():
        rows.append(
            Row(
                f"pipeline-{side}", what, "the seed's tf.data pipeline",
                ratio(times, "seed", side), "x", 3 if side != "augmented" else None,
                rounds=options.rounds, detail=f"{rates[side]:,.0f} against {seed}",
            )
        )  # fmt: skip
    rows.append(
        Row(
            "pipeline-limit", WAYS["rec"], "the JPEG decoder alone",
            100 * ratio(times, "limit", "rec"), "%", None, rounds=options.rounds,
            detail=f"{rates['rec']:,.0f} against {rates['limit']:,.0f} images/s",
        )
    )  # fmt: skip
    if "model" in rates:
        slowest = min(WAYS, key=lambda side: rates[side])
        share = ratio(times, "model", slowest) * images[slowest] / images["model"]
        rows.append(
            Row(
                "pipeline-model", f"{WAYS[slowest]} (slowest)", "ResNet50V2's training rate", share,
                "x", 5, rounds=options.rounds,
                detail=f"{rates[slowest]:,.0f} against {rates['model']:,.1f} images/s",
            )
        )  # fmt: skip
    return rows


WAYS = {
    "folder": "images decoded, flipped, from a folder",
    "rec": "images decoded, flipped, from .rec",
    "tfrecord": "images decoded, flipped, from TFRecord",
    "memory": "images flipped, decoded in epoch 1",
    "augmented": "the same from .rec, crop, cutout, RandAugment",
}


def our_side(faces: Any, batches: int, *, cache: str, augment: dict[str, Any]) -> Callable[[], Any]:
    """A function that reads so many batches as fit does."""
    from training.data.batches.feed import Feed
    from training.data.batches.pipeline import prepare_data, train_batches
    from training.recipes.parts import Augment, DataRecipe

    recipe = DataRecipe(validation=0, cache=cache, augment=Augment(**augment))
    data = prepare_data(faces, recipe, InputSpec(112, 112), batch=BATCH)
    whole = replace(plain_recipe("resnet50v2", BATCH), data=recipe)

    def read() -> None:
        feed = Feed(data, lambda: train_batches(data, 0, 0, batches), whole)
        for images, _ in feed.source():
            if images.shape != (BATCH, 112, 112, 3):
                raise SystemExit(f"a batch of shape {images.shape}")

    return read


def decoder_alone(faces: Any, count: int) -> Callable[[], Any]:
    """A function that decodes so many images and keeps none."""
    images = [bytes(faces.read(number)) for number in range(count)]
    chunks = [images[at : at + 64] for at in range(0, count, 64)]

    def decode() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda chunk: [decode_image(each) for each in chunk][:0], chunks):
                pass

    return decode


def seed_side(source: Path, classes: int, batches: int) -> Callable[[], Any]:
    """The founding pipeline, endless, in a random order."""
    import tensorflow as tf

    names = [str(path) for path in sorted(source.glob("*/*.jpg"))]
    people = {each.name: number for number, each in enumerate(sorted(source.iterdir()))}
    labels = [people[Path(each).parent.name] for each in names]

    def one(path: Any, label: Any) -> Any:
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), (112, 112))
        return tf.image.random_flip_left_right(image), tf.one_hot(label, classes, dtype=tf.int32)

    rows = tf.data.Dataset.from_tensor_slices((names, labels)).shuffle(len(names)).repeat()
    rows = rows.map(one, num_parallel_calls=tf.data.AUTOTUNE)
    rows = rows.batch(BATCH).prefetch(tf.data.AUTOTUNE)

    def read() -> None:
        for _ in islice(rows, batches):
            pass

    return read


def check_same_images(source: Path, faces: Any) -> None:
    """Both sides' pixels of some images, but for the decoders."""
    import tensorflow as tf

    names = sorted(source.glob("*/*.jpg"))
    for number in range(0, len(faces), 500):
        theirs = tf.image.decode_jpeg(tf.io.read_file(str(names[number])), channels=3).numpy()
        ours = decode_image(bytes(faces.read(number)))
        apart = np.abs(theirs.astype(int) - ours.astype(int)).mean()
        agree(f"{names[number]}: mean levels", float(apart), 4)


def plain_recipe(backbone: str, batch: int) -> Any:
    """A recipe with softmax and Adamax."""
    from training.recipes.recipe import parse_recipe

    pooling = "none" if backbone == "mlp" else "gap"
    stage = {"epochs": 1, "loss": "softmax", "optimizer": "adamax", "learning_rate": 0.001}
    return parse_recipe(
        {"model": {"backbone": backbone, "pooling": pooling}, "stages": [stage], "batch": batch},
        lambda place, message: ValueError(f"{place}: {message}"),
    )


def training_step(backbone: str, batch: int, classes: int) -> Callable[[], Any]:
    """A function that trains one step on random images."""
    from training.network.assembly import embedding_model, stage_model

    recipe = plain_recipe(backbone, batch)
    model = stage_model(
        recipe, recipe.stages[0], embedding_model(recipe), classes=classes, steps_per_epoch=1
    )
    random = np.random.default_rng(0)
    images = random.random((batch, 112, 112, 3), np.float32)
    labels = random.integers(0, classes, batch).astype(np.int32)
    return lambda: model.train_on_batch(images, labels)


if __name__ == "__main__":
    main()
