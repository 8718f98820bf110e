"""How `zoo eval` grows with models and bins: 1, 2, 4 models x 1, 2, 3 bins.

    python benchmarks/scaling.py            # mobilefacenet, bins of 60 pairs
    python benchmarks/scaling.py --quick    # a small network, 1 and 2 models x 1 and 2 bins

Times are of one process with everything imported, so that they are the work and not the start-up;
a cell is run once. Peak memory is of the command, for the smallest
cell and the largest. (1e3 to 1e7 pairs: benchmarks/figures.py.)
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np

from command import peak_of, zoo
from evaluator.models.runtime import import_keras
from lfw_shaped import lfw_shaped_bin
from rows import Row, parsed, parser, say
from small_onnx import save_small_onnx
from table import finish
from timing import seconds_of
from zoo.entries.lookup import ModelChoice, resolve_models
from zoo.evaluate.evaluation import run_request
from zoo.evaluate.request import Request


def main() -> None:
    """Prints the table of cells on stderr and the rows of the largest one."""
    options = parsed(parser(__doc__))
    counts = ((1, 2), (1, 2)) if options.quick else ((1, 2, 4), (1, 2, 3))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = saved_models(folder, counts[0][-1], quick=options.quick)
        bins = [folder / f"bin_{number}.bin" for number in range(counts[1][-1])]
        for seed, path in enumerate(bins):
            lfw_shaped_bin(options.shared, path, pairs=20 if options.quick else 60, seed=seed)
        seconds = cells(models, bins, folder, counts)
        cells_weighed = ((counts[0][0], counts[1][0]), (counts[0][-1], counts[1][-1]))
        peaks = [peak_bytes(models[:m], bins[:b], folder) for m, b in cells_weighed]
    finish(rows_of(seconds, peaks, counts), options)


def peak_bytes(models: list[Path], bins: list[Path], folder: Path) -> int:
    """Peak resident bytes of the command on these."""
    results = str(folder / f"peak_{len(models)}_{len(bins)}")
    options = ["--input", "unit", "--results", results, "--bins", *map(str, bins)]
    return peak_of([*zoo(), "eval", *map(str, models), *options])[1]


Counts = tuple[tuple[int, ...], tuple[int, ...]]


def saved_models(folder: Path, count: int, *, quick: bool) -> list[Path]:
    """Files of one network with other weights each."""
    if quick:
        return [save_small_onnx(folder / f"model_{n}.onnx", seed=n) for n in range(count)]
    import_keras()
    from training.network.backbones import build_embedding_model

    network = build_embedding_model("mobilefacenet", pooling="gdc")
    paths = [folder / f"model_{number}.keras" for number in range(count)]
    for number, path in enumerate(paths):
        bias = network.layers[-1].weights[-1]
        bias.assign(np.full(bias.shape, 0.01 * (number + 1), np.float32))
        network.save(path)
    return paths


def cells(
    models: list[Path], bins: list[Path], folder: Path, counts: Counts
) -> dict[tuple[int, int], float]:
    """Seconds of each cell; loading the models is part of it."""
    choices = resolve_models([str(each) for each in models], {})
    run_cell(choices[:1], bins[:1], folder / "warm_up")
    order = [(m, b) for m in counts[0] for b in counts[1]]
    found = {}
    for number, cell in enumerate(order):
        target = folder / f"results_{number}"
        taken = seconds_of(lambda c=cell, t=target: run_cell(choices[: c[0]], bins[: c[1]], t))
        found[cell] = taken.wall
    return found


def run_cell(choices: list[ModelChoice], bins: list[Path], results: Path) -> None:
    """The straight line of `zoo eval`, its words kept from the terminal."""
    request = Request(models=choices, bins=bins, profile="unit", results=results)
    with contextlib.redirect_stderr(io.StringIO()) as words:
        found, failures = run_request(request)
    if failures or len(found) != len(choices) * len(bins):
        raise SystemExit(f"{len(found)} results, {failures}: {words.getvalue()}")


def rows_of(seconds: dict[tuple[int, int], float], peaks: list[int], counts: Counts) -> list[Row]:
    """The largest cell beside so many times the smallest, in time and in memory."""
    for m in counts[0]:
        say(f"{m} models: " + ", ".join(f"{b} bins {seconds[m, b]:.2f} s" for b in counts[1]))
    largest = (counts[0][-1], counts[1][-1])
    times = largest[0] * largest[1]
    sizes = [m * b for m, b in seconds]
    exponent = np.polyfit(np.log(sizes), np.log(list(seconds.values())), 1)[0]
    what = f"zoo eval, {largest[0]} models x {largest[1]} bins"
    return [
        Row(
            "scaling-time", what, f"{times} times 1 x 1",
            seconds[largest] / (times * seconds[1, 1]), "x", 1.1, at_most=True, rounds=1,
            detail=f"exponent {exponent:.2f}; "
            + ", ".join(f"{m}x{b} {each:.1f} s" for (m, b), each in seconds.items()),
        ),
        Row(
            "scaling-memory", f"{what}, peak memory", "1 x 1", peaks[1] / peaks[0], "x", 1.25,
            at_most=True, rounds=1,
            detail=f"{peaks[1] / 1e6:.0f} MB against {peaks[0] / 1e6:.0f} MB",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
