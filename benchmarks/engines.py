"""Other engines beside TensorFlow's compiled graph: what an option for them would be worth.

    python benchmarks/engines.py            # ResNet50V2 and mobilefacenet, 112x112
    python benchmarks/engines.py --quick    # a small network, batches of 8

Each network is exported as ONNX by `evaluator.models.export`; every engine computes the same batch
of 64 in float32, in turns, and must give embeddings whose cosine to TensorFlow's is 1 within 1e-4.
An engine that is not installed is left out, and said.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import save_model
from evaluator.inputs import Forward
from evaluator.models import LoadOptions, load_embedder
from evaluator.models.export import ExportOptions, export_model
from evaluator.models.runtime import import_keras
from rows import Row, agree, finish, parsed, parser, say
from timing import interleaved, median, ratio

SAME = 1e-4


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
    from training.backbones import build_embedding_model

    import_keras().utils.set_random_seed(0)
    build_embedding_model(name, head="gdc").save(folder / "mobilefacenet.keras")
    return folder / "mobilefacenet.keras"


def engine_rows(name: str, path: Path, missing: list[str], *, options: Any) -> list[Row]:
    """Every engine beside TensorFlow on one network."""
    onnx = path.with_suffix(".onnx")
    model = import_keras().models.load_model(path)
    export_model(model, onnx, "onnx", ExportOptions())
    size = 8 if options.quick else 64
    batch = np.random.default_rng(0).random((size, 112, 112, 3), np.float32)
    forwards = {"tensorflow": load_embedder(path, LoadOptions(profile="unit")).forward}
    forwards |= {each: make(onnx) for each, make in ENGINES.items() if each not in missing}
    reference = forwards["tensorflow"](batch)
    for engine, forward in forwards.items():
        agree(f"{name}, {engine}: cosines", furthest(forward(batch), reference), SAME)
    times = interleaved(
        {engine: lambda f=forward: f(batch) for engine, forward in forwards.items()},
        options.rounds,
    )
    rates = {engine: size / median(times, engine) for engine in forwards}
    return [
        Row(
            f"engine-{engine}-{name}", f"{engine}, {name}, float32", "TensorFlow",
            ratio(times, "tensorflow", engine), "x", None, rounds=options.rounds,
            detail=f"{rates[engine]:.0f} against {rates['tensorflow']:.0f} images/s",
            quick=options.quick,
        )
        for engine in forwards
        if engine != "tensorflow"
    ]  # fmt: skip


def furthest(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """The largest distance of a cosine between two embeddings of one image from 1."""
    a, b = found.astype(np.float64), reference.astype(np.float64)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(np.abs(1 - cosines).max())


def onnxruntime_forward(path: Path) -> Forward:
    """The .onnx file in onnxruntime on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def openvino_forward(path: Path) -> Forward:
    """The .onnx file in OpenVINO on the CPU, in float32 also where the CPU has bfloat16."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: np.array(compiled(batch)[0])


ENGINES: dict[str, Callable[[Path], Forward]] = {
    "onnxruntime": onnxruntime_forward,
    "openvino": openvino_forward,
}


if __name__ == "__main__":
    main()
