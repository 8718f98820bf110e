"""Formats drawn by grammar: what a scan passes is loaded behind the wall, and nothing trips.

CI scans a thousandth of what `python -m fuzz formats` does. The process that loads is started once
for all formats.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluator.errors import ModelError
from evaluator.isolation.wall import landlock_version
from fuzz.differential import compare
from fuzz.formats import FORMATS, Bench, bench
from fuzz.keras_files import Network, h5_file, keras_file, network
from fuzz.keras_grammar import KerasFormat, honest_network
from fuzz.keras_layers import Layer, Words
from fuzz.keras_payloads import marshalled, payload
from fuzz.loader import Outcome
from fuzz.mutation import scratch_folder
from fuzz.protos import Entry, entries, rewritten, varint

# What is drawn varies with the graphs that TensorFlow makes: some of so many tries are loaded.
SCANS, LOADS = 100, 4
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or landlock_version() == 0, reason="needs the wall"
)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Bench]:
    """What loads files with the guards as they are."""
    with scratch_folder() as folder, bench(Path(folder)) as made:
        yield made


@pytest.fixture(scope="module")
def trusting() -> Iterator[Bench]:
    """What loads files without the guards, behind the wall."""
    with scratch_folder() as folder, bench(Path(folder), trust=True) as made:
        yield made


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "savedmodel"])
def test_nothing_that_a_scan_passes_trips(name: str, guarded: Bench) -> None:
    tally = guarded.compare(guarded.format(name), SCANS, LOADS, seed=0)
    assert tally.findings == []
    assert tally.tripped == 0
    assert tally.scanned == SCANS
    # Neither is all refused, nor all passed; and some of what passes is really loaded.
    assert 5 < tally.passed < SCANS
    assert tally.loaded > 0


def test_nothing_that_a_scan_of_a_saved_model_passes_trips(guarded: Bench, tmp_path: Path) -> None:
    from fuzz.differential import Places
    from fuzz.saved_models import SavedModelFormat

    folder = guarded.folder / "models"
    folder.mkdir()
    cases = SavedModelFormat(folder, Places(str(guarded.loader.cell / "CANARY")), ["module"])
    tally = guarded.compare(cases, SCANS, LOADS, seed=0)
    assert (tally.findings, tally.tripped, tally.scanned) == ([], 0, SCANS)
    assert 5 < tally.passed < SCANS
    assert tally.loaded > 0


def test_the_same_seed_draws_the_same_files(tmp_path: Path, guarded: Bench) -> None:
    for name in ("keras", "onnx", "tflite"):
        cases = guarded.format(name)
        first, again = (
            [cases.kept(cases.draw(random.Random(f"{i}"))) for i in range(10)] for _ in range(2)
        )
        assert first == again


@pytest.mark.parametrize("version", [2, 3])
def test_an_honest_network_of_the_grammar_is_loaded(version: int, guarded: Bench) -> None:
    draws = (honest_network(random.Random(f"{version} {i}")) for i in range(100))
    found = next(each for each in draws if each.version == version)
    path = guarded.folder / ("honest.keras" if version == 3 else "honest.h5")
    path.write_bytes((keras_file if version == 3 else h5_file)(found.config, found.weights))
    assert guarded.loader.load(path) == Outcome("loaded")


# ---- What the formats found once -----------------------------------------------------------------

FOUND = sorted(path for path in (Path(__file__).parent / "found").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_old_finding_is_a_declared_error_now(path: Path, guarded: Bench) -> None:
    format_name = path.parent.name
    folder = guarded.folder / f"found-{format_name}"
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(bytes(256))
    file = folder / ("saved_model.pb" if format_name == "savedmodel" else f"model.{format_name}")
    file.write_bytes(path.read_bytes())
    found = guarded.loader.load(folder if format_name == "savedmodel" else file)
    assert (found.kind in ("refused", "loaded"), found.trips) == (True, ())
    assert found.message.isprintable()


# ---- The fuzzer itself ---------------------------------------------------------------------------


class _OneCase:
    """A format whose only case is a given network."""

    name = "one"

    def __init__(self, case: Network, inner: KerasFormat) -> None:
        self._case, self._inner = case, inner

    def draw(self, draw: random.Random) -> Network:
        del draw
        return self._case

    def scan(self, case: Network) -> None:
        self._inner.scan(case)

    def write(self, case: Network) -> Path:
        return self._inner.write(case)

    def kept(self, case: Network) -> bytes:
        return self._inner.kept(case)


def _with_lambda(version: int) -> Network:
    """A network that runs a marshalled function as soon as it is built."""
    code: Any = [marshalled(random.Random(1)), None, None]
    if version == 3:
        code = {"class_name": "__lambda__", "config": {"code": code[0], "defaults": None}}
        code["config"]["closure"] = None
    settings = {"name": "lambda", "function": code, "arguments": {}}
    if version == 2:
        settings["function_type"] = "lambda"
    layer = {"class_name": "Lambda", "config": settings}
    key = "batch_shape" if version == 3 else "batch_input_shape"
    image = {"class_name": "InputLayer", "config": {key: [None, 8, 8, 3], "name": "image"}}
    flat = {"class_name": "Flatten", "config": {"name": "flat"}}
    if version == 3:
        for each in (layer, image, flat):
            each |= {"module": "keras.layers", "registered_name": None}
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [image, layer, flat]}}
    if version == 3:
        config |= {"module": "keras", "registered_name": "Sequential"}
    return Network(config, (), version)


@pytest.mark.parametrize("version", [2, 3])
def test_with_the_guards_off_a_known_attack_trips(version: int, trusting: Bench) -> None:
    inner = trusting.format("keras")
    assert isinstance(inner, KerasFormat)
    cases = _OneCase(_with_lambda(version), inner)
    guarded = compare(cases, 1, 1, 0, load=trusting.loader.load, seen=trusting.loader.seen)
    assert (guarded.passed, guarded.tried) == (0, 0)
    off = compare(
        cases,
        1,
        1,
        0,
        load=trusting.loader.load,
        seen=trusting.loader.seen,
        scan=lambda _: None,
    )
    assert off.tripped == 1
    ((data, text),) = off.findings
    assert json.loads(data)[0] == version
    assert "marshal.loads" in text
    assert "open of 'MARKER' to write" in text
    assert "MARKER lies in the cell" in text


def _with_payload(number: int, version: int) -> Network:
    """A network that would load, with a payload behind its first layer."""
    draw = random.Random(f"{version} {number}")
    words = Words(draw, version)
    layers = [
        Layer("Reshape", {"target_shape": [64, 3]}, (64, 3)),
        Layer("Activation", {"activation": "relu"}, (64, 3)),
        Layer("Flatten", {}, (192,)),
    ]
    made = network(words, layers, functional=True)
    new = payload(draw, version)
    new["name"] = new["config"]["name"]
    described = made.config["config"]["layers"]
    new.setdefault("inbound_nodes", described[2]["inbound_nodes"])
    described.insert(2, new)
    return made


@pytest.mark.parametrize("version", [2, 3])
def test_payloads_are_refused_and_would_work(version: int, trusting: Bench) -> None:
    cases = trusting.format("keras")
    drawn = [_with_payload(number, version) for number in range(60)]
    for case in drawn:
        with pytest.raises(ModelError, match="not loaded, because it"):
            cases.scan(case)
    tripped = [bool(trusting.loader.load(cases.write(case)).trips) for case in drawn[:16]]
    assert sum(tripped) >= 3


def _write_and_read_files(function: Any) -> None:
    """Adds to a function what copies a file to another, and has it wait for that."""
    for name, text in (("path", b"MARKER"), ("read", b"CANARY")):
        node = function.node_def.add(name=name, op="Const")
        node.attr["dtype"].type = node.attr["value"].tensor.dtype = 7
        node.attr["value"].tensor.string_val.append(text)
        node.attr["value"].tensor.tensor_shape.SetInParent()
    function.node_def.add(name="r", op="ReadFile", input=["read:output:0"])
    function.node_def.add(name="w", op="WriteFile", input=["path:output:0", "r:contents:0"])
    function.control_ret["w"] = "w"
    function.signature.control_output.append("w")


def test_files_that_only_c_plus_plus_touches_trip(trusting: Bench) -> None:
    """The audit hook does not see TensorFlow's own file system; the cell is watched."""
    import shutil

    from tensorflow.core.protobuf import saved_model_pb2

    from fuzz.saved_model_seeds import write_seed

    folder = trusting.folder / "attack"
    write_seed("module", folder)
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        if any(node.op == "Conv2D" for node in function.node_def):
            _write_and_read_files(function)
    file.write_bytes(saved.SerializeToString())
    trips = " ".join(trusting.loader.load(folder).trips)
    shutil.rmtree(folder)
    assert "MARKER made in cell" in trips
    assert "CANARY opened in cell" in trips


