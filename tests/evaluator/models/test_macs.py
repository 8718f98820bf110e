"""MACs and parameters, beside TensorFlow's profiler, published tables and sums by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.images.inputs import Counts
from evaluator.models.export import ExportOptions, export_model
from evaluator.models.graph_macs import graph_macs, graph_parameters, traced_graph
from evaluator.models.load import load_embedder
from evaluator.models.macs import UncountedError, einsum
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import Lazy
from tests.small_models import save_graph, save_projection

keras = Lazy("keras")


def counted(path: Path, **options: Any) -> Counts:
    count = load_embedder(path, LoadOptions(profile="unit", **options)).count
    assert count is not None
    return count()


def graph_of(model: Any, *shape: int) -> Any:
    return traced_graph(lambda batch: model(batch, training=False), (1, *shape))


def profiled(graph: Any) -> int:
    """What TensorFlow's own profiler counts of a graph's convolutions and products: FLOPs."""
    from tensorflow.compat.v1 import profiler

    settings = profiler.ProfileOptionBuilder.float_operation()
    settings["output"] = "none"
    found = profiler.profile(graph, cmd="op", options=settings)
    counted, waiting = 0, [found]
    while waiting:
        node = waiting.pop()
        waiting += node.children
        if node.name in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            counted += node.float_ops
    return counted


def test_mobilenet_v2_has_its_paper_s_multiplications() -> None:
    model = keras.applications.MobileNetV2(weights=None)
    graph = graph_of(model, 224, 224, 3)
    # Sandler and others 2018, table 4: 300 M multiply-adds, 3.4 M parameters without moving means.
    assert graph_macs(graph, 1) == pytest.approx(300e6, rel=0.01)
    assert 2 * graph_macs(graph, 1) == profiled(graph)
    assert graph_parameters(graph) == model.count_params() == 3_538_984


def resnet50_v2(side: int) -> int:
    """The multiplications of ResNet50V2 without its classes, restated layer by layer."""
    side = -(-side // 2)
    total = side * side * 7 * 7 * 3 * 64
    side = -(-side // 2)
    given = 64
    for width, blocks, last in ((64, 3, False), (128, 4, False), (256, 6, False), (512, 3, True)):
        for block in range(blocks):
            strided = block == blocks - 1 and not last
            out = -(-side // 2) if strided else side
            total += side * side * given * width  # 1x1
            total += out * out * 9 * width * width
            total += out * out * width * 4 * width
            if block == 0:
                total += side * side * given * 4 * width  # the shortcut
            given, side = 4 * width, out
    return total


def test_resnet50_v2_at_112_has_what_its_layers_say() -> None:
    model = keras.applications.ResNet50V2(
        weights=None, include_top=False, pooling="avg", input_shape=(112, 112, 3)
    )
    graph = graph_of(model, 112, 112, 3)
    assert graph_macs(graph, 1) == resnet50_v2(112)
    assert 2 * graph_macs(graph, 1) == profiled(graph)
    assert graph_parameters(graph) == model.count_params()


def with_random_weights(model: Any) -> Any:
    """The model without zeros, which exporters leave out."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.1, 1, each.shape) for each in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def mixed() -> Any:
    """A network of every layer that multiplies, for images of 12x12."""
    layers = keras.layers
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.SeparableConv2D(12, 3, padding="same")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2)(x)
    x = layers.Conv2D(6, 3, strides=3)(x)
    x = layers.Reshape((16, 6))(x)
    x = layers.Dense(10)(x)
    x = layers.MultiHeadAttention(2, 5)(x, x)
    x = layers.Flatten()(x)
    return with_random_weights(keras.Model(image, layers.Dense(7, name="embedding")(x)))


# Of an image, by hand; the attention's are query, key, value and output, then scores and their sum.
MIXED = (
    6 * 6 * 8 * 3 * 3 * 3
    + 6 * 6 * 16 * 3 * 3
    + 6 * 6 * 16 * 3 * 3 + 6 * 6 * 12 * 16
    + 6 * 6 * 12 * 2 * 2 * 6
    + 4 * 4 * 6 * 3 * 3 * 6
    + 16 * 6 * 10
    + 16 * 10 * 10 * 4 + 2 * 16 * 16 * 5 * 2
    + 16 * 10 * 7
)  # fmt: skip


def save_keras(model: Any, folder: Path) -> Path:
    model.save(folder / "m.keras")
    return folder / "m.keras"


def save_as(kind: str) -> Callable[[Any, Path], Path]:
    def save(model: Any, folder: Path) -> Path:
        path = folder / f"m.{kind}"
        export_model(model, path, kind, ExportOptions())
        return path

    return save


