"""Weights of .onnx files: held against their bytes, read from beside, and sized before made."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.identity import model_identity
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
    save_with_data,
    weights,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(params=["native", "openvino"])
def load(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Loads a model for either runtime."""
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return lambda path, **options: load_embedder(path, LoadOptions(engine=request.param, **options))


def refusal(load: Callable[..., Any], path: Path, **options: Any) -> str:
    start = time.process_time()
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    assert time.process_time() - start < 20
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


def test_weights_beside_a_model_are_used(tmp_path: Path, load: Callable[..., Any]) -> None:
    for seed in (1, 2):
        path = save_with_data(projection(seed), tmp_path / f"run{seed}" / "model.onnx")
        np.testing.assert_allclose(
            load(path).forward(batch()), projected(batch(), seed), rtol=1e-3, atol=1e-3
        )


def test_weights_in_a_folder_beside_a_model_are_used(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    (tmp_path / "data").mkdir()
    path = save(projection(), tmp_path / "model.onnx")
    _move_weights(path, "data/weights.bin")
    np.testing.assert_allclose(
        load(path).forward(batch()), projected(batch()), rtol=1e-3, atol=1e-3
    )


def _move_weights(path: Path, location: str, **entries: str) -> Any:
    """Has the weights of a model lie at a location, and at what else is said of it."""
    made = onnx.ModelProto.FromString(path.read_bytes())
    tensor = made.graph.initializer[0]
    target = path.parent / location
    if location and not location.startswith("*") and target.parent.is_dir() and not target.exists():
        target.write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    save(made, path)
    return made


@pytest.mark.parametrize(
    "location",
    ["../outside.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*", "a\x1b[2J", "a\\b", ".", ""],
)
def test_data_is_nowhere_but_in_the_model_s_folder(
    tmp_path: Path, load: Callable[..., Any], location: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = save(projection(), folder / "model.onnx")
    _move_weights(path, location, offset="0", length=str(PIXELS * 24))
    refusal(load, path)
    with pytest.raises(ModelError):
        model_identity(path)


def _missing(path: Path) -> None:
    path.unlink()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_out(path: Path) -> None:
    outside = path.parent.parent / "outside.bin"
    path.rename(outside)
    path.symlink_to(outside)


def _endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("spoil", [_missing, _fifo, _link_out, _endless, _folder, _circle])
def test_data_that_is_no_file_there_is_refused_before_it_is_hashed(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = save_with_data(projection(), tmp_path / "run" / "model.onnx")
    spoil(path.with_name("model.data"))
    with pytest.raises(ModelError, match=r"its data file 'model\.data'") as caught:
        model_identity(path)
    assert str(caught.value).isprintable()


def test_a_link_within_the_folder_is_data(tmp_path: Path) -> None:
    path = save_with_data(projection(1), tmp_path / "run" / "model.onnx")
    data = path.with_name("model.data")
    before = model_identity(path)
    data.rename(data.with_name("weights.bin"))
    data.symlink_to("weights.bin")
    assert model_identity(path) == before


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": "8"},
        {"offset": "-8"},
        {"length": "8"},
        {"length": str(10**30)},
        {"offset": "１"},
        {"offset": "0x0"},
    ],
)
def test_data_that_is_not_as_long_as_declared_is_refused(
    tmp_path: Path, load: Callable[..., Any], entries: dict[str, str]
) -> None:
    path = save(projection(), tmp_path / "model.onnx")
    _move_weights(path, "model.data", **entries)
    assert "tensor 'w'" in refusal(load, path)


def test_two_locations_of_one_tensor_are_refused(tmp_path: Path) -> None:
    path = save(projection(), tmp_path / "model.onnx")
    made = _move_weights(path, "model.data")
    made.graph.initializer[0].external_data.add(key="location", value="other.data")
    save(made, path)
    with pytest.raises(ModelError, match="says twice"):
        model_identity(path)


@pytest.mark.parametrize("spelling", ["raw", "listed"])
def test_a_tensor_that_declares_more_than_it_holds_is_refused(
    tmp_path: Path, load: Callable[..., Any], spelling: str
) -> None:
    made = projection()
    tensor = made.graph.initializer[0]
    if spelling == "listed":
        tensor.ClearField("raw_data")
        tensor.float_data.extend([1.0] * 6)
    tensor.dims[:] = [100_000, 100_000]
    assert "tensor 'w' declares" in refusal(load, save(made, tmp_path / "m.onnx"))


def test_a_constant_that_declares_more_than_it_holds_is_refused(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    value = onnx.numpy_helper.from_array(np.ones(4, np.float32), "few")
    value.dims[:] = [2**40]
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat w", "embedding"),
        node("Constant", "", "c", value=value),
    ]
    path = save(model(nodes, {"w": weights(PIXELS, 6)}), tmp_path / "m.onnx")
    assert "tensor 'few' declares" in refusal(load, path)


def test_a_sparse_tensor_is_sized_as_it_is_spread(tmp_path: Path, load: Callable[..., Any]) -> None:
    made = projection()
    sparse = made.graph.sparse_initializer.add(dims=[60_000, 60_000])
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    made.graph.node.append(node("ReduceSum", "s", "r"))
    assert "14,400,000,000 bytes" in refusal(load, save(made, tmp_path / "m.onnx"))


def _long(*sizes: int) -> np.ndarray:
    return np.array(sizes, np.int64)


def _adding(nodes: list[Any], constants: dict[str, np.ndarray]) -> Any:
    """A projection to which the sum of the tensor ``big`` is added."""
    return model(
        [
            node("Flatten", "image", "flat"),
            node("MatMul", "flat w", "e"),
            *nodes,
            node("ReduceSum", "big", "sum", keepdims=0),
            node("Add", "e sum", "embedding"),
        ],
        {"w": weights(PIXELS, 6), **constants},
    )


_ONE = np.ones((1, 1), np.float32)
_LARGE = {
    "ConstantOfShape": ([("ConstantOfShape", "s", "big", {})], {"s": _long(60_000, 60_000)}),
    "Expand": ([("Expand", "one s", "big", {})], {"one": _ONE, "s": _long(60_000, 60_000)}),
    "Tile": ([("Tile", "one s", "big", {})], {"one": _ONE, "s": _long(60_000, 60_000)}),
    "Range": (
        [("Range", "a b c", "r", {}), ("Cast", "r", "big", {"to": 1})],
        {"a": np.array(0), "b": np.array(10**10), "c": np.array(1)},
    ),
    "Resize": (
        [("Resize", "image none factors", "big", {})],
        {"none": np.zeros(0, np.float32), "factors": np.array([1, 1, 9e3, 9e3], np.float32)},
    ),
    "Pad": (
        [("Pad", "image pads", "big", {})],
        {"pads": _long(0, 0, 0, 0, 0, 0, 60_000, 60_000)},
    ),
    "EyeLike": (
        [("ConstantOfShape", "s", "z", {}), ("EyeLike", "z", "big", {})],
        {"s": _long(60_000, 60_000)},
    ),
    "RandomNormal": ([("RandomNormal", "", "big", {"shape": [60_000, 60_000]})], {}),
    "OneHot": (
        [("OneHot", "at depth values", "big", {})],
        {
            "at": np.zeros(1000, np.int64),
            "depth": np.array(10**8),
            "values": np.array([0, 1], np.float32),
        },
    ),
    "Conv with pads": (
        [("Conv", "image k", "big", {"pads": [50_000, 50_000, 50_000, 50_000]})],
        {"k": np.ones((1, 3, 1, 1), np.float32)},
    ),
    "ConvTranspose": (
        [("ConvTranspose", "image k", "big", {"strides": [30_000, 30_000]})],
        {"k": np.ones((3, 1, 1, 1), np.float32)},
    ),
    # Shapes that are computed first.
    "Mul": (
        [("Mul", "s s", "t", {}), ("ConstantOfShape", "t", "big", {})],
        {"s": _long(300, 300)},
    ),
    "Pow and Concat": (
        [
            ("Pow", "s three", "t", {}),
            ("Concat", "t t", "u", {"axis": 0}),
            ("ConstantOfShape", "u", "big", {}),
        ],
        {"s": _long(50), "three": _long(3)},
    ),
    "Div, Cast and Reshape": (
        [
            ("Div", "n d", "q", {}),
            ("Cast", "q", "t", {"to": 7}),
            ("Reshape", "t flat2", "u", {}),
            ("Expand", "one u", "big", {}),
        ],
        {
            "n": np.array([[6e5, 6e5]], np.float32),
            "d": np.array([10], np.float32),
            "flat2": _long(-1),
            "one": _ONE,
        },
    ),
    "a shape of a tensor": (
        [
            ("Expand", "one s", "row", {}),
            ("Shape", "row", "t", {}),
            ("ReduceProd", "t", "p", {"keepdims": 1}),
            ("Concat", "p p", "u", {"axis": 0}),
            ("ConstantOfShape", "u", "big", {}),
        ],
        {"one": _ONE, "s": _long(250, 250)},
    ),
}


@pytest.mark.parametrize("made", _LARGE.values(), ids=_LARGE)
def test_a_small_file_does_not_make_a_large_tensor(
    tmp_path: Path, load: Callable[..., Any], made: Any
) -> None:
    nodes, constants = made
    built = [node(kind, given, found, **attributes) for kind, given, found, attributes in nodes]
    path = save(_adding(built, constants), tmp_path / "m.onnx")
    assert path.stat().st_size < 20_000
    message = refusal(load, path)
    assert "bytes of one image; the limit is 1,073,741,824" in message


def test_a_large_tensor_in_a_branch_or_a_function_is_found(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    helper = onnx.helper
    inner = [node("ConstantOfShape", "s", "z"), node("ReduceSum", "z", "b", keepdims=0)]
    function = helper.make_function("own", "F", ["s"], ["b"], inner, [helper.make_opsetid("", 17)])
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat w", "e"),
        node("F", "s", "sum", domain="own"),
        node("Add", "e sum", "embedding"),
    ]
    constants = {"w": weights(PIXELS, 6), "s": _long(60_000, 60_000)}
    made = model(nodes, constants, functions=[function], domains=["own"])
    assert "ConstantOfShape" in refusal(load, save(made, tmp_path / "f.onnx"))

    branch = helper.make_graph(inner, "b", [], [helper.make_tensor_value_info("b", 1, None)])
    nodes[2] = node("If", "yes", "sum", then_branch=branch, else_branch=branch)
    made = model(nodes, {**constants, "yes": np.array(True)})
    assert "ConstantOfShape" in refusal(load, save(made, tmp_path / "b.onnx"))


def test_sizes_are_those_of_one_image_of_a_fixed_batch(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    # 400 images of 6 MB each: no image's tensor is large.
    nodes = [
        node("Resize", "image none factors", "large"),
        node("GlobalAveragePool", "large", "pooled"),
        node("Flatten", "pooled", "embedding"),
    ]
    constants = {
        "none": np.zeros(0, np.float32),
        "factors": np.array([1, 1, 200, 200], np.float32),
    }
    made = model(nodes, constants, shape=(400, 3), image=(400, 3, 4, 3))
    assert load(save(made, tmp_path / "m.onnx")).fixed_batch == 400


def test_the_case_of_a_constant_of_a_shape_is_one_line(
    shared: Path, load: Callable[..., Any]
) -> None:
    path = shared / "cases" / "security" / "constant_of_shape.onnx"
    assert "ConstantOfShape 'c' makes 14,400,000,000 bytes" in refusal(load, path)


def test_a_large_tensor_of_a_loop_s_first_round_is_found(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    helper = onnx.helper
    inner = [
        node("Expand", "v s", "z"),
        node("ReduceSum", "z", "more", keepdims=0),
        node("Identity", "go", "on"),
    ]
    body = helper.make_graph(
        inner,
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("go", 9, []),
            helper.make_tensor_value_info("v", 1, []),
        ],
        [helper.make_tensor_value_info("on", 9, []), helper.make_tensor_value_info("more", 1, [])],
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "start"], ["sum"], body=body)
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat w", "e"),
        loop,
        node("Add", "e sum", "embedding"),
    ]
    constants = {
        "w": weights(PIXELS, 6),
        "s": _long(60_000, 60_000),
        "rounds": np.array(2),
        "yes": np.array(True),
        "start": np.array(1, np.float32),
    }
    path = save(model(nodes, constants), tmp_path / "m.onnx")
    assert "Expand" in refusal(load, path)
    # Of two numbers, the loop is run: (2 x 1 + ...) in two rounds.
    path = save(model(nodes, {**constants, "s": _long(2)}), tmp_path / "m.onnx")
    np.testing.assert_allclose(
        load(path).forward(batch()), projected(batch()) + 4, rtol=1e-3, atol=1e-3
    )


