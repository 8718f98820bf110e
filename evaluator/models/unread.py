"""Files that are no model we read: what each is, told by its content, and what to do with it.

Magic numbers are from the formats' own sources, named beside them. By its name is told only what
has no sign of its own: raw numbers beside the file that describes them.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evaluator.bins.containers import container_kind
from evaluator.bins.verification_set import is_pickle
from evaluator.bins.wrapped import wrapped_start
from evaluator.errors import cause_of
from evaluator.files import open_regular
from evaluator.images.image_format import image_format
from evaluator.models.signatures import PB_LENGTH, is_openvino_ir
from evaluator.models.torch_weights.read import weights_kind
from evaluator.npz import BAD_ZIP

_HEAD = 4096
#: Bytes of the largest JSON that is looked into: TFJS's and MXNet's descriptions have some 100,000.
_JSON_BYTES = 16_000_000

_TO_ONNX = "convert it to ONNX"


@dataclass(frozen=True)
class _File:
    path: Path
    head: bytes
    tail: bytes
    size: int

    @cached_property
    def text(self) -> str | None:
        """The beginning, where it is text."""
        with suppress(UnicodeDecodeError):
            # A sign may be cut in two at the end.
            text = self.head[: max(len(self.head) - 3, 1)].decode("utf-8-sig")
            if self.head and not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text):
                return text
        return None

    @cached_property
    def keys(self) -> set[str]:
        """The keys of the JSON object that the file is; none of another file."""
        if self.head.lstrip()[:1] != b"{" or self.size > _JSON_BYTES:
            return set()
        with suppress(ValueError, RecursionError):
            found = json.loads(self.path.read_bytes())
            return set(found) if isinstance(found, dict) else set()
        return set()

    def beside(self, suffix: str) -> Path | None:
        """The file of the same name with another ending, if it is there."""
        other = self.path.with_suffix(suffix)
        return other if other.is_file() and other != self.path else None


EXPECTED = (
    "Expected .h5, .keras, .tflite, .onnx, OpenVINO's .xml, a frozen graph or a SavedModel folder"
)


def said_of(path: Path) -> str:
    """What a file or folder is that ``model_format`` does not know, and what to do; how it looks
    where nothing else is known. Raises OSError.
    """
    if path.is_dir():
        return _folder(path)
    with os.fdopen(open_regular(path), "rb") as opened:
        head = opened.read(_HEAD)
        size = os.fstat(opened.fileno()).st_size
        opened.seek(max(0, size - 8))
        file = _File(path, head, opened.read(8), size)
    if not head:
        return "the file is empty; get it again"
    looks = f"its first bytes are {head[:8].hex(' ')}" if file.text is None else "it is text"
    known = (said for told in _TOLD if (said := told(file)) is not None)
    return next(known, f"not a model: {looks}. {EXPECTED}")


# ---- Folders -------------------------------------------------------------------------------------


def _folder(path: Path) -> str:
    kept = re.compile(r"(bin|set)-[0-9a-f]{64}\.h5")  # in folders of results
    names = sorted(each.name for each in os.scandir(path) if not kept.fullmatch(each.name))
    models = [n for n in names if n.endswith((".h5", ".keras", ".tflite", ".onnx", ".xml", ".pb"))]
    if "Manifest.json" in names and (path / "Data").is_dir():
        return f"a Core ML package, which runs on Apple's systems alone; {_coreml}"
    if not models:
        found = (
            line for sign, line in _FOLDERS.items() if any(map(re.compile(sign).fullmatch, names))
        )
        return next(found, _NO_MODEL)
    first = cause_of(models[0])[:80]
    return (
        "a folder, but not a SavedModel (a folder without saved_model.pb); give the model files in "
        f"it: {cause_of(str(path))}/{first}"
    )


# ---- Advice --------------------------------------------------------------------------------------

_coreml = "give what it was converted from, or export that network to ONNX"
_TFJS = (
    "convert it to a SavedModel (pip install tensorflowjs; tensorflowjs_converter "
    "--input_format=tfjs_graph_model --output_format=tf_saved_model model.json FOLDER, or "
    "tfjs_layers_model to keras_saved_model)"
)
_CHECKPOINT = (
    "a checkpoint has values of variables and no network that could be run; save the model as a "
    "SavedModel, or freeze its graph"
)
_CAFFE = (
    f"{_TO_ONNX} (caffe2onnx, or OpenVINO up to 2023) with both files, .prototxt and .caffemodel"
)
_PADDLE = f"{_TO_ONNX} (pip install paddle2onnx; paddle2onnx --model_dir FOLDER --save_file x.onnx)"
_MXNET = (
    f"{_TO_ONNX} (mxnet.onnx.export_model, from both files, -symbol.json and .params; insightface "
    "offers most of its models as .onnx too)"
)
_NCNN = f"ncnn's files are made from another format: give that, or {_TO_ONNX}"
_FOLDERS = {
    r"model\.json": f"a folder of TensorFlow.js; {_TFJS}",
    r".*\.index": f"a folder with a TensorFlow checkpoint; {_CHECKPOINT}",
    r".*\.pdmodel": f"a folder of PaddlePaddle; {_PADDLE}",
}
_NO_MODEL = (
    "a folder without a model: it has no saved_model.pb, as a SavedModel has, and no model file; "
    "give a model's path"
)
_PYTORCH = "export any other to ONNX (torch.onnx.export), or evaluate it from Python as a function"


# ---- Files ---------------------------------------------------------------------------------------


def _bin(file: _File) -> str | None:
    if container_kind(file.path) is not None:
        return "this is a bin, not a model; put it after --bins"
    if weights_kind(file.path) is not None or not is_pickle(file.path):
        return None
    start = wrapped_start(file.head)
    if b"\xff\xd8\xff" in start or b"\x89PNG" in start:
        return "this is a bin, not a model; put it after --bins"
    return (
        "it looks like a pickle, as bins are: put a bin after --bins; a pickled network is a "
        "program, and is not read: save it as ONNX"
    )


def _torch(file: _File) -> str | None:
    names = _zip_names(file) or []
    program = any(re.fullmatch(r"[^/]+/(constants\.pkl|code/.*)", name) for name in names)
    if program or any(name.endswith("/models/model.json") for name in names):
        of = "TorchScript" if program else "torch.export (.pt2)"
        return f"a program of {of}, which is code and not run; export the network to ONNX"
    kind = weights_kind(file.path)
    if kind is None:
        return None
    what = "safetensors" if kind == "safetensors" else "PyTorch's files"
    out = f"{file.path.stem}.keras"
    return (
        f"{what} hold weights and no network. `zoo export {file.path} --out {out}` makes a "
        f"model of arcface_torch's, AdaFace's and CVLface's; {_PYTORCH}"
    )


def _zip_names(file: _File) -> list[str] | None:
    """The names in a zip; None for another file, or a damaged one."""
    if not file.head.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(file.path) as archive:
            return archive.namelist()
    except BAD_ZIP:
        return None


def _archive(file: _File) -> str | None:
    names = _zip_names(file)
    if names is not None:
        if names and all(name.endswith(".npy") for name in names):
            return (
                "arrays of NumPy (.npz); `zoo eval --embeddings` takes embeddings of a bin or set"
            )
        shown = cause_of(", ".join(name for name in names if not name.endswith("/")))[:200]
        return (
            "a zip archive without config.json, so no .keras file; unzip it and give the model in "
            f"it. It holds {shown or 'nothing'}"
        )
    if file.head.startswith(b"PK\x03\x04"):
        return "a zip archive that is damaged or cut short; get it again"
    found = next((name for name, start in _ARCHIVES.items() if file.head.startswith(start)), None)
    if file.head[257:262] == b"ustar":  # POSIX.1-1988, the header's field `magic`
        with suppress(tarfile.TarError, OSError, EOFError), tarfile.open(file.path, "r:") as tar:
            return (
                f"a tar archive; unpack it. Its first member is {cause_of(tar.next().name)[:100]}"  # type: ignore[union-attr]
            )
        return "a tar archive; unpack it, and give the model in it"
    if found is None:
        return None
    return f"an archive or a file packed by {found}; unpack it, and give the model in it"


_ARCHIVES = {
    "gzip": b"\x1f\x8b",
    "xz": b"\xfd7zXZ\0",
    "bzip2": b"BZh",
    "Zstandard": b"\x28\xb5\x2f\xfd",
    "7-Zip": b"7z\xbc\xaf\x27\x1c",
    "RAR": b"Rar!\x1a\x07",
}


def _image(file: _File) -> str | None:
    kind = image_format(file.head[:64])
    if kind is None or (kind == "BMP" and file.head[6:10] != bytes(4)):
        return None
    return f"an image ({kind}), not a model; `zoo bins make` makes a bin of images"


def _beside(file: _File) -> str | None:
    """Raw numbers, told by the file that describes them."""
    xml, param = file.beside(".xml"), file.beside(".param")
    if file.path.suffix == ".bin" and xml is not None and is_openvino_ir(xml.read_bytes()[:512]):
        return f"the weights of an OpenVINO model; give its description, {cause_of(str(xml))}"
    if file.path.suffix == ".bin" and param is not None:
        return f"the weights of an ncnn network, {cause_of(param.name)}; {_NCNN}"
    onnx = re.fullmatch(r"(.+\.onnx)[._]data", file.path.name)
    if onnx is not None and file.path.with_name(onnx[1]).is_file():
        return f"weights of {cause_of(onnx[1])}; give that file, which finds them by itself"
    return next(
        (
            line
            for name, begins, line in _NAMED
            if re.fullmatch(name, file.path.name, re.DOTALL) and re.match(begins, file.head)
        ),
        None,
    )


# The name of a file, how it begins, and what it is then.
_NAMED = (
    (r".*\.data-\d{5}-of-\d{5}", b"", f"the numbers of a TensorFlow checkpoint; {_CHECKPOINT}"),
    (r"group\d+-shard\d+of\d+(\.bin)?", b"", f"weights of a TensorFlow.js model; {_TFJS}"),
    # Flatbuffers without an identifier (alibaba/MNN, schema/default/MNN.fbs): the offset of the
    # root, behind the table of a `Net`, is one of these (lutzroeder/netron, source/mnn.js).
    (
        r".*[^.]\.mnn",
        rb"[\x18\x1c\x20]\0{3}",
        f"a network of MNN; give what it was converted from, or {_TO_ONNX}",
    ),
)


# The keys of a JSON object, and what it is that has them.
_JSON = (
    ({"modelTopology", "weightsManifest"}, f"a model of TensorFlow.js; {_TFJS}"),
    (
        {"nodes", "arg_nodes", "heads"},
        f"a network of MXNet (its symbol) without weights; {_MXNET}",
    ),
    (
        {"class_name", "config"},
        "a Keras network without weights; save the whole model: model.save('x.keras')",
    ),
    ({"base_code", "program"}, f"a network of PaddlePaddle; {_PADDLE}"),
)


def _json(file: _File) -> str | None:
    other = "JSON, and no description of a network that is known" if file.keys else None
    return next((line for keys, line in _JSON if keys <= file.keys), other)


# A varint of protocol buffers, and a length that it says.
_N = PB_LENGTH


def _caffe(file: _File) -> str | None:
    # BVLC/caffe, src/caffe/proto/caffe.proto, NetParameter: name = 1, layers = 2, input = 3,
    # input_dim = 4, force_backward = 5, state = 6, input_shape = 8, layer = 100.
    named = re.match(rb"\x0a([\x01-\x7f])([\x20-\x7e]+)", file.head)
    if named is None:
        layer = re.match(rb"\xa2\x06" + _N + rb"\x0a[\x01-\x7f][\x20-\x7e]", file.head)
        return None if layer is None else _caffe_line
    behind = file.head[2 + named[1][0] :]
    whole = len(named[2]) >= named[1][0]
    sign = re.match(rb"[\x12\x1a\x20\x28\x32\x42]|\xa2\x06", behind)
    return _caffe_line if whole and sign else None


_caffe_line = f"a network of Caffe with its weights (.caffemodel); {_CAFFE}"

# The first bytes of a file, what it is then, and what to do.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    # git-lfs, docs/spec.md.
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "a pointer of Git LFS in place of the file; fetch the file itself: git lfs pull",
    ),
    (
        rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.{0,500}?-->\s*)*"
        rb"<(!doctype html|html|head)\b",
        "a web page (HTML), not a model: the download failed, or needs a log-in; get it again",
    ),
    # apache/mxnet, src/ndarray/ndarray.cc: kMXAPINDArrayListMagic = 0x112, then 0, of 8 bytes each.
    (rb"\x12\x01\0{14}", f"weights of MXNet (.params) without a network; {_MXNET}"),
    # Tencent/ncnn, src/net.cpp: 7767517, as text or as four bytes.
    (rb"7767517\s", f"a network of ncnn (.param); {_NCNN}"),
    (rb"\xdd\x85\x76\0", f"a network of ncnn (.param.bin); {_NCNN}"),
    # lutzroeder/netron, source/tensorrt.js.
    (
        rb"[pf]trt",
        "an engine of TensorRT, which runs on the GPU that it was built for; give the .onnx it was "
        "built from",
    ),
    # davisking/dlib, dlib/dnn/core.h and loss.h: the version 1 and a text, each number as a byte
    # with its size and so many bytes; image_processing/shape_predictor.h: 1, then a matrix, -nr, 1.
    (
        rb"\x01\x01\x01.loss_",
        "a network of dlib (.dat), which dlib alone reads; evaluate it from Python as a function: "
        "dlib.face_recognition_model_v1",
    ),
    (rb"\x01\x01[\x81\x82]..?\x81\x01", "landmarks of dlib (a shape predictor), no embedding"),
    # PaddlePaddle/Paddle, paddle/fluid/framework/framework.proto: blocks = 1 with idx = 1, of 0,
    # and parent_idx = 2, of -1; lod_tensor.cc: versions and levels, all 0, then a TensorDesc.
    (rb"\x0a" + _N + rb"\x08\0\x10\xff{9}\x01", f"a network of PaddlePaddle (.pdmodel); {_PADDLE}"),
    (rb"\0{16}.{2}\0\0\x08[\0-\x20]\x10", f"weights of PaddlePaddle (.pdiparams); {_PADDLE}"),
    # apple/coremltools, mlmodel/format/Model.proto: specificationVersion = 1, description = 2 with
    # input = 1, whose name = 1.
    (
        rb"\x08[\x01-\x20]\x12" + _N + rb"\x0a" + _N + rb"\x0a[\x01-\x7f][\x20-\x7e]",
        f"a network of Core ML (.mlmodel), which runs on Apple's systems alone; {_coreml}",
    ),
    # TensorFlow, saved_model.proto: schema version 1, then a MetaGraphDef with its meta_info_def.
    (
        rb"\x08\x01\x12" + _N + rb"\x0a" + _N + rb"[\x0a\x12\x1a\x22\x2a]",
        "the graph of a SavedModel; give its folder, with the weights in it",
    ),
    # meta_graph.proto: a meta_info_def with the operations used, each with its name.
    (
        rb"\x0a" + _N + rb"(\x0a.?)?\x12" + _N + rb"\x0a" + _N + rb"\x0a[\x01-\x7f][A-Z]",
        f"the graph of a TensorFlow checkpoint (.meta); {_CHECKPOINT}",
    ),
    # torch7, File.lua, binary: an object (4), its number, the length and text of "V 1".
    (
        rb"\x04\0\0\0.{4}\x03\0\0\0V 1",
        f"a network of Lua Torch (.t7), as OpenFace's; {_TO_ONNX}, or evaluate it from Python",
    ),
    (rb"GGUF", "a network of llama.cpp (GGUF), which gives no face embeddings"),
    (rb"\x93NUMPY", "an array of NumPy (.npy), not a model"),
)  # fmt: skip
_PATTERNS = [(re.compile(pattern, re.DOTALL), line) for pattern, line in _MAGIC]


def _magic(file: _File) -> str | None:
    return next((line for pattern, line in _PATTERNS if pattern.match(file.head)), None)


def _table(file: _File) -> str | None:
    # TensorFlow, core/lib/io/format.h: kTableMagicNumber, at the end.
    if file.tail == 0xDB4775248B80FB57.to_bytes(8, "little"):
        return f"the index of a TensorFlow checkpoint; {_CHECKPOINT}"
    return None


_TEXTS = (
    (r"(?m)^\s*layers?\s*\{", f"a description of a network for Caffe (.prototxt); {_CAFFE}"),
    (r"(all_)?model_checkpoint_path[s]?:", f"the list of a TensorFlow checkpoint; {_CHECKPOINT}"),
    (r"\s*node\s*\{", "a TensorFlow graph as text (.pbtxt); save it as a binary .pb"),
    (r"\s*<", "XML, and no OpenVINO model (which begins with <net)"),
)


def _text(file: _File) -> str | None:
    text = file.text or ""
    return next((line for pattern, line in _TEXTS if re.search(pattern, text)), None)


_TOLD: tuple[Callable[[_File], str | None], ...] = (
    _magic, _torch, _bin, _archive, _image, _beside, _table, _json, _text, _caffe,
)  # fmt: skip
