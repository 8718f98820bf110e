"""Speed and memory of MXNet record files: ``python benchmarks/records.py [--quick]``.

Goals: 50,000 raw records/s, 3,000 decoded images/s on two cores, 732 images unpacked in 2 s, and a
scan whose memory does not grow with the file. The records are those of ``--shared`` (images of
112x112); the large file is made in a temporary folder, has random bytes, and is deleted.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.faces import open_faces
from training.data.records import image_labels, image_record, iter_images, open_records, read_image
from training.data.unpack import unpack

# A process of its own for each file: peaks of resident memory only ever rise.
SCAN = """
import resource, sys, time
from pathlib import Path
from training.data.records import image_labels, iter_images, open_records
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
records = open_records(Path(sys.argv[1]))
scanned = time.perf_counter() - started
image_labels(records)
total = sum(len(record.image) for record in iter_images(records))
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(records), f"{scanned:.2f} {seconds:.2f} {before / 1024:.0f} {peak / 1024:.0f}")
"""


def main() -> None:
    """Prints one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small synthetic file, one repeat")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="the test data")
    options = parser.parse_args()
    rec = options.shared / "records" / "train.rec"
    repeats = 1 if options.quick else 5
    read_speed(rec, repeats)
    with tempfile.TemporaryDirectory() as folder:
        unpack_speed(rec, Path(folder), repeats)
        for megabytes in (8, 64) if options.quick else (50, 500):
            scan_memory(Path(folder), megabytes)


def read_speed(rec: Path, repeats: int) -> None:
    """Raw records/s, one after the other and at random, labels/s, and decoded images/s."""
    records = open_records(rec)
    shuffled = np.random.default_rng(0).permutation(len(records)).tolist()
    passes = 10
    report(
        "raw records in order",
        best(repeats, lambda: [sum(1 for _ in iter_images(records)) for _ in range(passes)]),
        passes * len(records),
        "records/s (goal 50,000)",
    )
    report(
        "raw records at random",
        best(repeats, lambda: [read_image(records, i) for _ in range(passes) for i in shuffled]),
        passes * len(records),
        "records/s (goal 50,000)",
    )
    report("labels", best(repeats, lambda: image_labels(records)), len(records), "labels/s")

    def decoded(number: int) -> int:
        with Image.open(io.BytesIO(read_image(records, number).image)) as image:
            return np.asarray(image.convert("RGB")).size

    with ThreadPoolExecutor(2) as pool:
        report(
            "read and decoded, two threads",
            best(repeats, lambda: sum(pool.map(decoded, shuffled, chunksize=32))),
            len(records),
            "images/s (goal 3,000)",
        )


def unpack_speed(rec: Path, folder: Path, repeats: int) -> None:
    """Seconds to unpack, with reading everything back and comparing it."""
    targets = iter(folder / f"unpacked{repeat}" for repeat in range(repeats))
    seconds = best(repeats, lambda: unpack(open_faces(rec), next(targets)))
    print(f"{'unpack 732 images, checked':32} {seconds:10.2f} s (goal 2)")


def scan_memory(folder: Path, megabytes: int) -> None:
    """Peak memory while a file without index is scanned and all of it is read once."""
    rec = folder / f"{megabytes}.rec"
    draw = np.random.default_rng(1)
    with rec.open("wb") as file:
        key = 0
        while file.tell() < megabytes << 20:
            file.write(image_record(key, key // 20, draw.bytes(5000)))
            key += 1
    done = subprocess.run(
        [sys.executable, "-c", SCAN, str(rec)], capture_output=True, text=True, check=True
    )
    count, scanned, seconds, before, peak = done.stdout.split()
    rec.unlink()
    print(
        f"{f'scan a file of {megabytes} MB':32} {scanned:>10} s for {count} records, {seconds} s "
        f"with labels and all images; peak {peak} MB resident ({before} MB before opening it)"
    )


def best(repeats: int, work: Callable[[], object]) -> float:
    """The shortest of several runs, in seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def report(name: str, seconds: float, count: int, unit: str) -> None:
    """Prints a rate."""
    print(f"{name:32} {count / seconds:10,.0f} {unit}")


if __name__ == "__main__":
    main()