@pytest.mark.parametrize(
    "save", [save_keras, save_as("onnx"), save_as("tflite"), save_as("savedmodel")],
    ids=["keras", "onnx", "tflite", "savedmodel"],
)  # fmt: skip
def test_one_network_has_the_same_multiplications_in_every_format(
    mixed: Any, save: Callable[[Any, Path], Path], tmp_path: Path
) -> None:
    found = counted(save(mixed, tmp_path))
    assert found.reasons == ()
    assert found.macs == MIXED
    # Exporters fold batch normalisation into the convolution: four times 8 numbers become 8.
    kept = mixed.count_params()
    assert found.parameters is not None
    assert kept - 40 <= found.parameters <= kept + 40


@pytest.mark.parametrize(
    "save", [save_keras, save_as("tflite"), save_as("savedmodel")],
    ids=["keras", "tflite", "savedmodel"],
)  # fmt: skip
def test_groups_multiply_their_own_share(save: Callable[[Any, Path], Path], tmp_path: Path) -> None:
    """Keras compiles such a convolution by itself: a function in the graph."""
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(12, 3, groups=3)(image)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    found = counted(save(with_random_weights(keras.Model(image, x)), tmp_path))
    assert found == Counts(12 * 3 * 3 + 12, 4 * 4 * 12 * 3 * 3)


def test_a_dense_onnx_network_is_counted_by_hand(tmp_path: Path) -> None:
    save_projection(tmp_path / "m.onnx", side=8, units=16)
    assert counted(tmp_path / "m.onnx") == Counts(8 * 8 * 3 * 16 + 16, 8 * 8 * 3 * 16)


def test_onnx_operations_are_counted_by_hand(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(3, 5, 2, 2)).astype(np.float32),
        "mixing": random.normal(size=(5, 6)).astype(np.float32),
        "dense": random.normal(size=(6, 16)).astype(np.float32),
    }
    nodes = [
        ("Transpose", ["image"], "planes", {"perm": [0, 3, 1, 2]}),
        ("ConvTranspose", ["planes", "kernel"], "wide", {"strides": [2, 2]}),
        ("GlobalAveragePool", ["wide"], "pooled"),
        ("Flatten", ["pooled"], "flat"),
        ("Einsum", ["flat", "mixing"], "mixed", {"equation": "ni,ij->nj"}),
        ("Gemm", ["mixed", "dense"], "embedding"),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, weights, side=4)
    found = counted(path)
    assert found.reasons == ()
    assert found.macs == 4 * 4 * 3 * 5 * 2 * 2 + 5 * 6 + 6 * 16
    assert found.parameters == 3 * 5 * 4 + 5 * 6 + 6 * 16


def test_what_has_no_formula_has_no_count_and_a_reason(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(1, 64, 3)).astype(np.float32),
        "r": random.normal(size=(1, 64, 16)).astype(np.float32),
        "rows": np.zeros(1, np.float32),
    }
    nodes = [
        ("ReduceMean", ["image"], "mean", {"axes": [1], "keepdims": 0}),
        ("Transpose", ["mean"], "steps", {"perm": [1, 0, 2]}),
        ("LSTM", ["steps", "w", "r"], "all", {"hidden_size": 16}),
        ("ReduceMean", ["all"], "embedding", {"axes": [0, 1], "keepdims": 0}),
    ]
    found = counted(save_graph(tmp_path / "m.onnx", nodes, weights, side=8))
    assert found.macs is None
    assert found.parameters == 64 * 19 + 1
    assert "LSTM" in found.reasons[0]


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ij,jk->ik", ((2, 3), (3, 4))), ("...ij,jk->...ik", ((5, 2, 3), (3, 4))),
     ("aecd,abcd->acbe", ((1, 3, 2, 4), (1, 5, 2, 4)))],
)  # fmt: skip
def test_an_einsum_multiplies_once_for_each_combination(
    equation: str, shapes: tuple[tuple[int, ...], ...]
) -> None:
    plain = equation.replace("...", "z") if len(shapes[0]) > 2 else equation
    sizes = {
        index: size
        for term, shape in zip(plain.split("->")[0].split(","), shapes, strict=True)
        for index, size in zip(term, shape, strict=True)
    }
    assert einsum(equation, shapes) == len(list(product(*map(range, sizes.values()))))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("i,j,k->ijk", ((2,), (2,), (2,))), ("ii,ij->j", ((2, 2), (2, 3))), ("ij,jk", ((2,), (2, 2)))],
)
def test_other_einsums_are_not_counted(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(UncountedError):
        einsum(equation, shapes)
