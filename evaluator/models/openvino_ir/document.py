"""A model's .xml, read by expat and written anew: what OpenVINO gets is what was checked, and
nothing that only its own parser would see.
"""

from __future__ import annotations

import html
import math
import os
import re
from pathlib import Path
from xml.parsers import expat

from evaluator.errors import ModelError, cause_of
from evaluator.files import open_regular
from evaluator.limits import check_memory, check_tensor
from evaluator.models.foreign import listed
from evaluator.models.openvino_ir.ops import ALLOWED

# A network of 1,000 layers has 0.5 MB and 10,000 elements.
_MOST_BYTES, _MOST_ELEMENTS = 2**28, 5_000_000
# OpenVINO reads these; version 7 and before were another language.
_VERSIONS = ("10", "11")
# Element -> those that may stand in it; without the bodies that loops and branches have.
_INSIDE = {
    "": {"net"},
    "net": {"layers", "edges", "rt_info", "meta_data", "quantization_parameters", "statistics"},
    "layers": {"layer"},
    "layer": {"data", "input", "output", "rt_info"},
    "input": {"port"},
    "output": {"port"},
    "port": {"dim", "rt_info"},
    "rt_info": {"attribute"},
    "edges": {"edge"},
}
# Of how the file was made: left out, whatever is in it.
_LEFT_OUT = ("rt_info", "meta_data", "quantization_parameters", "statistics")

# Bits of a number, by OpenVINO's names of types.
_BITS = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8, "f4e2m1": 4,
    "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4, "boolean": 8, "nf4": 4,
    "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u4": 4, "u1": 1,
}  # fmt: skip
_WHOLE = re.compile(r"[0-9]{1,18}")


def checked_xml(path: Path, weights: int) -> bytes:
    """The .xml as OpenVINO may read it, beside a .bin of so many bytes.

    Raises ModelError for operations that are not known to compute and nothing else, weights outside
    the .bin, what no OpenVINO writes, and OSError.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_BYTES:
            raise ModelError(
                f"{path}: {size:,} bytes; an OpenVINO .xml has {_MOST_BYTES:,} at most"
            )
        check_memory(path, "its layers", 8 * size)
        data = file.read(size)
    copy = _Copy(path, weights)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = copy.doctype
    parser.StartElementHandler = copy.start
    parser.EndElementHandler = copy.end
    parser.CharacterDataHandler = copy.text
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ModelError(
            f"{path}: a damaged OpenVINO .xml: {cause_of(error)}; get the file again"
        ) from None
    return copy.written()


class _Copy:
    """What the parser calls: checks each element, and writes it. Raises ModelError."""

    def __init__(self, path: Path, weights: int) -> None:
        self._path, self._weights = path, weights
        self._parts = ['<?xml version="1.0"?>']
        self._open: list[str] = []
        self._elements = 0
        self._left_out = 0  # how deep in what is not written
        self._kind = ""
        self._unknown: dict[str, None] = {}

    def doctype(self, *_: object) -> None:
        """Refuses a document type, which could define entities or name files."""
        raise self._refused("it has a DOCTYPE, which OpenVINO does not write")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Takes an element."""
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise self._refused(f"more than {_MOST_ELEMENTS:,} elements; no network has them")
        parent = self._open[-1] if self._open else ""
        if self._left_out or (parent == "net" and name in _LEFT_OUT):
            self._left_out += 1
            return
        if name not in _INSIDE.get(parent, ()):
            raise self._refused(f"<{cause_of(name)[:60]}> stands in <{parent}>")
        if name == "net":
            self._check_version(attributes.get("version", ""))
        elif name == "layer":
            self._kind = self._checked_kind(attributes)
        elif name == "data" and self._kind == "Const":
            self._check_constant(attributes)
        self._open.append(name)
        self._parts.append(f"<{name}")
        self._parts += [f' {key}="{_escaped(value)}"' for key, value in attributes.items()]
        self._parts.append(">")

    def end(self, name: str) -> None:
        """Takes an element's end."""
        if self._left_out:
            self._left_out -= 1
            return
        self._open.pop()
        self._parts.append(f"</{name}>")

    def text(self, text: str) -> None:
        """Takes the text between elements, of which only sizes have some."""
        if not self._left_out and text.strip():
            self._parts.append(_escaped(text.strip()))

    def written(self) -> bytes:
        """The whole document."""
        if self._unknown:
            raise self._refused(
                f"it uses {listed(list(self._unknown))}, which is not among the operations known "
                "to compute and do nothing else"
            )
        return "".join(self._parts).encode()

    def _check_version(self, version: str) -> None:
        if version not in _VERSIONS:
            raise ModelError(
                f"{self._path}: an OpenVINO model of version {cause_of(version)[:20]!r}; OpenVINO "
                "reads 10 and 11 (2020.1 and later): convert the network again, or to ONNX"
            )

    def _checked_kind(self, attributes: dict[str, str]) -> str:
        kind, version = attributes.get("type", ""), attributes.get("version", "")
        if kind not in ALLOWED or not re.fullmatch(r"opset[0-9]{1,3}", version):
            of = "" if version.startswith("opset") else f" of {version or 'no opset'!r}"
            self._unknown[cause_of(f"{kind}{of}")[:80]] = None
        return kind

    def _check_constant(self, attributes: dict[str, str]) -> None:
        """Holds a constant's place to the .bin, and its size to its shape."""
        kind, shape = attributes.get("element_type", ""), attributes.get("shape", "")
        sizes = [each.strip() for each in shape.split(",") if each.strip()]
        place = [attributes.get("offset", ""), attributes.get("size", "")]
        if kind not in _BITS or not all(map(_WHOLE.fullmatch, (*sizes, *place))):
            raise self._refused(
                f"a constant of type {cause_of(kind)[:20]!r} and shape {cause_of(shape)[:60]!r}"
            )
        offset, size = map(int, place)
        numbers = math.prod(map(int, sizes))
        check_tensor(self._path, "a constant", [numbers, _BITS[kind]], itemsize=1)
        needed = -(-numbers * _BITS[kind] // 8)
        if size != needed:
            raise self._refused(f"a constant of {needed:,} bytes has {size:,} of them")
        if offset + size > self._weights:
            raise ModelError(
                f"{self._path}: its weights reach to byte {offset + size:,}, and the .bin has "
                f" {self._weights:,}: it is cut short, or another model's"
            )

    def _refused(self, what: str) -> ModelError:
        return ModelError(f"{self._path}: not loaded: {what}")


def _escaped(text: str) -> str:
    """Text as it may stand in an attribute; line breaks, which would be spaces there, by number."""
    shown = html.escape(text)
    return "".join(sign if sign >= " " else f"&#{ord(sign)};" for sign in shown)
