"""What it costs that a model lives in a process of its own, behind a wall.

    python benchmarks/isolation.py            # ResNet50V2 on a bin of LFW's size, and small models
    python benchmarks/isolation.py --quick    # a small network, 20 pairs, 2 models

`zoo eval` as it is beside the same command with the model loaded in the command's own process, each
a process from its start to its end. Then many small models in one call, .onnx and .keras: what
each one more costs, of which its process is most.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from command import zoo
from evaluation import save_model
from lfw_shaped import lfw_shaped_bin
from rows import Row, parsed, parser
from small_onnx import save_small_onnx
from table import finish
from timing import interleaved, median, ratio, run_seconds

# The command with its models loaded where it runs, as it was before they had processes.
SAME_PROCESS = """
import sys
import zoo.evaluate.loading
from evaluator.isolation.same_process import SameProcess

zoo.evaluate.loading.model_process = SameProcess
from zoo.cli import run
sys.exit(run(sys.argv[1:]))
"""


def main() -> None:
    """Prints the rows."""
    made = parser(__doc__)
    made.add_argument("--pairs", type=int, default=6000, help="pairs of the bin (LFW has 6,000)")
    options = parsed(made)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [eval_row(folder, options), *many_rows(folder, options)]
    finish(rows, options)


def eval_row(folder: Path, options: Any) -> Row:
    """The whole command, both ways, in turns."""
    quick = options.quick
    model = save_small_onnx(folder / "m.onnx") if quick else save_model(folder, quick=False)
    pairs = 20 if options.quick else options.pairs
    lfw_shaped_bin(options.shared, folder / "lfw.bin", pairs=pairs, seed=0)
    asked = ["eval", str(model), "--input", "unit", "--bins", str(folder / "lfw.bin"), "--fresh"]
    sides = {
        "own": [*zoo(), *asked, "--results", str(folder / "own")],
        "same": [sys.executable, "-c", SAME_PROCESS, *asked, "--results", str(folder / "same")],
    }
    times = interleaved(sides, options.rounds, warm_up=False, measure=run_seconds)
    return Row(
        "isolation-eval",
        f"zoo eval, {'small network' if options.quick else 'ResNet50V2'}, {pairs:,} pairs",
        "the model in the command's own process",
        ratio(times, "own", "same"),
        "x",
        1.03,
        at_most=True,
        rounds=options.rounds,
        detail=f"{median(times, 'own'):.1f} against {median(times, 'same'):.1f} s",
    )


def many_rows(folder: Path, options: Any) -> list[Row]:
    """What one more small model in a call costs, by format."""
    keras = save_model(folder, quick=True)
    onnx = save_small_onnx(folder / "small.onnx")
    lfw_shaped_bin(options.shared, folder / "few.bin", pairs=20, seed=1)
    few, many = (1, 2) if options.quick else (1, 11)
    rows = []
    for source in (onnx, keras):
        paths = [folder / f"{number}{source.suffix}" for number in range(many)]
        for path in paths:
            shutil.copy(source, path)
        taken = [
            run_seconds([*zoo(), "eval", *map(str, paths[:count]), "--input", "unit", "--fresh",
                         "--bins", str(folder / "few.bin"), "--results", str(folder / "many")]).wall
            for count in (few, many)
        ]  # fmt: skip
        each = (taken[1] - taken[0]) / (many - few)
        rows.append(
            Row(
                f"isolation-each{source.suffix.replace('.', '-')}",
                f"one more small {source.suffix} model in a call",
                "a call with one less",
                max(0.0, each),
                "s",
                None,
                rounds=1,
                detail=f"{many} models {taken[1]:.1f} s, {few} model {taken[0]:.1f} s; 1,000 would "
                f"take {1000 * each / 60:.0f} min",
            )
        )
    return rows


if __name__ == "__main__":
    main()
