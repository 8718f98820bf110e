"""A training step of ours beside Keras's fit on the same images as arrays, without our code.

    python benchmarks/steps.py            # mobilefacenet and ResNet50V2, batches of 32
    python benchmarks/steps.py --quick    # a multilayer perceptron's network, batches of 8

Ours is a stage's model fed from a .rec file with flips, decoding while it trains, with the callback
that watches every loss. The other side is the same layers with a plain Dense head, Keras's own
cross-entropy and Adamax, fitted on decoded arrays that lie in memory. Two rows are this very model
of Keras's parts alone, fed by `training.face_batches`: decoding anew, and from pixels in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from evaluator.images.decode import decode_image
from evaluator.images.inputs import InputSpec, write_model_input
from evaluator.models.runtime import import_keras
from pipeline import plain_recipe
from rows import Row, agree, parsed, parser
from table import finish
from timing import interleaved, median, ratio

# Steps of one fit; one fit a side and round.
STEPS = 2

# Each side: the key of its row, and what it is.
SIDES = {
    "ours": ("step", "a training step"),
    "decoded": ("batches", "Keras's fit from face_batches, decoding"),
    "memory": ("batches-memory", "Keras's fit from face_batches, pixels kept"),
}


def main() -> None:
    """Prints a row a network."""
    options = parsed(parser(__doc__))
    import_keras()
    networks = {"mlp": 8} if options.quick else {"mobilefacenet": 32, "resnet50v2": 32}
    rows = []
    for name, batch in networks.items():
        sides = both(name, batch, options.shared)
        losses = {side: call() for side, call in sides.items()}
        # Fresh weights, one image a person at most: both begin near the entropy of a guess.
        apart = abs(losses["ours"] - losses["fit"]) / losses["fit"]
        agree(f"{name}: losses of both sides, of the loss", apart, 0.5)
        times = interleaved(sides, options.rounds, warm_up=False)
        fast = 1000 * median(times, "fit") / STEPS
        for side, (key, what) in SIDES.items():
            slow = 1000 * median(times, side) / STEPS
            rows.append(
                Row(
                    f"{key}-{name}", f"{what}, {name}, batch {batch}", "Keras fit on arrays",
                    100 * ratio(times, side, "fit"), "%", 105, at_most=True, rounds=options.rounds,
                    detail=f"{slow:.0f} ms against {fast:.0f} ms",
                )
            )  # fmt: skip
    finish(rows, options)


def both(backbone: str, batch: int, shared: Any) -> dict[str, Callable[[], float]]:
    """Functions that train STEPS steps and return the mean loss."""
    import keras

    from training.api.batches import face_batches
    from training.data.batches.feed import Feed
    from training.data.batches.pipeline import epoch_order, prepare_data, train_batches
    from training.data.sources.faces import open_faces
    from training.loop.callbacks import StepWatch
    from training.network.assembly import embedding_model, stage_model

    recipe = plain_recipe(backbone, batch)
    faces = open_faces(shared / "records")
    data = prepare_data(faces, recipe.data, InputSpec(112, 112), batch=batch)
    people = len(faces.names)
    keras.utils.set_random_seed(0)
    model = stage_model(
        recipe, recipe.stages[0], embedding_model(recipe), classes=people, steps_per_epoch=STEPS
    )

    def ours() -> float:
        feed = Feed(data, lambda: train_batches(data, 0, 0, STEPS), recipe)
        watch = StepWatch(lambda *_: None)
        model.fit(
            feed.source(), steps_per_epoch=STEPS, epochs=1, verbose=0, shuffle=False,
            callbacks=[watch],
        )  # fmt: skip
        return float(watch.logs["loss"])

    numbers = epoch_order(data, 0)[: STEPS * batch]
    images = np.empty((len(numbers), 112, 112, 3), np.float32)
    for number, out in zip(numbers, images, strict=True):
        write_model_input(decode_image(bytes(faces.read(int(number)))), data.input, out)
    labels = faces.labels[numbers].astype(np.int32)
    keras.utils.set_random_seed(0)
    embedding = embedding_model(recipe)
    logits = keras.layers.Dense(people, use_bias=False)(embedding.output)
    plain = keras.Model(embedding.input, logits)
    plain.compile(
        optimizer=keras.optimizers.Adamax(0.001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    def fit() -> float:
        history = plain.fit(images, labels, batch_size=batch, epochs=1, verbose=0, shuffle=False)
        return float(history.history["loss"][0])

    def fed(cache: str) -> Callable[[], float]:
        batches, _ = face_batches(faces, batch_size=batch, cache=cache)
        return lambda: float(
            plain.fit(batches, steps_per_epoch=STEPS, epochs=1, verbose=0).history["loss"][0]
        )

    return {"ours": ours, "fit": fit, "decoded": fed("none"), "memory": fed("memory")}


if __name__ == "__main__":
    main()
