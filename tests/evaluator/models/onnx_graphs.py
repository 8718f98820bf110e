"""Small ONNX models for tests, made by the onnx package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: Height and width of the images: not square, so that swapped axes show.
SIZE = (4, 3)
PIXELS = 3 * SIZE[0] * SIZE[1]
KIND = {"float": 1, "uint8": 2, "int32": 6, "int64": 7, "float16": 10, "double": 11}


def weights(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def model(
    nodes: Sequence[Any],
    constants: Mapping[str, np.ndarray],
    *,
    output: str = "embedding",
    shape: Sequence[Any] = ("n", 6),
    image: Sequence[Any] = ("n", 3, *SIZE),
    kind: str = "float",
    functions: Sequence[Any] = (),
    domains: Sequence[str] = (),
) -> Any:
    """A model of these nodes from ``image`` to one output."""
    import onnx

    helper = onnx.helper
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("image", KIND[kind], list(image))],
        [helper.make_tensor_value_info(output, 1, None if shape is None else list(shape))],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)],
        functions=list(functions),
        ir_version=8,
    )


def node(kind: str, inputs: str, outputs: str, domain: str = "", **attributes: Any) -> Any:
    """A node; ``inputs`` and ``outputs`` are names with spaces between."""
    import onnx

    return onnx.helper.make_node(
        kind, inputs.split(), outputs.split(), domain=domain or None, **attributes
    )


def projection(seed: int = 0, size: int = 6) -> Any:
    """The plainest network: its image, flattened and projected."""
    return model(
        [node("Flatten", "image", "flat"), node("MatMul", "flat w", "embedding")],
        {"w": weights(PIXELS, size, seed)},
        shape=("n", size),
    )


def projected(batch: np.ndarray, seed: int = 0, size: int = 6) -> np.ndarray:
    """What `projection` gives, by NumPy."""
    found: np.ndarray = batch.reshape(len(batch), -1) @ weights(PIXELS, size, seed)
    return found


def batch(count: int = 5) -> np.ndarray:
    return np.random.default_rng(3).random((count, 3, *SIZE), dtype=np.float32)


def save(made: Any, path: Path) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def save_with_data(made: Any, path: Path, data: str = "model.data") -> Path:
    """Saves a model with its weights in a file beside it."""
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    onnx.save_model(copy, str(path), save_as_external_data=True, location=data, size_threshold=0)
    return path
