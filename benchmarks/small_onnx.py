"""A small network as an .onnx, made without Keras: for `--quick` where it is not the subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_small_onnx(path: Path, *, seed: int = 0) -> Path:
    """Writes it, of weights by that seed: a convolution, its mean, an embedding of 512 numbers."""
    random = np.random.default_rng(seed)
    sizes = {"kernel": (8, 3, 7, 7), "mixing": (8, 512)}
    weights = {name: random.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["wide"], strides=[4, 4]),
        helper.make_node("Relu", ["wide"], ["lit"]),
        helper.make_node("ReduceMean", ["lit"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "mixing"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 112, 112, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 512])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        str(path),
    )
    return path
