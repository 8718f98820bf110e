"""Files that are no model we read: each is told for what it is, in one true line."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import InputError, ModelError
from evaluator.models.formats import model_format
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions
from zoo.entries.lookup import resolve_models

PB = bytes


def field(number: int, value: bytes | int) -> bytes:
    """A field of protocol buffers: a message or text, or a number."""
    key = number << 3 | (2 if isinstance(value, bytes) else 0)
    return varint(key) + (varint(len(value)) + value if isinstance(value, bytes) else varint(value))


def varint(value: int) -> bytes:
    value %= 2**64
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def dlib_text(text: bytes) -> bytes:
    return b"\x01" + bytes([len(text)]) + text


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), data)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("models/a.h5")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"\x89HDF"))
    return buffer.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


FLOATS = np.linspace(-1, 1, 64).astype("<f4").tobytes()
# V2 layers, then V1 as converted ones have.
LAYER = field(1, b"data") + field(2, b"Input") + field(4, b"data")
CAFFE = field(1, b"ResNet-face") + field(100, LAYER) + field(100, FLOATS)
CAFFE_V1 = field(1, b"VGG_FACE_16_layer") + field(2, field(4, b"conv1_1") + field(5, 4))
FEATURE = field(1, b"image") + field(3, field(4, field(1, 112) + field(2, 112)))
CORE_ML = field(1, 4) + field(2, field(1, FEATURE) + field(10, FEATURE)) + field(500, FLOATS)
OP_LIST = field(1, field(1, b"Add") + field(2, field(1, b"x")))
META = field(1, field(2, OP_LIST) + field(5, b"1.15.0")) + field(2, FLOATS)
SAVED = field(1, 1) + field(2, META)
PADDLE = field(1, field(1, 0) + field(2, -1) + field(3, field(1, b"feed"))) + field(4, b"")
PADDLE_TENSOR = field(1, 5) + field(2, 64)
PARAMS = struct.pack("<IQIi", 0, 0, 0, len(PADDLE_TENSOR)) + PADDLE_TENSOR + FLOATS
MXNET = struct.pack("<QQQI", 0x112, 0, 1, 0xF993FAC9) + FLOATS
SYMBOL = json.dumps({"nodes": [{"op": "null", "name": "data"}], "arg_nodes": [0], "heads": []})
TFJS = json.dumps({"format": "graph-model", "modelTopology": {}, "weightsManifest": []})
TABLE = bytes(40) + struct.pack("<Q", 0xDB4775248B80FB57)
NCNN = b"7767517\n2 2\nInput data 0 1 data\nConvolution conv1 1 1 data conv1 0=64\n"
PROTOTXT = b'name: "ResNet"\ninput: "data"\nlayer {\n  name: "conv1"\n  type: "Convolution"\n}\n'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
HTML = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
DLIB = b"\x01\x01" + dlib_text(b"loss_metric_2") + FLOATS
DLIB_SHAPE = b"\x01\x01" + b"\x81\x88" + b"\x81\x01" + FLOATS
TORCH7 = struct.pack("<iii", 4, 1, 3) + b"V 1" + struct.pack("<i", 17) + b"nn.Sequential"

# What a file is -> its name, its bytes, and words of its line.
FILES: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "safetensors": ("m.safetensors", safetensors(), ("safetensors hold weights", "zoo export")),
    "PyTorch": ("m.pth", zipped(archive__data_DOT_pkl=b"\x80\x02}."), ("PyTorch", "zoo export")),
    "TorchScript": (
        "m.pt",
        zipped(m__data_DOT_pkl=b"\x80\x02}.", m__constants_DOT_pkl=b"", m__code__a_DOT_py=b""),
        ("TorchScript", "is code", "ONNX"),
    ),
    "torch.export": ("m.pt2", zipped(m__models__model_DOT_json=b"{}"), (".pt2", "ONNX")),
    "Caffe": ("m.caffemodel", CAFFE, ("Caffe", ".prototxt", "ONNX")),
    "Caffe of 2014": ("m.caffemodel", CAFFE_V1, ("Caffe", ".prototxt", "ONNX")),
    "Caffe's description": ("m.prototxt", PROTOTXT, ("Caffe", ".caffemodel", "ONNX")),
    "Core ML": ("m.mlmodel", CORE_ML, ("Core ML", "Apple", "ONNX")),
    "dlib": ("m.dat", DLIB, ("dlib", "from Python as a function")),
    "dlib's landmarks": ("shape.dat", DLIB_SHAPE, ("dlib", "landmarks", "no embedding")),
    "PaddlePaddle": ("inference.pdmodel", PADDLE, ("PaddlePaddle", "paddle2onnx")),
    "Paddle's weights": ("inference.pdiparams", PARAMS, ("PaddlePaddle", "paddle2onnx")),
    "TensorRT": ("m.engine", b"ftrt" + bytes(60), ("TensorRT", "GPU", ".onnx")),
    "TensorRT, older": ("m.plan", b"ptrt" + bytes(60), ("TensorRT", "GPU", ".onnx")),
    "ncnn": ("m.param", NCNN, ("ncnn", "ONNX")),
    "ncnn, binary": ("m.param.bin", struct.pack("<i", 7767517) + bytes(60), ("ncnn", "ONNX")),
    "MNN": ("m.mnn", b"\x18\0\0\0" + bytes(60), ("MNN", "ONNX")),
    "a checkpoint's index": ("m.ckpt.index", TABLE, ("index of a TensorFlow checkpoint",)),
    "its numbers": ("m.ckpt.data-00000-of-00001", FLOATS, ("numbers of a TensorFlow checkpoint",)),
    "its graph": ("m.ckpt.meta", META, ("TensorFlow checkpoint (.meta)", "freeze")),
    "its list": ("checkpoint", b'model_checkpoint_path: "m"\n', ("list of a TensorFlow",)),
    "MXNet": ("m-0000.params", MXNET, ("MXNet", "-symbol.json", "ONNX")),
    "MXNet's symbol": ("m-symbol.json", SYMBOL.encode(), ("MXNet", ".params", "ONNX")),
    "TensorFlow.js": ("model.json", TFJS.encode(), ("TensorFlow.js", "tensorflowjs_converter")),
    "its weights": ("group1-shard1of1.bin", FLOATS, ("TensorFlow.js", "tensorflowjs_converter")),
    "Keras, no weights": ("m.json", b'{"class_name": "Functional", "config": {}}', ("Keras",)),
    "a SavedModel's graph": ("saved.pb", SAVED, ("graph of a SavedModel", "folder")),
    "a graph as text": ("m.pbtxt", b'node {\n  name: "x"\n}\n', (".pbtxt", "binary .pb")),
    "Lua Torch": ("nn4.small2.v1.t7", TORCH7, ("Lua Torch", "ONNX")),
    "Git LFS": ("m.onnx", LFS, ("Git LFS", "git lfs pull")),
    "a web page": ("m.h5", HTML, ("HTML", "get it again")),
    "a zip of models": (
        "m.zip", zipped(models__a_DOT_onnx=b"x", b_DOT_h5=b"y"), ("models/a.onnx, b.h5", "unzip"),
    ),
    "a zip cut short": ("m.keras", zipped(config_DOT_json=b"{}")[:-30], ("damaged or cut short",)),
    "a damaged zip": (
        "m.keras", zipped(config_DOT_json=b"{}").replace(b"PK\1\2", b"PK\1\3"), ("damaged or cut",),
    ),
    "a zip of a later version": (
        "m.keras", zipped(config_DOT_json=b"{}").replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\x74"),
        ("damaged or cut",),
    ),
    "NumPy's arrays": ("m.npz", zipped(a_DOT_npy=b""), (".npz", "--embeddings")),
    "a tar": ("m.tar", tarred(), ("tar", "models/a.h5")),
    "gzip": ("m.tar.gz", gzip.compress(tarred()), ("gzip", "unpack")),
    "7-Zip": ("m.7z", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(60), ("7-Zip", "unpack")),
    "RAR": ("m.rar", b"Rar!\x1a\x07\x01\0" + bytes(60), ("RAR", "unpack")),
    "an image": ("m.h5", b"\x89PNG\r\n\x1a\n" + bytes(60), ("image (PNG)", "zoo bins make")),
    "a bin": ("lfw.bin", pickle.dumps(([b"\xff\xd8\xff\xe0"] * 2, [True])), ("--bins",)),
    "another pickle": ("m.pkl", pickle.dumps({"w": 1}), ("pickle", "a program")),
    "text": ("m.h5", "Gesichter, größer\n".encode() * 9, ("it is text", "Expected .h5")),
    "XML": ("m.xml", b"<?xml version='1.0'?><plist></plist>", ("XML", "OpenVINO")),
    "other JSON": ("m.json", b'{"a": 1}', ("JSON",)),
    "nothing": ("m.h5", b"", ("empty",)),
    "noise": ("m.h5", bytes(range(200, 256)), ("first bytes are c8 c9", "Expected .h5")),
}  # fmt: skip


def refusals(path: Path) -> set[str]:
    """What is said where a model is named on the command line, and where one is loaded."""
    found = set()
    calls: list[Callable[[], object]] = [
        lambda: resolve_models([str(path)], {}),
        lambda: check_model(path, LoadOptions()),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        found.add(str(caught.value))
    return found


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_kind_is_told_for_what_it_is(tmp_path: Path, kind: str) -> None:
    name, data, words = FILES[kind]
    path = tmp_path / name
    path.write_bytes(data)
    assert model_format(path) is None
    [line] = refusals(path)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    assert len(line) < 600
    for each in words:
        assert each in line


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in {
    "MNN", "its numbers", "its weights",  # raw numbers, of which only the name tells
}])  # fmt: skip
def test_the_name_says_nothing(tmp_path: Path, kind: str) -> None:
    _, data, words = FILES[kind]
    path = tmp_path / "x.keras"
    path.write_bytes(data)
    [line] = refusals(path)
    assert all(each in line for each in words)


FOLDERS: dict[str, tuple[tuple[str, ...], str]] = {
    "m.mlpackage": (("Manifest.json", "Data/com.apple.CoreML/model.mlmodel"), "Core ML package"),
    "tfjs": (("model.json", "group1-shard1of1.bin"), "TensorFlow.js"),
    "run": (("checkpoint", "m.index", "m.data-00000-of-00001"), "TensorFlow checkpoint"),
    "paddle": (("inference.pdmodel", "inference.pdiparams"), "PaddlePaddle"),
    "models": (("b.txt", "a.onnx"), "not a SavedModel"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_another_kind_is_told_for_what_it_is(tmp_path: Path, name: str) -> None:
    members, words = FOLDERS[name]
    for member in members:
        (tmp_path / name / member).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / member).write_bytes(FLOATS)
    [line] = refusals(tmp_path / name)
    assert words in line
    assert ("models/a.onnx" in line) == (name == "models")


@pytest.mark.parametrize(
    ("described", "weights", "words"),
    [
        (("m.xml", b'<?xml version="1.0"?>\n<net name="a" version="11"></net>'), "m.bin", "m.xml"),
        (("m.param", NCNN), "m.bin", "ncnn network, m.param"),
        (("m.onnx", b""), "m.onnx.data", "weights of m.onnx; give that file"),
        (("m.onnx", b""), "m.onnx_data", "weights of m.onnx; give that file"),
    ],
)
def test_weights_are_told_by_what_lies_beside_them(
    tmp_path: Path, described: tuple[str, bytes], weights: str, words: str
) -> None:
    (tmp_path / described[0]).write_bytes(described[1])
    (tmp_path / weights).write_bytes(FLOATS)
    [line] = refusals(tmp_path / weights)
    assert words in line


def test_weights_alone_in_h5_are_told(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        file.attrs["backend"] = b"tensorflow"
        file.create_group("conv1")
    with pytest.raises(ModelError, match="weights only, without the network"):
        check_model(tmp_path / "m.h5", LoadOptions())


def test_a_name_in_an_archive_moves_no_cursor(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(zipped(**{"a\x1b[2J_DOT_onnx": b""}))
    [line] = refusals(path)
    assert line.isprintable()
