"""Which tensor of an .onnx file is the embedding, in both runtimes, held against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.onnx_graphs import (
    PIXELS,
    batch,
    model,
    node,
    projected,
    projection,
    save,
    weights,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CLASSES = {"v": weights(6, 9, 7), "bias": np.arange(9, dtype=np.float32)}


@pytest.fixture(params=["native", "openvino"])
def load(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Loads a model for either runtime."""
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return lambda path, **options: load_embedder(path, LoadOptions(engine=request.param, **options))


def network(path: Path, ending: list[Any], output: str, embedding: str = "e", **more: Any) -> Path:
    """A projection to six numbers, called ``embedding``, and what is made of them."""
    nodes = [node("Flatten", "image", "flat"), node("MatMul", "flat w", embedding), *ending]
    made = model(
        nodes,
        {"w": weights(PIXELS, 6), **CLASSES},
        output=output,
        shape=more.get("shape", ("n", 9)),
    )
    return save(made, path)


def expect(load: Callable[..., Any], path: Path, wanted: np.ndarray, **options: Any) -> Any:
    embedder = load(path, **options)
    np.testing.assert_allclose(embedder.forward(batch()), wanted, rtol=1e-3, atol=1e-3)
    return embedder


def logits() -> np.ndarray:
    found: np.ndarray = projected(batch()) @ CLASSES["v"] + CLASSES["bias"]
    return found


SOFTMAXES = {
    "Gemm": [node("Gemm", "e v bias", "l"), node("Softmax", "l", "p", axis=1)],
    "MatMul and Add": [
        node("MatMul", "e v", "m"),
        node("Add", "bias m", "l"),
        node("Softmax", "l", "p"),
    ],
    "LogSoftmax": [node("Gemm", "e v bias", "l"), node("LogSoftmax", "l", "p", axis=1)],
    "Log of Softmax": [
        node("Gemm", "e v bias", "l"),
        node("Softmax", "l", "s", axis=1),
        node("Log", "s", "p"),
    ],
    "a cast behind": [
        node("Gemm", "e v bias", "l"),
        node("Softmax", "l", "s", axis=1),
        node("Cast", "s", "p", to=1),
    ],
}


@pytest.mark.parametrize("ending", SOFTMAXES.values(), ids=SOFTMAXES)
def test_a_softmax_is_cut_before_its_dense_layer(
    tmp_path: Path, load: Callable[..., Any], ending: list[Any]
) -> None:
    path = network(tmp_path / "m.onnx", ending, "p")
    embedder = expect(load, path, projected(batch()))
    (note,) = [each for each in embedder.notes if "classes" in each]
    assert "Softmax" in note
    assert "--output" in note


def test_output_takes_the_classes_or_any_tensor(tmp_path: Path, load: Callable[..., Any]) -> None:
    path = network(tmp_path / "m.onnx", SOFTMAXES["Gemm"], "p")
    raised = np.exp(logits() - logits().max(axis=1, keepdims=True))
    expect(load, path, raised / raised.sum(axis=1, keepdims=True), output="p")
    expect(load, path, logits(), output="l")
    embedder = expect(load, path, projected(batch()), output="e")
    assert not [note for note in embedder.notes if "classes" in note]
    with pytest.raises(ModelError, match="no output is named 'zzz'"):
        load(path, output="zzz")


@pytest.mark.parametrize("name", ["logits", "model/predictions/BiasAdd:0", "Logits_out"])
def test_a_dense_layer_named_as_classes_is_cut(
    tmp_path: Path, load: Callable[..., Any], name: str
) -> None:
    path = network(tmp_path / "m.onnx", [node("Gemm", "e v bias", name)], name)
    embedder = expect(load, path, projected(batch()))
    assert [note for note in embedder.notes if "ends in classes" in note]


@pytest.mark.parametrize(
    "name", ["embedding", "model/embedding/MatMul:0", "/embedding/Gemm_output_0"]
)
def test_a_dense_layer_behind_an_embedding_is_cut(
    tmp_path: Path, load: Callable[..., Any], name: str
) -> None:
    ending = [node("Relu", name, "r"), node("Gemm", "r v bias", "out")]
    path = network(tmp_path / "m.onnx", ending, "out", name)
    expect(load, path, np.maximum(projected(batch()), 0))


