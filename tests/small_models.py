"""Tiny networks that need no TensorFlow, for tests in which the network is not the subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_projection(
    path: Path, *, side: int = 8, units: int = 16, seed: int = 0, bias: float = 0.0
) -> NDArray[np.float32]:
    """An .onnx file that multiplies an image's values with random weights, which are returned;
    ``bias`` is added to the first number of the embedding.
    """
    weights = np.random.default_rng(seed).normal(size=(side * side * 3, units)).astype(np.float32)
    added = np.zeros(units, np.float32)
    added[0] = bias
    nodes = [
        ("Flatten", ["image"], "flat"),
        ("MatMul", ["flat", "weights"], "projected"),
        ("Add", ["projected", "bias"], "embedding"),
    ]
    save_graph(path, nodes, {"weights": weights, "bias": added}, side=side, width=units)
    return weights


def save_any_size(path: Path) -> Path:
    """An .onnx file that leaves the image's size open: 16 functions of its mean colour, bent before
    the mean is taken.
    """
    weights = np.random.default_rng(4).normal(size=(3, 16)).astype(np.float32)
    nodes = [
        ("MatMul", ["image", "weights"], "mixed"),
        ("Tanh", ["mixed"], "bent"),
        ("ReduceMean", ["bent"], "embedding", {"axes": [1, 2], "keepdims": 0}),
    ]
    return save_graph(path, nodes, {"weights": weights}, side=None)


def save_dark_is_nan(path: Path, *, side: int = 8) -> Path:
    """An .onnx file whose embedding is NaN for an image with a black first pixel, finite for
    others.
    """
    pick = np.zeros((side * side * 3, 16), np.float32)
    pick[0] = 1
    rest = np.random.default_rng(3).normal(size=pick.shape).astype(np.float32)
    nodes = [
        ("Flatten", ["image"], "flat"),
        ("MatMul", ["flat", "pick"], "first"),
        # x / x is 1 where the first pixel is lit and NaN where it is black.
        ("Div", ["first", "first"], "ratio"),
        ("MatMul", ["flat", "rest"], "projected"),
        ("Mul", ["projected", "ratio"], "embedding"),
    ]
    return save_graph(path, nodes, {"pick": pick, "rest": rest}, side=side)


def save_graph(
    path: Path,
    nodes: Sequence[tuple[Any, ...]],
    weights: Mapping[str, NDArray[np.float32]],
    *,
    side: int | None,
    width: int = 16,
) -> Path:
    """An .onnx file from ``image`` (n, side, side, 3) to ``embedding`` (n, width). A node is an
    operation, its inputs, its output, and attributes where it has some.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made = []
    for operation, inputs, output, *attributes in nodes:
        made.append(helper.make_node(operation, inputs, [output], **dict(*attributes)))
    shape = ["n", "h", "w", 3] if side is None else ["n", side, side, 3]
    graph = helper.make_graph(
        made,
        path.stem,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path
