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
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.all_figures import figures, to_json
from evaluator.bins import write_bin
from evaluator.results import (
    BinRecord,
    ModelRecord,
    Result,
    Scores,
    Settings,
    result_path,
    save_result,
    versions,
)

LIMIT_SECONDS, LIMIT_BYTES = 5.0, 8_000_000


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
    target = result_path(
        folder,
        model=(name, model_sha256),
        bin=(path.stem, bin_sha256),
        settings=result.settings,
        profile="unit",
        channels="rgb",
    )
    save_result(target, result, Scores(scores, genuine, images))


def measure(folder: Path, *, models: int, bins: int, pairs: int, repetitions: int) -> bool:
    """Times the whole command, imports included; whether it stays within its limits."""
    store(folder, models=models, bins=bins, pairs=pairs)
    report = folder / "report.html"
    command = [sys.executable, "-m", "zoo", "report", "-o", str(report)]
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        subprocess.run([*command, "--results", str(folder / "results")], check=True)
        seconds.append(time.perf_counter() - start)
    median, size = statistics.median(seconds), report.stat().st_size
    print(f"{models} models x {bins} bins of {pairs:,} pairs: {median:.2f} s, {size / 1e6:.2f} MB")
    print(f"every run: {', '.join(f'{each:.2f}' for each in seconds)} s; limits: 5 s, 8 MB")
    return median < LIMIT_SECONDS and size < LIMIT_BYTES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one run of 2 models x 2 small bins")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave bins and report there")
    options = parser.parse_args()
    shape = {"models": 5, "bins": 3, "pairs": 6000, "repetitions": 3}
    if options.quick:
        shape = {"models": 2, "bins": 2, "pairs": 600, "repetitions": 1}
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        sys.exit(not measure(options.keep, **shape))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not measure(Path(folder), **shape))


if __name__ == "__main__":
    main()
