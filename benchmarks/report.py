"""Time and size of `zoo report` for 5 models on 3 bins of 6,000 pairs, faces included.

Run: python benchmarks/report.py [--quick] [--keep DIR]

Results and bins are synthetic but stored as real ones are: each bin holds 7,701 distinct JPEGs, as
LFW does, and models are noisy copies of one another, so that there are errors and disagreements.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from evaluator.bins.verification_set import write_bin
from evaluator.files import file_sha256
from rows import Row, parsed, parser
from stored import stored_result
from table import finish
from timing import run_seconds

LIMIT_SECONDS, LIMIT_MEGABYTES = 5.0, 8.0


def distinct_jpegs(count: int, random: np.random.Generator) -> list[bytes]:
    """JPEGs of 112 x 112 that differ, a few drawn and the rest told apart by bytes after the end.

    What is drawn is smooth noise, about as large as a face when encoded.
    """
    drawn = []
    for _ in range(64):
        coarse = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((112, 112), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        drawn.append(buffer.getvalue())
    return [drawn[i % 64] + i.to_bytes(4, "big") for i in range(count)]


def store(folder: Path, *, models: int, bins: int, pairs: int) -> None:
    """Bins and results of models that are noisy copies of one another."""
    random = np.random.default_rng(0)
    names = ["steady", "steady_twin", "middle", "weak", "weakest"][:models]
    noise = [0.30, 0.31, 0.45, 0.7, 1.0][:models]
    for number in range(bins):
        genuine = np.arange(pairs) // (pairs // 20) % 2 == 0
        distinct = round(7701 / 6000 * pairs)
        images = np.concatenate(
            [np.arange(distinct), random.integers(0, distinct, 2 * pairs - distinct)]
        )
        random.shuffle(images)
        jpegs = distinct_jpegs(distinct, random)
        path = folder / f"set_{number}.bin"
        write_bin(path, [jpegs[i] for i in images], genuine)
        digest = file_sha256(path)
        truth = random.normal(0, 0.55, pairs) + np.where(genuine, 2.6, -2.6 - 0.2 * number)
        for name, spread in zip(names, noise, strict=True):
            scores = np.tanh((truth + 2 * spread * random.normal(size=pairs)) / 4)
            stored_result(
                folder / "results", name, path, digest,
                scores=scores, genuine=genuine, images=images,
            )  # fmt: skip


def measure(
    folder: Path, *, models: int, bins: int, pairs: int, options: argparse.Namespace
) -> list[Row]:
    """Times the whole command, imports included, and weighs what it wrote."""
    store(folder, models=models, bins=bins, pairs=pairs)
    report = folder / "report.html"
    command = [sys.executable, "-m", "zoo", "report", "-o", str(report)]
    command += ["--results", str(folder / "results")]
    seconds = statistics.median(run_seconds(command).wall for _ in range(options.rounds))
    what = f"zoo report, {models} models x {bins} bins of {pairs:,} pairs"
    size = report.stat().st_size / 1e6
    return [
        Row(
            "report-seconds", what, "-", seconds, "s", LIMIT_SECONDS, at_most=True,
            rounds=options.rounds,
        ),
        Row(
            "report-size", f"{what}: the page", "-", size, "MB", LIMIT_MEGABYTES, at_most=True,
            rounds=1,
        ),
    ]  # fmt: skip


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--keep", type=Path, metavar="DIR", help="leave bins and report there")
    options = parsed(made)
    models, bins, pairs = (2, 2, 600) if options.quick else (5, 3, 6000)
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure(folder, models=models, bins=bins, pairs=pairs, options=options)
    finish(rows, options)


if __name__ == "__main__":
    main()
