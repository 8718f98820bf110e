"""What a file is, told by its first bytes: an ONNX model has no signature."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.formats import model_format
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def onnx_bytes(**settings: object) -> bytes:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    x = helper.make_tensor_value_info("x", kinds.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", kinds.FLOAT, ["n", 192])
    graph = helper.make_graph([helper.make_node("Flatten", ["x"], ["y"])], "g", [x], [y])
    data: bytes = helper.make_model(graph, ir_version=8, **settings).SerializeToString()
    return data


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"producer_name": "pytorch", "producer_version": "2.1"},
        {"producer_name": ""},
        {"producer_name": "飞桨"},
        {"producer_name": "x" * 300},
        {"producer_version": "1"},
        {"domain": "org.example"},
        {"model_version": 7},
        {"model_version": 2**40},
        {"doc_string": "A network."},
    ],
    ids=str,
)
def test_an_onnx_model_is_told_whatever_its_writer_filled_in(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    data = onnx_bytes(**settings)
    assert model_format(written(tmp_path / "m.onnx", data)) == "onnx"
    # A download that was cut short is one still.
    assert model_format(written(tmp_path / "m.onnx", data[: len(data) // 2])) == "onnx"


def tfrecord(length: int) -> bytes:
    return struct.pack("<QI", length, 0x12345678) + bytes(range(256)) * 4


# TFRecords begin with the length of their first record: 8, an IR version, a field of ONNX.
_FIELDS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)
_LENGTHS = [8 + (version << 8) + (field << 16) for version in range(1, 128, 9) for field in _FIELDS]

OTHERS = {
    "pickled bin": pickle.dumps(([b"\xff\xd8"], [True])),
    "pickle of protocol 0": pickle.dumps([1, 2], protocol=0),
    "text": b"image_a,image_b,label\n",
    "zip": b"PK\x03\x04" + bytes(60),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(60),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(60),
    "MXNet records": struct.pack("<II", 0xCED7230A, 40) + bytes(60),
    "NumPy array": b"\x93NUMPY\x01\x00" + bytes(60),
    "SavedModel's graph": b"\x08\x01\x12\xdd\xa8\x02\x0a\xd7\x12\x12\xba\x12\x0a\x44\x0a\x05AddV2",
    "a small SavedModel's graph": b"\x08\x01\x12\x40\x0a\x10\x12\x01a" + bytes(60),
    "CoreML": b"\x08\x04\x12\x81\x01\x0a\x1c\x0a\x05image" + bytes(60),
    "frozen graph": b"\x0a\x2f\x0a\x05image\x12\x0bPlaceholder" + bytes(60),
    "nothing": b"",
    "one byte": b"\x08",
    "zeros": bytes(64),
    "eights": b"\x08" * 64,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_no_onnx(tmp_path: Path, name: str) -> None:
    found = "frozen-graph" if name == "frozen graph" else None
    assert model_format(written(tmp_path / "file", OTHERS[name])) == found


def test_no_tfrecord_s_first_length_is_taken_for_an_ir_version(tmp_path: Path) -> None:
    path = tmp_path / "records"
    assert not [n for n in _LENGTHS if model_format(written(path, tfrecord(n))) is not None]


def test_random_bytes_are_hardly_ever_onnx(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    noise = np.random.default_rng(0).integers(0, 256, (300, 16)).astype(np.uint8)
    noise[:, 0] = 8
    found = [row for row in noise if model_format(written(path, row.tobytes())) is not None]
    assert len(found) < 10


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.h5").symlink_to("/dev/zero")
    for name in ("pipe.onnx", "zero.h5"):
        with pytest.raises(ModelError, match=r"not a model: .*, not a file"):
            check_model(tmp_path / name, LoadOptions())


def test_a_folder_whose_graph_is_a_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "saved_model.pb")
    with pytest.raises(ModelError, match=r"a folder without saved_model\.pb"):
        check_model(tmp_path, LoadOptions())
