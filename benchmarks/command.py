"""The command itself: peak memory of `zoo eval` on three bins, and its second run.

    python benchmarks/command.py            # three bins of 6,000 pairs, ResNet50V2; 3 minutes
    python benchmarks/command.py --quick    # 20 pairs each on a small network

The first run measures a model on all bins, start-up and storing included. The second is the same
command, which finds its results stored: it reads and hashes model and bin, and prints the table. It
is run once more in a process that looks at its own imports.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from evaluator.bins.verification_set import read_bin
from lfw_shaped import lfw_shaped_bin
from rows import Row, parsed, parser, say
from small_onnx import save_small_onnx
from table import finish
from timing import run_seconds

# Runs `zoo` with the arguments and says whether a framework was imported.
LOOK = """
import sys
from zoo.cli import run
code = run(sys.argv[1:])
heavy = {"tensorflow", "keras", "jax", "torch"} & {name.partition(".")[0] for name in sys.modules}
sys.exit(f"imported {heavy}" if heavy else code)
"""
# insightface's load_bin holds each slot in float32, as it is and mirrored.
FLOAT32_TWICE = 2 * 112 * 112 * 3 * 4


def main() -> None:
    """Prints the rows of memory and of the second run."""
    options = parsed(parser(__doc__))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bins = [folder / f"{each}.bin" for each in ("lfw", "agedb_30", "cfp_fp")]
        for seed, path in enumerate(bins):
            lfw_shaped_bin(options.shared, path, pairs=20 if options.quick else 6000, seed=seed)
        model = network(folder, quick=options.quick)
        slots = sum(len(read_bin(path).images) for path in bins)
        finish(measured(model, bins, folder, slots, options=options), options)


def network(folder: Path, *, quick: bool) -> Path:
    """The network's file."""
    if quick:
        return save_small_onnx(folder / "model.onnx")
    from evaluation import save_model

    return save_model(folder, quick=False)


def measured(
    model: Path, bins: list[Path], folder: Path, slots: int, *, options: argparse.Namespace
) -> list[Row]:
    """The rows; every command is a process of its own."""
    command = [str(model), "--results", str(folder / "results"), "--input", "unit", "--bins"]
    first, peak = peak_of([*zoo(), "eval", *command, *map(str, bins)])
    say(f"first run, {len(bins)} bins: {first:.1f} s, peak {peak / 1e9:.2f} GB")
    seconds = {}
    for count in (1, len(bins)):
        again = ["eval", *command, *map(str, bins[:count])]
        subprocess.run(
            [sys.executable, "-c", LOOK, *again],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        runs = [run_seconds([*zoo(), *again]) for _ in range(options.rounds)]
        seconds[count] = statistics.median(each.wall for each in runs)
        cpu = statistics.median(each.cpu for each in runs)
        say(f"second run, {count} bins: {seconds[count]:.2f} s, {cpu:.2f} s of processor time")
    load_bin = slots * FLOAT32_TWICE
    per_bin = first / len(bins)
    return [
        Row(
            "memory-3-bins", f"zoo eval, {len(bins)} bins, peak memory",
            f"insightface's load_bin ({load_bin / 1e9:.1f} GB by arithmetic)",
            peak / 1e9, "GB", 1.5, at_most=True, rounds=1,
            detail=f"{load_bin / peak:.1f} times less",
        ),
        Row(
            "second-run", "zoo eval again, stored, no TensorFlow",
            f"first run ({per_bin:.1f} s a bin)", seconds[1], "s", 0.6, at_most=True,
            rounds=options.rounds, detail=f"{per_bin / seconds[1]:.0f} times as fast",
        ),
        Row(
            "second-run-3-bins", f"the same, {len(bins)} bins", f"first run ({first:.1f} s)",
            seconds[len(bins)], "s", None, at_most=True, rounds=options.rounds,
            detail=f"{first / seconds[len(bins)]:.0f} times as fast",
        ),
    ]  # fmt: skip


def zoo() -> list[str]:
    """The command, of this checkout."""
    return [sys.executable, "-m", "zoo"]


def peak_of(command: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a process. Exits where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