def test_an_exception_that_is_not_declared_is_a_finding(guarded: Bench) -> None:
    cases = guarded.format("keras")

    def careless(case: Network) -> None:
        case.config["config"]["layers"][0]["config"]["name"].upper()

    tally = compare(cases, 60, 0, 0, load=None, scan=careless)
    assert {text.split()[0] for _, text in tally.findings} & {"KeyError", "TypeError"}


def test_a_crash_and_a_hang_end_one_process_and_are_counted(guarded: Bench) -> None:
    missing = guarded.loader.load(guarded.folder / "none.onnx")
    assert missing.kind == "refused"
    starts = guarded.loader.starts
    process = guarded.loader._process
    assert process is not None
    process.kill()
    path = guarded.folder / "none.onnx"
    assert guarded.loader.load(path).kind == "crashed"
    assert guarded.loader.load(path).kind == "refused"
    assert guarded.loader.starts == starts + 1


# ---- Protocol buffers ----------------------------------------------------------------------------


def test_fields_are_read_as_protocol_buffers_write_them() -> None:
    data = Entry(3, 0, varint(300)).written() + Entry(2, 2, b"ab").written()
    assert data == b"\x18\xac\x02\x12\x02ab"
    assert entries(data) == [Entry(3, 0, b"\xac\x02"), Entry(2, 2, b"ab")]
    assert varint(1, wide=2) == b"\x81\x80\x00"


def test_rewritten_messages_differ_at_any_depth() -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [], [])
    model = onnx.helper.make_model(graph)
    data = model.SerializeToString()
    found = {rewritten(random.Random(i), data, model.DESCRIPTOR, ["WriteFile"]) for i in range(200)}
    assert len(found - {data}) > 80
    # Some only say something a second time, and so are a whole message with more bytes.
    whole = [each for each in found if len(each) > len(data)]
    assert any(b"WriteFile" in each for each in whole)
