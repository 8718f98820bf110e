"""How a model file becomes an Embedder: by the module of its format, or by OpenVINO."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.formats import model_format, refusal
from evaluator.models.options import NATIVE, LoadOptions
from evaluator.models.runtime import limit_threads

# Format -> the module with check(path, options) and load(path, options). Modules, not functions:
# a format's runtime is imported when a file of that format is met.
_MODULES = {
    "keras-h5": "evaluator.models.keras.load",
    "keras": "evaluator.models.keras.load",
    "savedmodel": "evaluator.models.savedmodel.load",
    "tflite": "evaluator.models.tflite.load",
    "onnx": "evaluator.models.onnx.load",
    "openvino-ir": "evaluator.models.openvino_ir.load",
    "frozen-graph": "evaluator.models.frozen.load",
}


# Those that OpenVINO reads itself where it is the engine; the others are TensorFlow's graphs first.
_READ_BY_OPENVINO = ("tflite", "onnx")


def check_model(path: Path, options: LoadOptions) -> None:
    """Raises ModelError for all that can be told to be wrong without loading the model.

    Imports no TensorFlow: it runs before anything slow does.
    """
    _function(path, "check", options.engine)(path, options)


def load_embedder(path: Path, options: LoadOptions) -> Embedder:
    """The Embedder of a model file. Raises ModelError, or OSError if it cannot be read."""
    if options.threads is not None:
        limit_threads(options.threads)
    return cast(Embedder, _function(path, "load", options.engine)(path, options))


def _function(path: Path, name: str, engine: str) -> Callable[[Path, LoadOptions], Embedder | None]:
    if engine != NATIVE:
        from evaluator.models.openvino import check_installed

        check_installed()
    found = model_format(path)
    if found is None:
        raise ModelError(f"{path}: {refusal(path)}")
    other = engine != NATIVE and found in _READ_BY_OPENVINO
    module = importlib.import_module("evaluator.models.openvino" if other else _MODULES[found])
    return cast("Callable[[Path, LoadOptions], Embedder | None]", getattr(module, name))
