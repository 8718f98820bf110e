"""OpenVINO models by their elements: small networks, and what an attacker makes of them."""

from __future__ import annotations

import copy
import random
import xml.etree.ElementTree as ElementTree  # nosec B405
from collections.abc import Callable
from pathlib import Path

from evaluator.models.openvino import import_openvino
from evaluator.models.openvino_ir.ops import ALLOWED, REFUSED
from fuzz.differential import Places
from fuzz.model_files import XML_TOKENS, descriptions, weights
from fuzz.mutation import mutated
from fuzz.passing import FileFormat

# It parses what this project wrote, and nothing else.
_Element = ElementTree.Element
_OPERATIONS = [*sorted(ALLOWED | REFUSED), "Custom", "FrameworkNode", "", "x" * 200]
_OF_ONE = "Abs Acos Elu Erf Exp Floor Gelu HSwish Negative ReLU Sigmoid Sin Sqrt Tanh".split()
_NUMBERS = ("0", "1", "2", "-1", "8", "16", "192", "4096", "6144", "999999", str(2**31), str(2**63))


class OpenVinoFormat(FileFormat):
    """OpenVINO models."""

    name = "openvino"
    file = "model.xml"
    builds = ("openvino", "Core")

    def __init__(self, folder: Path, places: Places) -> None:
        import_openvino()
        super().__init__(folder, places)
        (folder / "model.bin").write_bytes(weights())
        self._seeds = descriptions()
        self._texts = (
            *(places.canary, "../CANARY", "MARKER", "a.so", "", "\n", "x" * 300, "opset1"),
            *("opset6", "opset16", "extension", "embedding", "f32", "f16", "i64", "string", "true"),
            *("1,8,8,3", "?", "?,?,?,3", "...", "1000000,1000000", *_NUMBERS, *_OPERATIONS[::6]),
        )

    def draw(self, draw: random.Random) -> bytes:
        """A network with none to four changes of its elements, in a fifth of cases of its bytes."""
        root = ElementTree.fromstring(draw.choice(self._seeds))  # nosec B314
        for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 4))):
            draw.choice(_CHANGES)(self, draw, root)
        data = ElementTree.tostring(root)
        if draw.random() < 0.2:
            data = mutated(draw, [data], XML_TOKENS)
        return data

    # Changes

    def change_attribute(self, draw: random.Random, root: _Element) -> None:
        """Another value of an attribute, or one more."""
        element = draw.choice(list(root.iter()))
        name = draw.choice([*element.attrib, "type", "version", "shape", "offset", "name", "id"])
        element.set(name, draw.choice(self._texts))

    def change_operation(self, draw: random.Random, root: _Element) -> None:
        """Another operation in a layer's place."""
        layer = draw.choice(list(root.iter("layer")))
        layer.set("type", draw.choice(_OPERATIONS))
        layer.set("version", f"opset{draw.choice((1, 1, 3, 4, 5, 8, 13, 15, 16, 99))}")

    def change_harmless(self, draw: random.Random, root: _Element) -> None:
        """An operation of one tensor behind the last one, a name, a comment."""
        layers, edges = root.find("layers"), root.find("edges")
        if layers is None or edges is None:
            return
        old = next((each for each in layers if each.get("name") == "embedding"), None)
        if old is None:
            return
        new = copy.deepcopy(old)
        new.set("id", str(draw.randrange(100, 10_000)))
        new.set("type", draw.choice(_OF_ONE))
        new.set("name", "drawn")
        for each in new.findall("data"):
            new.remove(each)
        for each in list(new.iter("input"))[:1]:
            each[:] = each[:1]
        for port in new.iter("port"):
            port.attrib.pop("names", None)
        layers.append(new)
        for edge in edges:
            if edge.get("to-layer") == "5":
                between = {"from-layer": str(edge.get("from-layer")), "from-port": "2"}
                to = {"to-layer": str(new.get("id")), "to-port": "0"}
                ElementTree.SubElement(edges, "edge", {**between, **to})
                edge.set("from-layer", str(new.get("id")))
                break

    def change_text(self, draw: random.Random, root: _Element) -> None:
        """Another size, or text where there is none."""
        element = draw.choice([*root.iter("dim"), draw.choice(list(root.iter()))])
        element.text = draw.choice(self._texts)

    def change_elements(self, draw: random.Random, root: _Element) -> None:
        """An element twice, elsewhere, gone, or under another name."""
        parents = [each for each in root.iter() if len(each)]
        if not parents:
            return
        parent = draw.choice(parents)
        child = draw.choice(list(parent))
        how = draw.randrange(4)
        if how == 0:
            parent.append(copy.deepcopy(child))
        elif how == 1:
            draw.choice(list(root.iter())).append(copy.deepcopy(child))
        elif how == 2:
            parent.remove(child)
        else:
            child.tag = draw.choice(("body", "port_map", "blobs", "data", "layer", "plugin", "net"))


_CHANGES: tuple[Callable[[OpenVinoFormat, random.Random, _Element], None], ...] = (
    OpenVinoFormat.change_attribute,
    OpenVinoFormat.change_attribute,
    OpenVinoFormat.change_operation,
    OpenVinoFormat.change_harmless,
    OpenVinoFormat.change_harmless,
    OpenVinoFormat.change_text,
    OpenVinoFormat.change_elements,
)
