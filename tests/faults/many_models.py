"""Evaluates many models in one call of `zoo eval` and watches the memory of its process.

python tests/faults/many_models.py --models 1000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from inputs import make_inputs, start_zoo

from samples import SIZE  # isort: skip - found by way of inputs
from tests.small_models import save_projection  # isort: skip - the same


def write_models(folder: Path, count: int, *, units: int = 16) -> list[str]:
    """That many .onnx files of one layer, each with weights of its own; their names."""
    names = [f"m{i:04d}.onnx" for i in range(count)]
    for i, name in enumerate(names):
        save_projection(folder / name, side=SIZE, units=units, seed=i)
    return names


def memory_of_run(folder: Path, names: list[str], bins: list[str]) -> list[float]:
    """MiB of resident memory of `zoo eval` each time it has stored a result."""
    arguments = ["eval", *names, "--input", "unit", "--bins", *bins, "--verbose"]
    found = []
    with start_zoo(folder, arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        status = Path(f"/proc/{process.pid}/status")
        for line in process.stderr or ():
            if "stored as" in line:
                resident = next(each for each in status.read_text().splitlines() if "VmRSS" in each)
                found.append(int(resident.split()[1]) / 1024)
            elif "error" in line:
                print(line, end="", file=sys.stderr)
    if process.returncode != 0:
        raise SystemExit(f"zoo eval ended with {process.returncode}")
    return found


def growth(memory: list[float]) -> float:
    """KiB that a model adds: the slope of a line through the second half of the run."""
    half = memory[len(memory) // 2 :]
    return float(np.polyfit(np.arange(len(half)), half, 1)[0] * 1024)


def main() -> None:
    """Prints a JSON line; exit 1 where memory grows by more than --allowed KiB a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--units", type=int, default=16, help="a model has 768 bytes for each")
    parser.add_argument("--allowed", type=float, default=20.0, help="KiB a model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        bins = make_inputs(folder, models=0, bins=1)[1]
        memory = memory_of_run(folder, write_models(folder, given.models, units=given.units), bins)
    slope = growth(memory)
    at = [0, len(memory) // 4, len(memory) // 2, 3 * len(memory) // 4, len(memory) - 1]
    shown = {f"after_{i + 1}": round(memory[i]) for i in at}
    print(json.dumps({"models": len(memory), "MiB": shown, "KiB_a_model": round(slope, 1)}))
    raise SystemExit(1 if slope > given.allowed else 0)


if __name__ == "__main__":
    main()
