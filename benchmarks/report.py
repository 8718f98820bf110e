"""Time and size of `zoo report` for 5 models on 3 bins of 6,000 pairs, faces included.

Run: python benchmarks/report.py [--quick] [--keep DIR]

Results and bins are synthetic but stored as real ones are: each bin holds 7,701 distinct JPEGs, as
LFW does, and models are noisy copies of one another, so that there are errors and disagreements.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.verification_set import write_bin
from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.measured import Measured
from evaluator.results.record import BinRecord, ModelRecord, Result, Scores, Settings, versions
from evaluator.results.store import save_result
from rows import Row, parsed, parser
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
        truth = random.normal(0, 0.55, pairs) + np.where(genuine, 2.6, -2.6 - 0.2 * number)
        for name, spread in zip(names, noise, strict=True):
            scores = np.tanh((truth + 2 * spread * random.normal(size=pairs)) / 4)
            save(folder / "results", name, path, scores, genuine, images)


def save(
    folder: Path,
    name: str,
    path: Path,
    scores: NDArray[np.float64],
    genuine: NDArray[np.bool_],
    images: NDArray[np.int64],
) -> None:
    """One result, stored as `zoo eval` stores it."""
    model_sha256 = hashlib.sha256(name.encode()).hexdigest()
    bin_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    size = {"size": [112, 112], "range": "unit", "channels": "rgb", "layout": "NHWC"}
    result = Result(
        status="ok",
        model=ModelRecord(name, f"{name}.h5", model_sha256, "keras", 512, size),
        bin=BinRecord(
            path.stem,
            str(path),
            bin_sha256,
            pairs=len(scores),
            genuine=int(genuine.sum()),
            impostor=int((~genuine).sum()),
            images=2 * len(scores),
            unique_images=len(np.unique(images)),
        ),
        settings=Settings(),
        figures=to_json(figures(scores, genuine)),
        non_finite={"count": 0, "images": [], "dropped_pairs": 0},
        cost={"seconds": 1.0, "images_per_second": 1.0},
        versions=versions(),
        created="2026-01-01T00:00:00+00:00",
    )
    target = Measured((name, model_sha256), (path.stem, bin_sha256), result.settings).path_in(
        folder
    )
    save_result(target, result, Scores(scores, genuine, images))


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
            rounds=options.rounds, quick=options.quick,
        ),
        Row(
            "report-size", f"{what}: the page", "-", size, "MB", LIMIT_MEGABYTES, at_most=True,
            rounds=1, quick=options.quick,
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
