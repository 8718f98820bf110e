"""Which bytes a model's digests and stamp are of."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.formats import model_format
from evaluator.models.identity import (
    MOST_MEMBERS,
    _mentions,
    file_stamp,
    model_identity,
    model_sha256,
)
from evaluator.models.input_note import noted_input, sidecar_path
from tests.evaluator.models.onnx_graphs import projection, save, save_with_data


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3_000_000))
    assert model_sha256(path) == sha256(path)
    found = model_identity(path)
    assert (found.sha256, found.data_sha256, found.digest) == (sha256(path), None, sha256(path))


def test_data_beside_a_model_is_a_second_digest(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    found = []
    for seed in (1, 2):
        path = save_with_data(projection(seed), tmp_path / f"run{seed}" / "model.onnx")
        data = path.with_name("model.data")
        identity = model_identity(path)
        assert (identity.sha256, identity.data_sha256) == (sha256(path), sha256(data))
        whole = hashlib.sha256(f"{sha256(path)} {sha256(data)}".encode()).hexdigest()
        assert identity.digest == whole
        found.append(identity)
    assert found[0].sha256 == found[1].sha256
    assert found[0].digest != found[1].digest


def test_data_in_two_files_is_of_both(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "m.onnx"
    made = projection()
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(6, np.float32), "x"))
    for tensor in made.graph.initializer:
        (tmp_path / f"{tensor.name}.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        tensor.external_data.add(key="location", value=f"{tensor.name}.bin")
    save(made, path)
    seen = {model_identity(path).digest}
    for name in ("w.bin", "x.bin"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        seen.add(model_identity(path).digest)
    assert len(seen) == 3


def test_data_of_a_tensor_inside_a_branch_counts(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(np.ones(6, np.float32), "c")
    (tmp_path / "c.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value="c.bin")
    inner = onnx.helper.make_node("Constant", [], ["t"], value=tensor)
    graph = onnx.helper.make_graph([inner], "g", [], [])
    made = projection()
    made.graph.node.append(
        onnx.helper.make_node("If", ["y"], ["z"], then_branch=graph, else_branch=graph)
    )
    path = save(made, tmp_path / "m.onnx")
    assert model_identity(path).data_sha256 == sha256(tmp_path / "c.bin")
    (tmp_path / "c.bin").unlink()
    with pytest.raises(ModelError, match=r"'c\.bin' is missing"):
        model_identity(path)


def test_onnx_is_imported_where_a_file_refers_to_others_alone(tmp_path: Path) -> None:
    import subprocess

    pytest.importorskip("onnx")
    plain = save(projection(), tmp_path / "plain.onnx")
    beside = save_with_data(projection(), tmp_path / "beside.onnx")
    program = (
        "import sys; from pathlib import Path; from evaluator.models.identity import *\n"
        "model_identity(Path(sys.argv[1])); file_stamp(Path(sys.argv[1]))\n"
        "print('onnx' in sys.modules, 'tensorflow' in sys.modules)"
    )
    for path, said in ((plain, "False False"), (beside, "True False")):
        done = subprocess.run(
            [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == said


def test_a_missing_parser_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    pytest.importorskip("onnx")
    path = save_with_data(projection(), tmp_path / "m.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"face-zoo\[onnx\]"):
        model_identity(path)


def test_the_stamp_tells_of_changed_data_and_of_a_changed_note(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = save_with_data(projection(), tmp_path / "m.onnx")
    stamps = [file_stamp(path)]
    data = tmp_path / "model.data"
    data.write_bytes(data.read_bytes()[::-1])
    stamps.append(file_stamp(path))
    sidecar_path(path).write_text("{}")
    stamps.append(file_stamp(path))
    sidecar_path(path).write_text("[]")
    stamps.append(file_stamp(path))
    assert len(set(stamps)) == 4
    assert file_stamp(path) == stamps[-1]


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "saved"
    (made / "variables").mkdir(parents=True)
    (made / "saved_model.pb").write_bytes(b"\x08\x01")
    (made / "variables" / "variables.index").write_bytes(b"i")
    return made


def test_a_folder_is_hashed_by_the_names_and_contents_of_its_files(tmp_path: Path) -> None:
    made = folder(tmp_path)
    total = hashlib.sha256()
    for name, data in (("saved_model.pb", b"\x08\x01"), ("variables/variables.index", b"i")):
        total.update(f"{name}\0{hashlib.sha256(data).hexdigest()}".encode())
    assert model_sha256(made) == total.hexdigest()
    before = file_stamp(made)
    (made / "assets").mkdir()
    (made / "assets" / "words.txt").write_bytes(b"w")
    assert model_sha256(made) != total.hexdigest()
    assert file_stamp(made) != before


def _link_to_root(made: Path) -> None:
    (made / "assets").symlink_to("/")


def _link_to_a_file_outside(made: Path) -> None:
    (made.parent / "outside").write_bytes(b"x")
    (made / "variables" / "x").symlink_to("../../outside")


def _fifo(made: Path) -> None:
    os.mkfifo(made / "variables" / "x")


def _socket(made: Path) -> None:
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(made / "x"))


def _device(made: Path) -> None:
    (made / "x").symlink_to("/dev/zero")


def _link_to_nothing(made: Path) -> None:
    (made / "x").symlink_to("gone")


def _circle(made: Path) -> None:
    (made / "x").symlink_to("x")


def _link_to_itself(made: Path) -> None:
    (made / "variables" / "up").symlink_to("..")


def _deep(made: Path) -> None:
    (made / "/".join("a" * 40)).mkdir(parents=True)


def _many(made: Path) -> None:
    for number in range(MOST_MEMBERS + 1):
        (made / f"{number}").touch()


@pytest.mark.parametrize(
    "spoil",
    [
        _link_to_root,
        _link_to_a_file_outside,
        _fifo,
        _socket,
        _device,
        _link_to_nothing,
        _circle,
        _link_to_itself,
        _deep,
        _many,
    ],
)
@pytest.mark.parametrize("read", [model_identity, file_stamp])
def test_what_no_model_s_folder_holds_is_refused_at_once(
    tmp_path: Path, spoil: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    made = folder(tmp_path)
    spoil(made)
    start = time.process_time()
    with pytest.raises(ModelError) as caught:
        read(made)
    assert time.process_time() - start < 5
    assert str(caught.value).startswith(f"{made}: ")
    assert str(caught.value).isprintable()


def test_a_note_that_an_editor_marked_as_utf_8_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    sidecar_path(path).write_bytes(
        b"\xef\xbb\xbf" + (NOTE % ('"unit"', '"rgb"', "a" * 64)).encode()
    )
    assert noted_input(path, "a" * 64) == ("unit", "rgb")


def test_a_link_to_a_file_of_the_folder_is_a_file(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made / "variables" / "again").symlink_to("variables.index")
    linked = model_sha256(made)
    (made / "variables" / "again").unlink()
    (made / "variables" / "again").write_bytes(b"i")
    assert model_sha256(made) == linked


@pytest.mark.parametrize("read", [model_format, model_identity, file_stamp, model_sha256])
def test_a_fifo_or_device_is_no_model(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    for path, said in ((tmp_path / "m.onnx", "a FIFO"), (Path("/dev/zero"), "a device")):
        with pytest.raises((OSError, ModelError), match=said):
            read(path)


NOTE = '{"profile": %s, "channels": %s, "sha256": "%s"}'


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        (NOTE % ("[]", '"rgb"', "a" * 64)).encode(),
        (NOTE % ('"unit"', "{}", "a" * 64)).encode(),
        (NOTE % ('"\\u001b[2J"', '"rgb"', "a" * 64)).encode(),
        b"\xff\xfe" * 40,
        b" " * 70_000 + b"{}",
        b"",
        b"1" * 5_000,
        b'{"profile": NaN}',
        b'{"profile": "unit", "channels": "rgb", "sha256": "\\ud800"}',
    ],
    ids=range(10),
)
def test_a_note_of_any_content_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    sidecar_path(path).write_bytes(data)
    with pytest.raises(ModelError) as caught:
        noted_input(path, "a" * 64)
    assert str(caught.value).startswith(f"{sidecar_path(path)}: ")
    assert str(caught.value).isprintable()


def test_a_note_that_is_no_file_is_one_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    os.mkfifo(sidecar_path(path))
    path.write_bytes(b"x")
    for _ in range(2):
        with pytest.raises(ModelError, match="remove it"):
            noted_input(path, "a" * 64)
        file_stamp(path)  # does not wait either
        sidecar_path(path).unlink()
        sidecar_path(path).symlink_to("/dev/zero")


def test_the_note_of_a_folder_called_by_a_dot_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder(tmp_path))
    assert sidecar_path(Path()) == tmp_path / "saved.input.json"


@pytest.mark.parametrize("at", [0, (1 << 20) - 8, (1 << 20) - 3, 1 << 20, (2 << 20) - 1])
def test_a_word_is_found_wherever_it_stands(tmp_path: Path, at: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(at) + b"location" + bytes(100))
    assert _mentions(path, b"location")
    assert not _mentions(path, b"locations")
