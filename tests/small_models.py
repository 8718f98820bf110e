"""Tiny networks that need no TensorFlow, for tests in which the network is not the subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def save_projection(
    path: Path, *, side: int = 8, units: int = 16, seed: int = 0, bias: float = 0.0
) -> NDArray[np.float32]:
    """An .onnx file that multiplies an image's values with random weights, which are returned;
    ``bias`` is added to the first number of the embedding.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(size=(side * side * 3, units)).astype(np.float32)
    added = np.zeros(units, np.float32)
    added[0] = bias
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["projected"]),
            helper.make_node("Add", ["projected", "bias"], ["embedding"]),
        ],
        "projection",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", side, side, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", units])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(added, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return weights
