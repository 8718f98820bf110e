"""Time of `zoo leaderboard` on 10,000 stored results and of `zoo compare` on 3 x 6,000 pairs.

Each command runs as a user runs it, in a new process: start-up, reading and printing included.

Run: python benchmarks/leaderboard.py [--quick]
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.measured import Measured
from evaluator.results.record import BinRecord, ModelRecord, Result, Scores, Settings, to_dict
from evaluator.results.store import save_result
from rows import Row, parsed, parser
from table import finish
from timing import run_seconds

BINS = ("lfw", "agedb_30", "cfp_fp")
PAIRS, FEW_PAIRS = 6000, 600


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def scored_result(
    model: int, bin: str, pairs: int, generator: np.random.Generator
) -> tuple[Result, Scores]:
    """A noisy copy of one model, noisier the higher its number; images are reused as in LFW."""
    genuine = np.arange(pairs) % 600 < 300
    base = np.random.default_rng(int(sha(bin)[:8], 16))
    shared = base.normal(size=pairs) + 4 * genuine
    images = base.integers(0, int(1.3 * pairs), 2 * pairs)
    noise = (0.5 + 0.02 * model) * generator.normal(size=pairs)
    scores = np.tanh((shared + noise - 2) / 4)
    name = f"model_{model:05d}"
    result = Result(
        status="ok",
        model=ModelRecord(
            name,
            f"{name}.h5",
            sha(name),
            "keras_h5",
            512,
            {"size": [112, 112], "range": "unit", "channels": "rgb", "layout": "NHWC"},
        ),
        bin=BinRecord(
            bin, f"{bin}.bin", sha(bin), pairs, pairs // 2, pairs // 2, 2 * pairs, int(1.3 * pairs)
        ),
        settings=Settings(),
        figures=to_json(figures(scores, genuine)),
        non_finite={"count": 0, "images": [], "dropped_pairs": 0},
        cost={"seconds": 1.0, "images_per_second": 1.0},
        versions={"zoo": "0.1.0", "python": "3.11", "tensorflow": "2.21", "numpy": "2.4"},
        created="2026-01-01T00:00:00+00:00",
    )
    return result, Scores(scores, genuine, images)


def fill(folder: Path, results: int, pairs: int = PAIRS) -> None:
    """Stores that many results; beyond the best 100 models, which are tested, JSON alone."""
    generator = np.random.default_rng(0)
    template: Result | None = None
    for i in range(results):
        model, bin = divmod(i, len(BINS))
        if model < 100 or template is None:
            result, scores = scored_result(model, BINS[bin], pairs, generator)
            template = result
        else:
            name = f"model_{model:05d}"
            worse = dict(template.figures or {})
            worse["kfold"] = {**worse["kfold"], "accuracy": 0.8 - 1e-6 * model}
            result = replace(
                template,
                model=replace(template.model, name=name, sha256=sha(name)),
                bin=replace(template.bin, name=BINS[bin], sha256=sha(BINS[bin])),
                figures=worse,
            )
        path = Measured(
            (result.model.name, result.model.sha256),
            (result.bin.name, result.bin.sha256),
            result.settings,
        ).path_in(folder)
        if model < 100:
            save_result(path, result, scores)
        else:
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
                    quick=options.quick,
                )
            )  # fmt: skip
    finish(rows, options)


if __name__ == "__main__":
    main()