def test_many_constants_together_are_held_against_memory(
    tmp_path: Path, load: Callable[..., Any]
) -> None:
    nodes = [node("ConstantOfShape", "s", f"c{i}") for i in range(2000)]
    nodes.append(node("Sum", " ".join(f"c{i}" for i in range(2000)), "big"))
    path = save(_adding(nodes, {"s": _long(15_000, 15_000)}), tmp_path / "m.onnx")
    assert "the constants that it computes need" in refusal(load, path)


def test_a_shape_of_thousands_of_axes_is_one_line(tmp_path: Path, load: Callable[..., Any]) -> None:
    nodes = [node("ConstantOfShape", "s", "big")]
    path = save(_adding(nodes, {"s": _long(*[2**62] * 3000)}), tmp_path / "m.onnx")
    assert len(refusal(load, path)) < 500
    made = projection()
    made.graph.initializer[0].dims[:] = [2**62] * 60
    assert len(refusal(load, save(made, tmp_path / "n.onnx"))) < 500


def test_computing_shapes_takes_no_memory_itself(tmp_path: Path, load: Callable[..., Any]) -> None:
    many = node("Concat", " ".join(["k"] * 200_000), "big", axis=0)
    made = _adding([node("Add", "k k", "l"), many], {"k": np.ones(4_000, np.int64)})
    tracked = refusal(load, save(made, tmp_path / "m.onnx"))
    assert "Concat" in tracked
