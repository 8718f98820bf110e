"""OpenVINO's own models: the same embeddings as their source, and what a hostile one could try."""

from __future__ import annotations

import ast
import importlib.util
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from refusals import load, refusal

import evaluator
from evaluator.errors import ModelError
from evaluator.models.formats import model_format
from evaluator.models.identity import file_stamp, model_identity
from evaluator.models.load import check_model
from evaluator.models.openvino import import_openvino
from evaluator.models.openvino_ir.document import checked_xml
from evaluator.models.openvino_ir.ops import ALLOWED, REFUSED
from evaluator.models.options import LoadOptions
from tests.command import Zoo
from tests.small_models import save_graph, save_projection

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")


def converted(source: Path, path: Path, **settings: object) -> Path:
    openvino = import_openvino()
    model = openvino.Core().read_model(source)
    openvino.save_model(model, path, **{"compress_to_fp16": False, **settings})
    return path


@pytest.fixture
def projection(tmp_path: Path) -> Path:
    """A tiny network as .onnx, and its path as .xml beside."""
    save_projection(tmp_path / "m.onnx", units=8)
    return converted(tmp_path / "m.onnx", tmp_path / "m.xml")


def images(count: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(5).random((count, side, side, 3), dtype=np.float32)


def changed(path: Path, pattern: str, new: str) -> Path:
    text = path.read_text()
    found, count = re.subn(pattern, new, text, count=1, flags=re.DOTALL)
    assert count == 1
    path.write_text(found)
    return path


# ---- The same embeddings -------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_a_model_embeds_as_the_network_it_was_made_of(tmp_path: Path, half: bool) -> None:
    weights = save_projection(tmp_path / "m.onnx", units=8)
    path = converted(tmp_path / "m.onnx", tmp_path / "m.xml", compress_to_fp16=half)
    assert model_format(path) == "openvino-ir"
    batch = images(5)
    found = load(path)
    assert (found.format, found.input.layout, found.fixed_batch) == ("openvino-ir", "NHWC", None)
    expected = batch.reshape(5, -1) @ weights
    tolerance = 1e-2 if half else 1e-5
    assert np.abs(found.forward(batch) - expected).max() < tolerance
    assert np.abs(found.forward(batch[:2]) - expected[:2]).max() < tolerance
    assert found.count is not None
    # A product of 192 x 8 numbers, and as many weights with a bias.
    assert (found.count().macs, found.count().parameters) == (192 * 8, 192 * 8 + 8)


def test_the_shared_network_gives_the_scores_of_its_onnx(shared: Path, tmp_path: Path) -> None:
    source = shared / "models/mobileface_v3.onnx"
    path = converted(source, tmp_path / "mobileface.xml")
    bin_path = shared / "bins/small_lfw.bin"
    a, b = (evaluator.evaluate(each, bin_path, input="raw") for each in (source, path))
    assert a.scores is not None
    assert b.scores is not None
    assert np.abs(a.scores - b.scores).max() < 1e-5
    assert np.abs(a.scores).max() > 0.2
    assert load(source).count() == load(path).count()  # type: ignore[misc]


def test_the_command_evaluates_behind_the_wall_and_knows_both_files(
    zoo: Zoo, projection: Path
) -> None:
    from PIL import Image

    faces = [images(1)[0] for _ in range(4)]
    encoded = []
    for number, face in enumerate(faces):
        file = projection.with_name(f"{number}.png")
        Image.fromarray((face * 255).astype(np.uint8)).rotate(90 * number).save(file)
        encoded.append(file.read_bytes())
    slots = [encoded[i] for i in (0, 0, 1, 1, 2, 3, 0, 2)]
    projection.with_name("b.bin").write_bytes(pickle.dumps((slots, [True, True, False, False])))
    outcome = zoo("eval", "m.xml", "m.onnx", "--bins", "b.bin", "--input", "unit", "--json", "-")
    assert outcome.code == 0, outcome.err
    own, source = json.loads(outcome.out)
    assert own["model"]["format"] == "openvino-ir"
    assert own["model"]["data_sha256"] == model_identity(projection).data_sha256
    assert own["figures"]["accuracy"] == source["figures"]["accuracy"]
    assert abs(own["figures"]["threshold"] - source["figures"]["threshold"]) < 1e-5


def test_another_bin_is_another_model(projection: Path) -> None:
    before, stamp = model_identity(projection), file_stamp(projection)
    weights = projection.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    after = model_identity(projection)
    assert after.sha256 == before.sha256
    assert after.digest != before.digest
    assert file_stamp(projection) != stamp


def test_a_network_that_ends_in_classes_is_cut_before_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.normal(size=(192, 6)).astype(np.float32),
        "head": generator.normal(size=(6, 10)).astype(np.float32),
    }
    nodes = [
        ("Flatten", ["image"], "flat"), ("MatMul", ["flat", "w"], "x"),
        ("Tanh", ["x"], "bent"), ("MatMul", ["bent", "head"], "y"),
        ("Softmax", ["y"], "embedding", {"axis": 1}),
    ]  # fmt: skip
    save_graph(tmp_path / "m.onnx", nodes, weights, side=8, width=10)
    path = converted(tmp_path / "m.onnx", tmp_path / "m.xml")
    path.write_text(path.read_text().replace("embedding", "classes"))
    batch = images(3)
    found = load(path)
    assert any("it ends in classes (softmax)" in note for note in found.notes)
    assert np.allclose(
        found.forward(batch), np.tanh(batch.reshape(3, -1) @ weights["w"]), atol=1e-5
    )
    whole = load(path, output="classes").forward(batch)
    assert np.allclose(whole.sum(axis=1), 1)


