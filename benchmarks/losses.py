"""The margin loss beside the founding one-hot form: time, memory, and labels through tf.data.

    python benchmarks/losses.py            # 85,742 classes, batches of 128 and 512
    python benchmarks/losses.py --quick    # 2,000 classes, batch 16

Both forms are compiled graphs from cosines and labels to the mean loss and its gradient, in turns
in one process; both must find the same loss and gradient. What each adds to the memory in use at
its peak is taken in a process of its own, inputs and one-hot labels not counted.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.limits import process_bytes
from evaluator.models.runtime import import_keras
from rows import Row, agree, parsed, parser
from table import finish
from timing import interleaved, median, ratio

CLASSES, BATCHES = 85_742, (128, 512)


def main() -> None:
    """Prints the rows; with --peak, what one form of the loss adds to the memory."""
    made = parser(__doc__)
    made.add_argument("--peak", nargs=3, metavar=("FORM", "BATCH", "CLASSES"))
    options = parsed(made)
    import_keras()
    if options.peak is not None:
        form, batch, classes = options.peak
        print(added_megabytes(form, int(batch), int(classes)))
        return
    classes, batches = (2000, (16,)) if options.quick else (CLASSES, BATCHES)
    rows = []
    for batch in batches:
        rows += loss_rows(batch, classes, rounds=options.rounds, quick=options.quick)
    rows.append(label_row(batches[0], classes, rounds=options.rounds, quick=options.quick))
    finish(rows, options)


def loss_rows(batch: int, classes: int, *, rounds: int, quick: bool) -> list[Row]:
    """Time and memory of one batch size."""
    cosines, labels, one_hot = inputs(batch, classes)
    seed, ours = FORMS["seed"](), FORMS["ours"]()
    (loss_a, slope_a), (loss_b, slope_b) = seed(cosines, one_hot), ours(cosines, labels)
    agree(f"batch {batch}: losses", float(abs(loss_a - loss_b)), 1e-3)
    apart = np.abs(slope_a.numpy() - slope_b.numpy()).max() / np.abs(slope_a.numpy()).max()
    agree(f"batch {batch}: gradients, of the largest", float(apart), 1e-3)
    del slope_a, slope_b
    times = interleaved(
        {
            "seed": lambda: [seed(cosines, one_hot)[0].numpy() for _ in range(3)],
            "ours": lambda: [ours(cosines, labels)[0].numpy() for _ in range(3)],
        },
        rounds,
    )
    measured = added_megabytes if quick else added_in_a_process
    added = {form: measured(form, batch, classes) for form in FORMS}
    slow, fast = (1000 * median(times, side) / 3 for side in ("seed", "ours"))
    what, against = f"margin loss, {classes:,} classes, batch {batch}", "the seed's one-hot form"
    return [
        Row(
            f"loss-{batch}-time", what, against, ratio(times, "seed", "ours"), "x", 2.3,
            rounds=rounds, detail=f"{slow:.0f} ms against {fast:.0f} ms",
        ),
        Row(
            f"loss-{batch}-memory", f"{what}, memory added", against,
            added["seed"] / max(added["ours"], 1.0), "x", 3, rounds=1,
            detail=f"{added['seed']:.0f} MB against {added['ours']:.0f} MB",
        ),
    ]  # fmt: skip


def inputs(batch: int, classes: int) -> tuple[Any, Any, Any]:
    """Cosines (batch, classes) as a fresh network has them, labels, and these one-hot."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    cosines = tf.constant(random.normal(0, 0.05, (batch, classes)).astype(np.float32))
    labels = tf.constant(random.integers(0, classes, batch), tf.int32)
    return cosines, labels, tf.one_hot(labels, classes, dtype=tf.int32)


# ---- Both forms ----------------------------------------------------------------------------------


def seed_form() -> Callable[[Any, Any], Any]:
    """The founding loss on one-hot labels: arccosine and cosine of every class, then selections."""
    import keras
    import tensorflow as tf

    def mean_loss(cosines: Any, one_hot: Any) -> Any:
        theta = tf.acos(cosines)
        near = tf.where(theta * 0.9 + 0.15 > math.pi, tf.zeros_like(one_hot), one_hot)
        chosen = tf.cast(near, tf.bool)
        moved = tf.cos(tf.where(chosen, theta * 0.9 + 0.15, theta))
        logits = tf.where(chosen, moved - 0.4, moved) * 64.0
        return tf.reduce_mean(
            keras.losses.categorical_crossentropy(
                tf.cast(one_hot, tf.float32), logits, from_logits=True
            )
        )

    return with_gradient(mean_loss)


def our_form() -> Callable[[Any, Any], Any]:
    """`training.network.losses` with the same margin."""
    from training.network.losses import MARGINS, MarginLoss

    loss = MarginLoss(**MARGINS["seed"])
    return with_gradient(lambda cosines, labels: loss(labels, cosines))


FORMS: dict[str, Callable[[], Callable[[Any, Any], Any]]] = {"seed": seed_form, "ours": our_form}


def with_gradient(mean_loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A compiled function to the loss and its gradient by the cosines."""
    import tensorflow as tf

    @tf.function
    def both(cosines: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(cosines)
            loss = mean_loss(cosines, labels)
        return loss, tape.gradient(loss, cosines)

    return both


# ---- Memory --------------------------------------------------------------------------------------


def added_in_a_process(form: str, batch: int, classes: int) -> float:
    """Megabytes that a form adds, measured by this script in a process of its own."""
    command = [sys.executable, __file__, "--peak", form, str(batch), str(classes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def added_megabytes(form: str, batch: int, classes: int) -> float:
    """Peak of resident memory over ten steps above what it was before them; Linux alone."""
    values = inputs(batch, classes)
    small = inputs(batch, 100)
    function = FORMS[form]()
    number = 2 if form == "seed" else 1
    function(small[0], small[number])  # compiles, and loads what the kernels need
    before = process_bytes("VmRSS") or 0
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    for _ in range(10):
        function(values[0], values[number])
    return ((process_bytes("VmHWM") or 0) - before) / 1e6


# ---- Labels --------------------------------------------------------------------------------------


def label_row(batch: int, classes: int, *, rounds: int, quick: bool) -> Row:
    """Labels through tf.data as the one-hot rows that the seed made, and as integers."""
    import tensorflow as tf

    batches = 5 if quick else 40
    labels = np.random.default_rng(0).integers(0, classes, batch * batches)

    def dataset(one_hot: bool) -> Any:
        rows = tf.data.Dataset.from_tensor_slices(labels)
        if one_hot:
            rows = rows.map(
                lambda each: tf.one_hot(each, classes, dtype=tf.int32), tf.data.AUTOTUNE
            )
        return rows.batch(batch).prefetch(tf.data.AUTOTUNE)

    found = {name: dataset(name == "seed") for name in ("seed", "ours")}
    read = [np.concatenate([each.numpy() for each in found["ours"]])]
    read.append(np.concatenate([each.numpy().argmax(1) for each in found["seed"]]))
    agree("labels", float((read[0] != read[1]).sum()), 0)
    times = interleaved(
        {name: lambda d=each: [None for _ in d] for name, each in found.items()}, rounds
    )
    slow, fast = (1000 * median(times, name) / batches for name in ("seed", "ours"))
    return Row(
        "labels", f"labels through tf.data, batch {batch}", f"one-hot, {classes:,} classes",
        ratio(times, "seed", "ours"), "x", 40, rounds=rounds,
        detail=f"{slow:.2f} ms against {fast:.3f} ms a batch",
    )  # fmt: skip


if __name__ == "__main__":
    main()
