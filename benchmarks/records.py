"""Speed and memory of MXNet record files: ``python benchmarks/records.py [--quick]``.

Goals: 50,000 raw records/s, 3,000 decoded images/s on two cores, 732 images unpacked in 2 s, and a
scan whose memory does not grow with the file. The records are those of ``--shared`` (images of
112x112); the large file is made in a temporary folder, has random bytes, and is deleted.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from rows import Row, parsed, parser, say
from table import finish
from timing import interleaved, median, seconds_of
from training.data.convert.unpack import unpack
from training.data.sources.faces import open_faces
from training.data.sources.records import image_record, open_records, read_image

# A process of its own for each file: peaks of resident memory only ever rise.
SCAN = """
import resource, sys, time
from pathlib import Path
from training.data.sources.faces import open_faces
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
faces = open_faces(Path(sys.argv[1]))
scanned = time.perf_counter() - started
for number in range(len(faces)):
    faces.read(number)
    if number % 1000 == 0:
        faces.release()
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(faces), f"{scanned:.2f} {seconds:.2f} {before / 1024:.0f} {peak / 1024:.0f}")
"""


def main() -> None:
    options = parsed(parser(__doc__))
    rec = options.shared / "records" / "train.rec"
    with tempfile.TemporaryDirectory() as folder:
        rows = read_rows(rec, options.rounds)
        rows.append(unpack_row(rec, Path(folder), options.rounds))
        rows.append(scan_row(Path(folder), (8, 64) if options.quick else (50, 500)))
    finish(rows, options)


def read_rows(rec: Path, rounds: int) -> list[Row]:
    """Raw records a second, one after the other and at random, and decoded images."""
    records = open_records(rec)
    shuffled = np.random.default_rng(0).permutation(len(records)).tolist()
    passes = 10

    def decoded(number: int) -> int:
        with Image.open(io.BytesIO(read_image(records, number).image)) as image:
            return np.asarray(image.convert("RGB")).size

    with ThreadPoolExecutor(2) as pool:
        sides: dict[str, tuple[Callable[[], object], int, float]] = {
            "raw records in order": (
                lambda: [read_image(records, i) for _ in range(passes) for i in sorted(shuffled)],
                passes * len(records),
                50_000,
            ),
            "raw records at random": (
                lambda: [read_image(records, i) for _ in range(passes) for i in shuffled],
                passes * len(records),
                50_000,
            ),
            "records read and decoded, two threads": (
                lambda: sum(pool.map(decoded, shuffled, chunksize=32)),
                len(records),
                3000,
            ),
        }
        times = interleaved({name: side[0] for name, side in sides.items()}, rounds)
    return [
        Row(
            f"records-{number}", name, "-", count / median(times, name), "/s", wanted,
            rounds=rounds,
        )
        for number, (name, (_, count, wanted)) in enumerate(sides.items())
    ]  # fmt: skip


def unpack_row(rec: Path, folder: Path, rounds: int) -> Row:
    """Seconds to unpack, with reading everything back and comparing it."""
    targets = iter(folder / f"unpacked{number}" for number in range(rounds))
    seconds = statistics.median(
        seconds_of(lambda: unpack(open_faces(rec), next(targets))).wall for _ in range(rounds)
    )
    return Row(
        "records-unpack", "unpack 732 images, checked", "-", seconds, "s", 2, at_most=True,
        rounds=rounds,
    )  # fmt: skip


def scan_row(folder: Path, sizes: tuple[int, int]) -> Row:
    """What of a file of the larger size, read whole without an index, stays in memory beyond what
    one of the smaller leaves there.
    """
    peaks = [scanned(folder, megabytes) for megabytes in sizes]
    return Row(
        "records-scan", f"memory of a {sizes[1]} MB file, scanned, all read",
        f"that of {sizes[0]} MB", max(peaks[1] - peaks[0], 0.0), "MB", 64, at_most=True, rounds=1,
        detail=f"peaks {peaks[0]:.0f} and {peaks[1]:.0f} MB",
    )  # fmt: skip


def scanned(folder: Path, megabytes: int) -> float:
    """Peak resident MB of a process that scans a file of this size and reads all of it once."""
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
    count, scan, seconds, before, peak = done.stdout.split()
    rec.unlink()
    say(
        f"scan a file of {megabytes} MB: {scan} s for {count} records and labels, {seconds} s with "
        f"all images; peak {peak} MiB resident ({before} MiB before opening it)"
    )
    return float(peak) * 2**20 / 1e6


if __name__ == "__main__":
    main()