def test_bfloat16_and_the_other_engine_are_openvino_too(projection: Path) -> None:
    batch = images(2)
    assert np.array_equal(
        load(projection).forward(batch), load(projection, engine="openvino").forward(batch)
    )


# ---- What is refused -----------------------------------------------------------------------------


def test_a_bin_that_is_missing_or_cut_short_is_one_line(zoo: Zoo, projection: Path) -> None:
    weights = projection.with_suffix(".bin")
    data = weights.read_bytes()
    projection.with_name("b.bin").write_bytes(pickle.dumps(([b"", b""], [True])))
    weights.write_bytes(data[:-100])
    for words in ("it is cut short, or another model's", "'m.bin' is missing; put it back"):
        outcome = zoo("eval", "m.xml", "--bins", "b.bin")
        assert outcome.code == 2
        [line] = outcome.error_lines
        assert words in line
        weights.unlink(missing_ok=True)


def test_a_bin_that_leads_elsewhere_is_refused(projection: Path, tmp_path: Path) -> None:
    weights = projection.with_suffix(".bin")
    weights.unlink()
    weights.symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match="link that leads out of the model's folder"):
        model_identity(projection)
    assert "link that leads out" in refusal(projection)


HOSTILE = {
    "an offset beyond the .bin": (r'offset="0"', 'offset="999999"', "and the .bin has"),
    "an offset below 0": (r'offset="0"', 'offset="-8"', "a constant of type"),
    "an offset beyond 64 bits": (r'offset="0"', f'offset="{2**64}"', "a constant of type"),
    "a constant of terabytes": (r'shape="192, 8"', 'shape="1000000, 1000000"', "the limit is"),
    "a constant of more than it has": (r'shape="192, 8"', 'shape="192, 9"', "has 6,144 of them"),
    "an unknown type": (r'element_type="f32" shape="192', 'element_type="q3" shape="192', "'q3'"),
    "an extension": (
        r'type="MatMul" version="opset1"', 'type="MatMul" version="extension"', "extension",
    ),
    "a custom operation": (
        r'type="MatMul" version="opset1"', 'type="Evil" version="custom"', "Evil of 'custom'",
    ),
    "a state": (
        r'type="MatMul" version="opset1"', 'type="ReadValue" version="opset6"', "ReadValue",
    ),
    "an operation of no opset": (r'type="MatMul" version="opset1"', 'type="MatMul"', "MatMul of"),
    "a document type": (
        r"<net ", '<!DOCTYPE net [<!ENTITY a "b">]><net ', "DOCTYPE",
    ),
    "an external entity": (
        r"<net ", '<!DOCTYPE net SYSTEM "file:///etc/passwd"><net ', "DOCTYPE",
    ),
    "an element of its own": (r"<layers>", '<layers><plugin path="x.so"/>', "<plugin> stands in"),
    "a body": (r"<layers>", "<body/><layers>", "<body> stands in <net>"),
    "an attribute twice": (r"<net ", '<net version="11" ', "duplicate attribute"),
    "an old version": (r'version="11"', 'version="7"', "reads 10 and 11"),
    "a page cut short": (r"</net>.*", "", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("what", HOSTILE)
def test_what_a_hostile_file_says_is_refused(projection: Path, what: str, trust: bool) -> None:
    pattern, new, words = HOSTILE[what]
    changed(projection, pattern, new)
    assert words in refusal(projection, trust=trust)
    with pytest.raises(ModelError):
        check_model(projection, LoadOptions())


def test_entities_are_never_written_out(tmp_path: Path) -> None:
    lines = ["<!DOCTYPE net [<!ENTITY a0 'ha'>"]
    lines += [f"<!ENTITY a{i + 1} '{f'&a{i};' * 10}'>" for i in range(9)]
    (tmp_path / "m.xml").write_text("".join(lines) + "]><net name='&a9;' version='11'></net>")
    with pytest.raises(ModelError, match="DOCTYPE"):
        checked_xml(tmp_path / "m.xml", 0)


def test_what_only_openvino_makes_large_is_refused_before_it_is_made(tmp_path: Path) -> None:
    weights = {"w": np.ones((192, 8), np.float32), "size": np.array([1, 2**30], np.int64)}
    nodes = [
        ("Flatten", ["image"], "flat"), ("MatMul", ["flat", "w"], "x"),
        ("ReduceMean", ["x"], "mean", {"axes": [1]}), ("Expand", ["mean", "size"], "large"),
        ("ReduceMax", ["large"], "most", {"axes": [1]}), ("Mul", ["x", "most"], "embedding"),
    ]  # fmt: skip
    save_graph(tmp_path / "m.onnx", nodes, weights, side=8, width=8)  # type: ignore[arg-type]
    path = converted(tmp_path / "m.onnx", tmp_path / "m.xml")
    assert "the limit is" in refusal(path)


def test_what_openvino_gets_is_what_was_checked(projection: Path) -> None:
    text = projection.read_text().replace('name="m"', 'name="a&#10;&lt;&quot;b"', 1)
    projection.write_text(text.replace("<layers>", "<!-- x --><layers><?php y ?>"))
    written = checked_xml(projection, projection.with_suffix(".bin").stat().st_size).decode()
    assert "x -->" not in written
    assert "php" not in written
    assert "rt_info" not in written.rpartition("</edges>")[2]
    assert 'name="a&#10;&lt;&quot;b"' in written or 'name="m"' not in text


def test_every_operation_of_openvino_is_in_a_table() -> None:
    import_openvino()
    spec = importlib.util.find_spec("openvino")
    assert spec is not None
    assert spec.origin is not None
    # An .xml has other names for these.
    renamed = {"PRelu": "PReLU", "Relu": "ReLU", "Softmax": "SoftMax"}
    names = set()
    for file in Path(spec.origin).parent.glob("opset*/ops.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="create"), args=[ast.Constant(str(name)), *_]
                ):
                    names.add(renamed.get(name, name))
    assert len(names) > 150
    assert names - ALLOWED - REFUSED == set()
    # Those that no function makes: they are classes, or made otherwise.
    assert (ALLOWED | REFUSED) - names == {"Const", "Parameter", "If", "Loop", "TensorIterator"}
    assert not ALLOWED & REFUSED
