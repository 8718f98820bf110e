"""What an .onnx file may say before it runs: all of it once, by operators that compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import load, refusal

from evaluator.models.onnx.ops import ALLOWED, REFUSED
from evaluator.models.onnx.proto import _message_class
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


def test_every_operator_of_onnx_and_onnxruntime_is_in_one_table() -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    known = {(each.domain, each.name) for each in onnx.defs.get_all_schemas_with_history()}
    known |= {(each.domain, each.name) for each in runtime.get_all_operator_schema()}
    allowed = {(domain, name) for domain, names in ALLOWED.items() for name in names}
    refused = {(domain, name) for domain, names in REFUSED.items() for name in names}
    assert not allowed & refused
    assert sorted(known - allowed - refused) == []


def test_bytes_that_are_no_field_of_onnx_are_refused(tmp_path: Path) -> None:
    made = projection()
    made.graph.node[0].MergeFromString(b"\xa2\x06\x02hi")  # field 100
    assert "5 bytes are fields that ONNX" in refusal(save(made, tmp_path / "m.onnx"))


def test_a_value_that_no_enumeration_has_is_refused(tmp_path: Path) -> None:
    made = projection()
    made.graph.initializer[0].MergeFromString(b"\x70\x07")  # data_location 7
    assert "fields that ONNX" in refusal(save(made, tmp_path / "m.onnx"))


@pytest.mark.parametrize("wire", ["the same", "another"])
def test_a_field_that_stands_twice_is_refused(tmp_path: Path, wire: str) -> None:
    data = projection().SerializeToString()
    # ir_version, field 1: as a number, or as bytes, which ONNX's parser keeps as unknown.
    path = tmp_path / "m.onnx"
    path.write_bytes(data + (b"\x08\x07" if wire == "the same" else b"\x0a\x01\x07"))
    message = refusal(path)
    assert ("stands twice" if wire == "the same" else "fields that ONNX") in message


def test_an_operator_hidden_by_a_second_one_is_refused(tmp_path: Path) -> None:
    made = projection()
    # The lengths of node and graph, which stand before them, grow by 9.
    grown = made.graph.node[0].SerializeToString()
    whole = made.graph.SerializeToString()
    graph = b"".join(
        [
            whole[:1],
            bytes([len(grown) + 9]),
            grown.replace(b"\x22\x07Flatten", b"\x22\x07EvilOpr\x22\x07Flatten"),
            whole[2 + len(grown) :],
        ]
    )
    made.ClearField("graph")
    path = tmp_path / "m.onnx"
    length = _varint(len(graph))
    path.write_bytes(made.SerializeToString() + b"\x3a" + length + graph)
    assert "stands twice" in refusal(path)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


@pytest.mark.parametrize("packed", [True, False])
def test_lists_in_either_spelling_are_read(tmp_path: Path, packed: bool) -> None:
    nodes = [
        node("Transpose", "image", "turned", perm=[0, 1, 2, 3]),
        node("Flatten", "turned", "flat"),
        node("MatMul", "flat w", "embedding"),
    ]
    made = model(nodes, {"w": weights(PIXELS, 6)})
    message = _message_class(packed)()
    message.ParseFromString(made.SerializeToString())
    path = tmp_path / "m.onnx"
    path.write_bytes(message.SerializeToString())
    assert (path.read_bytes() != made.SerializeToString()) is packed
    np.testing.assert_allclose(load(path).forward(batch()), projected(batch()), rtol=1e-5)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    data = projection().SerializeToString().replace(b"flat", b"\xff\xfe\xfd\xfc")
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert "is no text" in refusal(path)


def _branch(name: str, made: Any) -> Any:
    return onnx.helper.make_graph(
        [made], name, [], [onnx.helper.make_tensor_value_info(made.output[0], 1, None)]
    )


def _in_a_branch(strange: Any) -> Any:
    plain = node("Identity", "embedding0", "kept")
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat w", "embedding0"),
        node(
            "If",
            "yes",
            "embedding",
            then_branch=_branch("then", plain),
            else_branch=_branch("else", strange),
        ),
    ]
    return model(nodes, {"w": weights(PIXELS, 6), "yes": np.array(True)})


def _in_a_function(strange: Any) -> Any:
    body = [node("Identity", "a", "embedding0"), strange, node("Identity", "embedding0", "b")]
    function = onnx.helper.make_function(
        "own", "F", ["a"], ["b"], body, [onnx.helper.make_opsetid("", 17)]
    )
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat w", "embedding1"),
        node("F", "embedding1", "embedding", domain="own"),
    ]
    return model(nodes, {"w": weights(PIXELS, 6)}, functions=[function], domains=["own"])


def _in_training(strange: Any) -> Any:
    made = projection()
    made.training_info.add().algorithm.CopyFrom(_branch("training", strange))
    return made


@pytest.mark.parametrize("where", [_in_a_branch, _in_a_function, _in_training])
@pytest.mark.parametrize(
    ("operator", "domain", "said"),
    [
        ("Shell", "", "Shell"),
        ("EPContext", "com.microsoft", "com.microsoft.EPContext"),
        ("PyOp", "ai.onnx.contrib", "ai.onnx.contrib.PyOp"),
        ("MatMul", "evil\x1b[2J", r"evil\x1b[2J.MatMul"),
    ],
)
def test_operators_that_do_more_than_compute_are_named(
    tmp_path: Path, where: Any, operator: str, domain: str, said: str
) -> None:
    strange = node(operator, "embedding0", "strange", domain=domain)
    message = refusal(save(where(strange), tmp_path / "m.onnx"))
    assert f"it uses {said}, " in message


def test_trust_does_not_bring_strange_operators_back(tmp_path: Path) -> None:
    path = save(_in_a_branch(node("Shell", "embedding0", "strange")), tmp_path / "m.onnx")
    assert "it uses Shell" in refusal(path, trust=True)


def test_functions_and_branches_that_compute_are_run(tmp_path: Path) -> None:
    plain = node("Identity", "embedding0", "again")
    for where in (_in_a_branch, _in_a_function):
        path = save(where(plain), tmp_path / "m.onnx")
        np.testing.assert_allclose(load(path).forward(batch()), projected(batch()), rtol=1e-5)


def _function(name: str, calls: str, count: int) -> Any:
    body = [
        node(calls, "a" if i == 0 else f"t{i}", f"t{i + 1}", domain="own") for i in range(count)
    ]
    body.append(node("Identity", f"t{count}", "b"))
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
    return onnx.helper.make_function("own", name, ["a"], ["b"], body, opsets)


def _calling(functions: list[Any], name: str) -> Any:
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat w", "embedding0"),
        node(name, "embedding0", "embedding", domain="own"),
    ]
    return model(nodes, {"w": weights(PIXELS, 6)}, functions=functions, domains=["own"])


def test_functions_that_write_out_to_billions_are_refused(tmp_path: Path) -> None:
    last = onnx.helper.make_function(
        "own", "F0", ["a"], ["b"], [node("Neg", "a", "b")], [onnx.helper.make_opsetid("", 17)]
    )
    functions = [last, *(_function(f"F{i}", f"F{i - 1}", 10) for i in range(1, 12))]
    message = refusal(save(_calling(functions, "F11"), tmp_path / "m.onnx"))
    assert "more than 1,000,000 nodes" in message


def test_functions_that_call_each_other_are_refused(tmp_path: Path) -> None:
    functions = [_function("F", "G", 1), _function("G", "F", 1)]
    assert "its function own.F calls itself" in refusal(
        save(_calling(functions, "F"), tmp_path / "m.onnx")
    )


def test_a_function_may_not_stand_for_an_operator_that_is_refused(tmp_path: Path) -> None:
    made = projection()
    function = onnx.helper.make_function(
        "com.microsoft",
        "EPContext",
        ["a"],
        ["b"],
        [node("Neg", "a", "b")],
        [onnx.helper.make_opsetid("", 17)],
    )
    made.functions.append(function)
    assert "it defines com.microsoft.EPContext" in refusal(save(made, tmp_path / "m.onnx"))


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_what_onnxruntime_s_optimiser_writes_is_run(
    tmp_path: Path, shared: Path, level: str
) -> None:
    import onnxruntime

    source, path = shared / "models" / "mobileface_v3.onnx", tmp_path / "m.onnx"
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}"
    )
    settings.optimized_model_filepath = str(path)
    settings.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), settings, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).random((2, 3, 112, 112), dtype=np.float32)
    np.testing.assert_allclose(
        load(path).forward(images), load(source).forward(images), rtol=1e-3, atol=1e-4
    )


def test_what_mxnet_wrote_gives_what_onnxruntime_gives(shared: Path) -> None:
    import onnxruntime

    path = shared / "models" / "mobileface_v3.onnx"
    images = np.random.default_rng(1).random((3, 3, 112, 112), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        load(path).forward(images), session.run(None, {"data": images})[0], rtol=1e-5, atol=1e-5
    )


def test_a_shape_of_nothing_is_refused_by_the_runtime(tmp_path: Path) -> None:
    made = model(
        [
            node("Shape", "", "size"),
            node("Flatten", "image", "flat"),
            node("MatMul", "flat w", "embedding"),
        ],
        {"w": weights(PIXELS, 6)},
    )
    del made.graph.node[0].input[:]
    assert refusal(save(made, tmp_path / "m.onnx"))


def test_an_output_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    made = projection()
    made.graph.output.add().CopyFrom(made.graph.output[0])
    found = load(save(made, tmp_path / "m.onnx"), profile="unit").forward(batch())
    assert np.allclose(found, projected(batch()), atol=1e-5)
