"""Partial FC beside the full head: a step's time, and what it adds to the memory.

    python benchmarks/sampled_head.py                   # 200,000 classes, 64 features, batch 128
    python benchmarks/sampled_head.py --classes 1000000 # as many as the papers have
    python benchmarks/sampled_head.py --quick           # 2,000 classes

Both sides are one compiled step of `MarginHead` with ArcFace and SGD with momentum, on TensorFlow
unless KERAS_BACKEND says otherwise; the sampled one looks at a tenth of the classes. What a step
adds is the peak of resident memory over three steps less what was resident before them, weights and
momentum: logits, their gradients, activations, and the gradient of the weights. Each is measured in
a process of its own, with --quick in one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from evaluator.limits import process_bytes
from evaluator.models.runtime import import_keras
from rows import Row, parsed, parser
from table import finish

CLASSES, FEATURES, BATCH = 200_000, 64, 128
SIDES = {"full": 1.0, "sampled": 0.1}


def main() -> None:
    """Prints the rows; with --side, what one side's steps add and take."""
    made = parser(__doc__)
    made.add_argument("--classes", type=int, default=CLASSES)
    made.add_argument("--features", type=int, default=FEATURES)
    made.add_argument("--side", choices=tuple(SIDES), help="measure that side, in this process")
    options = parsed(made)
    classes = 2000 if options.quick else options.classes
    if options.side is not None:
        print(*side(SIDES[options.side], options.classes, options.features, options.rounds))
        return
    found = {}
    for name, rate in SIDES.items():
        if options.quick:
            found[name] = [*side(rate, classes, options.features, options.rounds)]
            continue
        command = [sys.executable, __file__, "--side", name, "--classes", str(classes)]
        command += ["--features", str(options.features), "--rounds", str(options.rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = [float(each) for each in done.stdout.split()[-2:]]
    (full, full_ms), (sampled, sampled_ms) = found["full"], found["sampled"]
    what = f"head of {classes:,} classes, a tenth sampled"
    weight = classes * options.features * 4 / 1e6
    finish(
        [
            Row(
                "sampled-head-memory", f"{what}, memory added", "the full head",
                full / max(sampled, 1.0), "x", 5, rounds=1,
                detail=f"{full:.0f} MB against {sampled:.0f} MB, beside 2 x {weight:.0f} MB of "
                f"weights and momentum ({options.features} features, batch {BATCH})",
            ),
            Row(
                "sampled-head-time", f"{what}, a step", "the full head", full_ms / sampled_ms, "x",
                None, rounds=options.rounds,
                detail=f"{full_ms:.0f} ms against {sampled_ms:.0f} ms",
            ),
        ],
        options,
    )  # fmt: skip


def side(rate: float, classes: int, features: int, rounds: int) -> tuple[float, float]:
    """Megabytes that steps add, and the median of their milliseconds; Linux alone."""
    import_keras()
    import keras

    import training

    random = np.random.default_rng(0)
    vectors = random.normal(size=(BATCH, features)).astype(np.float32)
    labels = random.integers(0, classes, BATCH).astype(np.int32)
    inputs = keras.Input((features,))
    basic = keras.Model(inputs, keras.layers.Dense(features, name="embedding")(inputs))
    # A small one first: kernels and compiler are loaded before what is measured.
    for people in (1000, classes):
        head = training.MarginHead(people, training.ArcFace(), sample_rate=rate)
        model = training.whole_model(basic, head)
        model.compile(training.SGD(learning_rate=0.1, momentum=0.9, lazy_rows=rate < 1))
        model.optimizer.build(model.trainable_variables)
        own = labels % people
        if people < classes:
            model.train_on_batch((vectors, own))
    for each in model.optimizer.variables:  # resident, not only promised
        each.assign(each + 0)
    before = process_bytes("VmRSS") or 0
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    taken = []
    for _ in range(max(rounds, 2) + 1):
        start = time.perf_counter()
        model.train_on_batch((vectors, own))
        taken.append(time.perf_counter() - start)
    added = ((process_bytes("VmHWM") or 0) - before) / 1e6
    return added, 1000 * float(np.median(taken[1:]))


if __name__ == "__main__":
    main()
