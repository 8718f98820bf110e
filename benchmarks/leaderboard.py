"""Time of `zoo leaderboard` on 10,000 stored results and of `zoo compare` on 3 x 6,000 pairs.

Each command runs as a user runs it, in a new process: start-up, reading and printing included.

Run: python benchmarks/leaderboard.py [--quick]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.results.record import Result, to_dict
from rows import Row, parsed, parser
from stored import path_of, sha, stored_result
from table import finish
from timing import run_seconds

BINS = ("lfw", "agedb_30", "cfp_fp")
PAIRS, FEW_PAIRS = 6000, 600


def noisy(
    model: int, bin: str, pairs: int, generator: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """A noisy copy of one model, noisier the higher its number; images are reused as in LFW."""
    genuine = np.arange(pairs) % 600 < 300
    base = np.random.default_rng(int(sha(bin)[:8], 16))
    shared = base.normal(size=pairs) + 4 * genuine
    images = base.integers(0, int(1.3 * pairs), 2 * pairs)
    noise = (0.5 + 0.02 * model) * generator.normal(size=pairs)
    return {"scores": np.tanh((shared + noise - 2) / 4), "genuine": genuine, "images": images}


def fill(folder: Path, results: int, pairs: int = PAIRS) -> None:
    """Stores that many results; beyond the best 100 models, which are tested, JSON alone."""
    generator = np.random.default_rng(0)
    template: Result | None = None
    for i in range(results):
        model, bin = i // len(BINS), BINS[i % len(BINS)]
        name = f"model_{model:05d}"
        if model < 100 or template is None:
            found = noisy(model, bin, pairs, generator)
            template = stored_result(folder, name, Path(f"{bin}.bin"), sha(bin), **found)
            continue
        worse = dict(template.figures or {})
        worse["kfold"] = {**worse["kfold"], "accuracy": 0.8 - 1e-6 * model}
        result = replace(
            template,
            model=replace(template.model, name=name, sha256=sha(name)),
            bin=replace(template.bin, name=bin, sha256=sha(bin)),
            figures=worse,
        )
        path = path_of(folder, result)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_dict(result), indent=2))


def main() -> None:
    options = parsed(parser(__doc__))
    results, pairs = (60, FEW_PAIRS) if options.quick else (10_000, PAIRS)
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), results, pairs)
        commands = {
            "leaderboard": (["leaderboard"], 3.0),
            "compare": (["compare", "model_00000", "model_00001"], None),
        }
        rows = []
        for key, (arguments, wanted) in commands.items():
            command = [sys.executable, "-m", "zoo", *arguments, "--results", name]
            runs = [run_seconds(command) for _ in range(options.rounds)]
            cpu = statistics.median(each.cpu for each in runs)
            rows.append(
                Row(
                    f"store-{key}", f"zoo {key}, {results:,} stored results", "-",
                    statistics.median(each.wall for each in runs), "s", wanted, at_most=True,
                    rounds=options.rounds, detail=f"{cpu:.2f} s of processor time",
                )
            )  # fmt: skip
    finish(rows, options)


if __name__ == "__main__":
    main()
