"""OpenVINO's descriptions, and files that are no model: what mutation starts from, and how it is
read.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

from evaluator.errors import ModelError
from evaluator.models.formats import model_format, refusal
from evaluator.models.openvino_ir.document import checked_xml

# Bytes of the .bin that the descriptions are of.
WEIGHTS = 6176
_PARAMETER = """<layer id="0" name="image" type="Parameter" version="opset1">
<data shape="?,8,8,3" element_type="f32" /><output><port id="0" precision="FP32" names="image">
<dim>-1</dim><dim>8</dim><dim>8</dim><dim>3</dim></port></output></layer>"""
_CONSTANT = """<layer id="{id}" name="{name}" type="Const" version="opset1">
<data element_type="{kind}" shape="{shape}" offset="{offset}" size="{size}" />
<rt_info><attribute name="decompression" version="0" /></rt_info>
<output><port id="0" precision="{port}">{dims}</port></output></layer>"""
_OPERATION = """<layer id="{id}" name="{name}" type="{type}" version="opset1">{data}
<input>{inputs}</input><output><port id="2" precision="FP32" names="{name}" /></output></layer>"""
_RESULT = """<layer id="{id}" name="out/sink_port_0" type="Result" version="opset1">
<input><port id="0" precision="FP32" /></input></layer>"""
_EDGE = '<edge from-layer="{}" from-port="{}" to-layer="{}" to-port="{}" />'

XML_TOKENS = (
    *(b"<!DOCTYPE net [<!ENTITY a 'b'>]>", b"&a;", b"&#0;", b"&#10;", b"<![CDATA[", b"]]>", b"<?x"),
    *(b'version="opset13"', b'version="extension"', b'type="ReadValue"', b'type="Loop"', b"<body>"),
    *(b'shape="1000000,1000000"', b'offset="18446744073709551615"', b'element_type="u1"', b"<dim>"),
    *(b'shape=""', b'shape="-1"', b'size="0"', b"\xff\xfe", b"encoding='utf-16'", b"<rt_info>"),
)
OTHER_TOKENS = (
    *(b"ftrt", b"TFL3", b"7767517\n", b"<html", b"PK\x03\x04", b"ustar", b"\x89HDF\r\n\x1a\n"),
    *(b"version https://git-lfs.github.com/spec/v1", b"layer {", b"loss_metric_2", b"GGUF", b"{"),
    *(
        b'"modelTopology"',
        b"model_checkpoint_path:",
        b"\x1b[2J",
        b"<net ",
        b"\x08\x08\x12\x07pytorch",
    ),
)


def descriptions() -> list[bytes]:
    """A projection, with a bias, as OpenVINO writes it: once in float32, once with halves."""
    found = []
    for kind, port, size in (("f32", "FP32", 6144), ("f16", "FP16", 3072)):
        dims = "<dim>192</dim><dim>8</dim>"
        facts = {"kind": kind, "port": port, "shape": "192, 8", "offset": 0, "size": size}
        shape = {"kind": "i64", "port": "I64", "shape": "2", "offset": 6144, "size": 16}
        ports = '<port id="0" precision="FP32" /><port id="1" precision="FP32" />'
        layers = [
            _PARAMETER,
            _CONSTANT.format(id=1, name="shape", dims="<dim>2</dim>", **shape),
            _OPERATION.format(
                id=2, name="flat", type="Reshape", data='<data special_zero="true" />', inputs=ports
            ),
            _CONSTANT.format(id=3, name="w", dims=dims, **facts),
        ]
        source = 3
        if kind == "f16":
            layers.append(
                _OPERATION.format(
                    id=6,
                    name="wide",
                    type="Convert",
                    data='<data destination_type="f32" />',
                    inputs='<port id="0" precision="FP16" />',
                )
            )
            source = 6
        multiply = '<data transpose_a="false" transpose_b="false" />'
        layers += [
            _OPERATION.format(id=4, name="embedding", type="MatMul", data=multiply, inputs=ports),
            _RESULT.format(id=5),
        ]
        edges = [(0, 0, 2, 0), (1, 0, 2, 1), (2, 2, 4, 0), (4, 2, 5, 0)]
        edges += [(3, 0, 4, 1)] if source == 3 else [(3, 0, 6, 0), (6, 2, 4, 1)]
        text = (
            '<?xml version="1.0"?>\n<net name="m" version="11">\n'
            f"<layers>{''.join(layers)}</layers>"
            f"<edges>{''.join(_EDGE.format(*edge) for edge in edges)}</edges>"
            '<rt_info><info name="a" value="b" /></rt_info></net>'
        )
        found.append(text.encode())
    return found


def weights() -> bytes:
    """The .bin of the descriptions: weights, then the shape that images are made flat to."""
    return struct.pack("<1536f", *[0.001 * i for i in range(1536)]) + struct.pack(
        "<qqqq", 0, -1, 0, 0
    )


def read_description(path: Path) -> None:
    """Checks a description, and what was written of it once more."""
    written = checked_xml(path, WEIGHTS)
    again = path.with_name("again.xml")
    again.write_bytes(written)
    if checked_xml(again, WEIGHTS) != written:
        raise AssertionError("what was written is read as something else")


def others() -> list[bytes]:
    """Files of other kinds, by what they are told by."""
    buffer, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("models/a.onnx", b"x")
    with tarfile.open(fileobj=tar, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("a.h5"))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n",
        b"<!DOCTYPE html><html></html>",
        b"7767517\n2 2\nInput data 0 1 data\n",
        b"ftrt" + bytes(30),
        b"\x01\x01\x01\x0dloss_metric_2" + bytes(20),
        b"\x0a\x06ResNet\xa2\x06\x0f\x0a\x05data0\x12\x05Input",
        struct.pack("<QQQ", 0x112, 0, 1),
        bytes(40) + struct.pack("<Q", 0xDB4775248B80FB57),
        b'{"modelTopology": {}, "weightsManifest": []}',
        b'{"nodes": [], "arg_nodes": [], "heads": []}',
        b'name: "x"\nlayer {\n type: "Convolution"\n}\n',
        pickle.dumps(([b"\xff\xd8\xff\xe0"], [True])),
        b"\x89PNG\r\n\x1a\n" + bytes(30),
        struct.pack("<Q", len(header)) + header + bytes(4),
        buffer.getvalue(),
        tar.getvalue()[:1024],
    ]


def read_other(path: Path) -> None:
    """Tells what a file is. Raises ModelError for one of which nothing is known but its bytes."""
    if model_format(path) is not None:
        return
    said = f"{path}: {refusal(path)}"
    if not said.isprintable() or len(said) > 1000 or not path.exists():
        raise AssertionError(f"no line: {said!r}")
    if "not a model: it" in said:
        raise ModelError(said)