def test_a_last_dense_layer_is_the_embedding(tmp_path: Path, load: Callable[..., Any]) -> None:
    # Two dense layers without a telling name, and one that is the embedding's own.
    path = network(tmp_path / "m.onnx", [node("Gemm", "e v bias", "out")], "out")
    embedder = expect(load, path, logits())
    told = "its last layer, 'out' of 9 values, is taken for the embedding; if it gives classes"
    assert [told in note for note in embedder.notes if "classes" in note] == [True]
    made = model(
        [
            node("Flatten", "image", "flat"),
            node("MatMul", "flat w", "embedding/in"),
            node("Gemm", "embedding/in v bias", "embedding"),
        ],
        {"w": weights(PIXELS, 6), **CLASSES},
        shape=("n", 9),
    )
    embedder = expect(load, save(made, path), logits())
    assert not any("classes" in note for note in embedder.notes)


def test_an_attention_s_softmax_is_no_ending(tmp_path: Path, load: Callable[..., Any]) -> None:
    ending = [node("Softmax", "e", "a"), node("Mul", "e a", "out")]
    path = network(tmp_path / "m.onnx", ending, "out", shape=("n", 6))
    found = projected(batch())
    raised = np.exp(found - found.max(axis=1, keepdims=True))
    expect(load, path, found * raised / raised.sum(axis=1, keepdims=True))


def test_classes_that_no_dense_layer_makes_are_refused(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    nodes = [
        node("Conv", "image k", "map"),
        node("GlobalAveragePool", "map", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Softmax", "flat", "p"),
    ]
    made = model(nodes, {"k": np.ones((9, 3, 1, 1), np.float32)}, output="p", shape=("n", 9))
    path = save(made, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"ends in classes.*--output NAME"):
        load(path)
    assert load(path, output="pooled").forward(batch()).reshape(5, -1).shape == (5, 9)


def test_of_an_embedding_and_classes_the_embedding_is_used(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    path = network(tmp_path / "m.onnx", [node("Softmax", "embedding", "p")], "p", "embedding")
    made = onnx.load(str(path))
    made.graph.output.append(onnx.helper.make_tensor_value_info("embedding", 1, ["n", 6]))
    expect(load, save(made, path), projected(batch()))


def test_a_circle_of_nodes_is_one_line(tmp_path: Path, load: Callable[..., Any]) -> None:
    ending = [
        node("Add", "e bias6", "b"),
        node("Identity", "b", "a"),
        node("Identity", "a", "b"),
        node("Identity", "b", "out"),
    ]
    with pytest.raises(ModelError, match=r"m\.onnx: ") as caught:
        load(network(tmp_path / "m.onnx", ending, "out"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_whole_numbers_are_pixels(tmp_path: Path, load: Callable[..., Any], kind: str) -> None:
    nodes = [
        node("Cast", "image", "cast", to=1),
        node("Flatten", "cast", "flat"),
        node("MatMul", "flat w", "embedding"),
    ]
    path = save(model(nodes, {"w": weights(PIXELS, 6)}, kind=kind), tmp_path / "m.onnx")
    embedder = load(path)
    assert embedder.input.profile == "raw"
    pixels = np.random.default_rng(0).uniform(-3, 260, (5, 3, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        embedder.forward(pixels), projected(np.clip(np.rint(pixels), 0, 255)), rtol=1e-3, atol=1e-2
    )
    with pytest.raises(ModelError, match="--input unit does not apply"):
        load(path, profile="unit")


@pytest.mark.parametrize("shape", [(-1, 6, 1, 1), (-1, 1, 1, 6), (-1, 6, 1)])
def test_axes_of_one_are_taken_off_with_a_note(
    tmp_path: Path, load: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    made = projection()
    made.graph.node[-1].output[0] = "e"
    made.graph.node.append(node("Reshape", "e s", "embedding"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape, np.int64), "s"))
    del made.graph.output[0].type.tensor_type.shape.dim[:]
    for size in shape:
        made.graph.output[0].type.tensor_type.shape.dim.add(
            **({"dim_param": "n"} if size < 0 else {"dim_value": size})
        )
    embedder = load(save(made, tmp_path / "m.onnx"))
    assert [note for note in embedder.notes if "is used as (None, 6)" in note]
    assert embedder.forward(batch()).reshape(5, -1).shape == (5, 6)
