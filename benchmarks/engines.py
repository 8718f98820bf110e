"""Other engines beside TensorFlow's compiled graph: what ``--engine`` is worth.

    python benchmarks/engines.py            # ResNet50V2 and mobilefacenet, 112x112
    python benchmarks/engines.py --quick    # a small network, batches of 8

Each network is loaded as `zoo eval` loads it: with ``--engine openvino``, and exported as ONNX,
which onnxruntime runs. Every engine computes the same batch of 64, in turns, and must give
embeddings whose cosine to TensorFlow's is 1 within 1e-6 in float32. In bfloat16, where the CPU has
it, OpenVINO stands beside TensorFlow in bfloat16. An engine that is not installed is left out, and
said.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import has_bfloat16, save_model
from evaluator.models.export import ExportOptions, export_model
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras
from rows import Row, agree, parsed, parser, say
from table import finish
from timing import Rounds, interleaved, median, ratio

SAME = 1e-6
HALF = 1e-2  # of a network with random weights, in bfloat16

# An engine is an option of its own if it wins by a quarter; OpenVINO does on this network.
WANTED = {("openvino", "mobilefacenet"): 1.25}
ENGINES = ("onnxruntime", "openvino")


def main() -> None:
    """Prints a row for each engine and network."""
    options = parsed(parser(__doc__))
    missing = [name for name in ENGINES if importlib.util.find_spec(name) is None]
    say(f"not installed and left out: {', '.join(missing)}" if missing else "all engines are there")
    keras = import_keras()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for network in ("small",) if options.quick else ("resnet50v2", "mobilefacenet"):
            path = network_file(network, Path(name))
            rows += engine_rows(network, path, missing, options=options)
            keras.backend.clear_session()
    finish(rows, options)


def network_file(name: str, folder: Path) -> Path:
    """A Keras file of the network with fresh weights."""
    if name != "mobilefacenet":
        return save_model(folder, quick=name == "small")
    from training.network.backbones import build_embedding_model

    import_keras().utils.set_random_seed(0)
    build_embedding_model(name, pooling="gdc").save(folder / "mobilefacenet.keras")
    return folder / "mobilefacenet.keras"


def engine_rows(name: str, path: Path, missing: list[str], *, options: Any) -> list[Row]:
    """Every engine beside TensorFlow on one network, in each precision that this CPU has."""
    onnx = path.with_suffix(".onnx")
    export_model(import_keras().models.load_model(path), onnx, "onnx", ExportOptions())
    # A format's own runtime, and --engine: all as `zoo eval` loads them.
    ways = {
        "tensorflow": (path, "native", "float32"),
        "onnxruntime": (onnx, "native", "float32"),
        "openvino": (path, "openvino", "float32"),
    }
    if has_bfloat16():
        ways |= {
            "tensorflow-bfloat16": (path, "native", "bfloat16"),
            "openvino-bfloat16": (path, "openvino", "bfloat16"),
        }
    forwards = {
        each: load_embedder(
            file, LoadOptions(profile="unit", engine=engine, precision=precision)
        ).forward
        for each, (file, engine, precision) in ways.items()
        if each.partition("-")[0] not in missing
    }
    size = 8 if options.quick else 64
    batch = np.random.default_rng(0).random((size, 112, 112, 3), np.float32)
    reference = forwards["tensorflow"](batch)
    for each, forward in forwards.items():
        allowed = HALF if each.endswith("bfloat16") else SAME
        agree(f"{name}, {each}: cosines", furthest(forward(batch), reference), allowed)
    times = interleaved(
        {each: lambda f=forward: f(batch) for each, forward in forwards.items()}, options.rounds
    )
    return [
        engine_row(name, each, times, size)
        for each in forwards
        if not each.startswith("tensorflow")
    ]


def engine_row(name: str, engine: str, times: Rounds, size: int) -> Row:
    """One engine beside TensorFlow in the same precision."""
    _, _, precision = engine.partition("-")
    against = f"tensorflow-{precision}" if precision else "tensorflow"
    rates = [size / median(times, each) for each in (engine, against)]
    processor = ratio(times, against, engine, clock="cpu")
    return Row(
        f"engine-{engine}-{name}",
        f"{engine.partition('-')[0]}, {name}, {precision or 'float32'}",
        "TensorFlow",
        ratio(times, against, engine),
        "x",
        WANTED.get((engine, name)),
        rounds=len(times),
        detail=f"{rates[0]:.0f} against {rates[1]:.0f} images/s; processor time {processor:.2f}x",
    )


def furthest(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """The largest distance of a cosine between two embeddings of one image from 1."""
    a, b = found.astype(np.float64), reference.astype(np.float64)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(np.abs(1 - cosines).max())


if __name__ == "__main__":
    main()
