"""Files of weights as torch.save and safetensors write them, built here by hand, byte by byte."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[np.generic]]

_STORAGES = {"f4": "Float", "f2": "Half", "f8": "Double", "i8": "Long"}
_SAFE = {"f4": "F32", "f2": "F16", "f8": "F64", "i8": "I64"}
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001


def text(value: str) -> bytes:
    """The instruction that pushes a text."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    """The instruction that pushes a whole number."""
    return b"J" + struct.pack("<i", value)


def numbers(values: tuple[int, ...]) -> bytes:
    """The instructions that push a tuple of whole numbers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    key: str,
    kind: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    count: int,
    offset: int = 0,
    legacy: bool = False,
) -> bytes:
    """The instructions that push a tensor on the storage ``key`` of ``count`` numbers."""
    storage = b"(" + text("storage") + f"ctorch\n{_STORAGES[kind]}Storage\n".encode()
    storage += text(key) + text("cpu") + number(count) + (b"N" if legacy else b"") + b"tQ"
    view = number(offset) + numbers(shape) + numbers(strides) + b"\x89"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + _EMPTY + b"tR"


_EMPTY = b"ccollections\nOrderedDict\n)R"


def state_dict(weights: Weights, *, legacy: bool = False) -> bytes:
    """The instructions that push an ordered dict of tensors, storages counted from 0."""
    items = [
        text(name)
        + tensor(
            str(place),
            value.dtype.str[1:],
            value.shape,
            tuple(step // value.itemsize for step in value.strides),
            count=value.size,
            legacy=legacy,
        )
        for place, (name, value) in enumerate(weights.items())
    ]
    metadata = b"}" + text("_metadata") + _EMPTY + b"s"
    return _EMPTY + b"(" + b"".join(items) + b"u" + metadata + b"b"


def pickled(instructions: bytes) -> bytes:
    """A pickle that ends with what these push."""
    return b"\x80\x02" + instructions + b"."


def zip_file(
    weights: Weights, *, pickle: bytes | None = None, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """What torch.save writes since version 1.6; ``pickle`` instead of the dict's own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(
            zipfile.ZipInfo("archive/data.pkl"), pickle or pickled(state_dict(weights))
        )
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), "little")
        for place, value in enumerate(weights.values()):
            info = zipfile.ZipInfo(f"archive/data/{place}")
            info.compress_type = compression
            archive.writestr(info, value.tobytes())
        archive.writestr(zipfile.ZipInfo("archive/version"), "3\n")
    return buffer.getvalue()


def legacy_file(weights: Weights) -> bytes:
    """What torch.save wrote before."""
    magic = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little")
    machine = b"}(" + text("protocol_version") + number(_VERSION) + b"u"
    keys = b"](" + b"".join(text(str(place)) for place in range(len(weights))) + b"e"
    parts = (magic, number(_VERSION), machine, state_dict(weights, legacy=True), keys)
    stored = [struct.pack("<Q", value.size) + value.tobytes() for value in weights.values()]
    return b"".join([*map(pickled, parts), *stored])


def safetensors_file(weights: Weights) -> bytes:
    """Eight bytes, a JSON object, and the numbers."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, value in weights.items():
        place = [end, end + value.nbytes]
        header[name] = {
            "dtype": _SAFE[value.dtype.str[1:]],
            "shape": list(value.shape),
            "data_offsets": place,
        }
        end += value.nbytes
    listed = json.dumps(header).encode()
    return struct.pack("<Q", len(listed)) + listed + b"".join(v.tobytes() for v in weights.values())


def few() -> dict[str, NDArray[np.generic]]:
    """Tensors of several types and shapes."""
    random = np.random.default_rng(0)
    return {
        "conv1.weight": random.normal(size=(2, 3, 3, 3)).astype("<f4"),
        "bn1.weight": random.normal(size=2).astype("<f2"),
        "bn1.bias": random.normal(size=2).astype("<f8"),
        "bn1.num_batches_tracked": np.array([7], "<i8"),
    }


def files() -> list[bytes]:
    """Small files of each layout."""
    return list(_files())


def _files() -> Iterator[bytes]:
    yield zip_file(few())
    yield legacy_file(few())
    yield safetensors_file(few())
    inner = b"}(" + text("state_dict") + state_dict(few()) + text("epoch") + number(3)
    inner += text("hyper_parameters") + b"cargparse\nNamespace\n)\x81}" + text("lr") + b"K\x01sbu"
    yield zip_file(few(), pickle=pickled(inner))


def pickles() -> list[bytes]:
    """The pickles alone of zip files, for `zip_around`."""
    flat = state_dict(few())
    return [pickled(flat), pickled(b"}" + text("state_dict") + flat + b"s")]


def zip_around(pickle: bytes) -> bytes:
    """A zip file with right checksums around a pickle, and the numbers of `few`."""
    return zip_file(few(), pickle=pickle or b".")


TOKENS = (
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nHalfStorage\n",
    b"ccollections\nOrderedDict\n)R",
    b"cos\nsystem\n",
    b"cargparse\nNamespace\n)\x81",
    b"X\x07\x00\x00\x00storage",
    b"J\xff\xff\xff\x7f",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"data_offsets",
    b"-1",
    b"[9999999999, 9999999999, 0]",
    *(bytes([code]) for code in b"(.01QPRbcstuet})]\x81\x85\x86\x87\x89\x8f\x90\x91\x94"),
)
