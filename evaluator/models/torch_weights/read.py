"""The arrays in a file of weights by name, and what kind of file that is, told by its content."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pickle_values import PickleError
from evaluator.errors import ModelError, cause_of
from evaluator.files import open_regular
from evaluator.limits import check_memory
from evaluator.models.torch_weights.pickled import Storage, Tensor, load_torch
from evaluator.npz import BAD_ZIP

Arrays = dict[str, NDArray[np.generic]]
# From a storage's key and the bytes that it should have to its bytes.
_Bytes = Callable[[str, int], bytes]

#: Bytes of the largest pickle, or list of tensors: names and shapes of 1,000 take 150,000.
_LIST_BYTES = 8_000_000
# How many values are looked at for tensors, and how deep dicts may lie in dicts.
_VALUES, _DEPTH = 100_000, 6
# What torch.save wrote first before version 1.6: a number of ten bytes, as LONG1.
_LEGACY = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_ZIP = b"PK\x03\x04"
_SAFE_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}


class DamagedError(ModelError):
    """A file of weights that no program wrote; the message is the cause alone."""


def weights_kind(path: Path) -> str | None:
    """``zip`` or ``legacy``, as torch.save writes, ``safetensors``, or None. Raises OSError."""
    if path.is_dir():
        return None
    with os.fdopen(open_regular(path), "rb") as file:
        head = file.read(64)
        size = os.fstat(file.fileno()).st_size
    if head.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                return "zip" if _pickle_in(archive) else None
        except BAD_ZIP:
            return None
    if head[:1] == b"\x80" and head[2:].startswith(_LEGACY):
        return "legacy"
    listed = int.from_bytes(head[:8], "little")
    return "safetensors" if head[8:9] == b"{" and 2 <= listed <= size - 8 else None


def read_weights(path: Path) -> Arrays:
    """Name -> array of each tensor in a file of weights, bfloat16 as float32.

    What lies in dicts inside the file has their keys before its name, with dots between. Nothing
    that the file says is run, and all arrays together are no larger than the file.

    Raises ModelError for what is no such file, is damaged or asks for code; OSError.
    """
    kind = weights_kind(path)
    if kind is None:
        raise ModelError(f"{path}: no weights: expected .pth, .pt, .ckpt or .safetensors")
    # The file, its arrays, and one of them more.
    check_memory(path, "its weights", 3 * path.stat().st_size)
    try:
        return {"zip": _zipped, "legacy": _legacy, "safetensors": _safe}[kind](path)
    except DamagedError as error:
        raise ModelError(f"{path}: is damaged: {error}; get the file again") from None
    except PickleError as error:
        raise ModelError(f"{path}: {error}") from None


# ---- torch.save ----------------------------------------------------------------------------------


def _pickle_in(archive: zipfile.ZipFile) -> str | None:
    """The member that torch.save pickles into: NAME/data.pkl, alone of its kind."""
    found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    return found[0] if len(found) == 1 and found[0].count("/") == 1 else None


def _zipped(path: Path) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        member = _pickle_in(archive) or ""
        root = member.removesuffix("data.pkl")
        if f"{root}constants.pkl" in archive.namelist():
            raise ModelError(
                f"{path}: a TorchScript program, which is code; export reads weights alone "
                "(torch.save(model.state_dict(), PATH))"
            )
        order = f"{root}byteorder"
        if order in archive.namelist() and _member(archive, order, 16) != b"little":
            raise ModelError(f"{path}: written on a big-endian machine, which is not read")
        value, _, _ = load_torch(_member(archive, member, _LIST_BYTES))
        size = path.stat().st_size

        def storage(key: str, needed: int) -> bytes:
            data = _member(archive, f"{root}data/{key}", min(needed, size))
            if len(data) != needed:
                raise DamagedError(f"numbers {cause_of(key)[:40]!r} are not as many as declared")
            return data

        return _arrays(value, storage, size)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The bytes of a member, which torch.save never compresses. Raises DamagedError."""
    try:
        info = archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
            raise DamagedError(f"{cause_of(name)[:60]!r} in it is compressed, or too large")
        return archive.read(info)
    except KeyError:
        raise DamagedError(f"there is no {cause_of(name)[:60]!r} in it") from None
    except BAD_ZIP as error:
        raise DamagedError(cause_of(error)) from None


def _legacy(path: Path) -> Arrays:
    """Five pickles (a number, a version, the machine, the value, the keys of storages), then for
    each key how many numbers it has, in 8 bytes, and these.
    """
    data = path.read_bytes()
    head, position = data[:_LIST_BYTES], 0
    pickles: list[object] = []
    widths: dict[str, int] = {}
    for _ in range(5):
        value, position, storages = load_torch(head, position)
        pickles.append(value)
        widths |= {each.key: _width(each) for each in storages}
    value, keys = pickles[3:]
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise DamagedError("it has no list of its storages")
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        count = int.from_bytes(data[position : position + 8], "little")
        if key not in widths:
            raise DamagedError("numbers lie in it that belong to nothing")
        places[key] = position + 8, count * widths[key]
        position += 8 + count * widths[key]
        if position > len(data):
            raise DamagedError("it is cut short")

    def storage(key: str, needed: int) -> bytes:
        start, length = places.get(key, (0, -1))
        if length != needed:
            raise DamagedError(f"numbers {cause_of(key)[:40]!r} are not as many as declared")
        return data[start : start + length]

    return _arrays(value, storage, len(data))


def _tensors(value: object) -> dict[str, Tensor]:
    """The tensors of a dict and of those in it, by the keys that lead to them."""
    found: dict[str, Tensor] = {}
    seen = 0
    waiting: list[tuple[str, object, int]] = [("", value, 0)]
    while waiting:
        name, each, depth = waiting.pop()
        seen += 1
        if seen > _VALUES:
            raise DamagedError(f"it holds more than {_VALUES:,} values")
        if isinstance(each, Tensor):
            found[name.removeprefix(".")] = each
        elif isinstance(each, dict) and depth < _DEPTH and len(each) <= _VALUES:
            # Last in, first out: in the file's order.
            items = reversed(each.items())
            waiting += [(f"{name}.{key}", inner, depth + 1) for key, inner in items]
    return found


def _arrays(value: object, storage: _Bytes, size: int) -> Arrays:
    tensors = _tensors(value)
    needed = {each.storage: each.storage.count * _width(each.storage) for each in tensors.values()}
    if sum(needed.values()) > size:
        raise DamagedError("it declares more numbers than it has")
    read: dict[Storage, NDArray[np.generic]] = {}
    arrays: Arrays = {}
    taken = 0
    for name, tensor in tensors.items():
        if tensor.storage not in read:
            data = storage(tensor.storage.key, needed[tensor.storage])
            read[tensor.storage] = _numbers(data, tensor.storage.dtype)
        arrays[name] = _view(read[tensor.storage], tensor)
        # Views of one storage may share its numbers; copies of them must not fill the memory.
        taken += arrays[name].nbytes
        if taken > 2 * size + _LIST_BYTES:
            raise DamagedError("its tensors are more than its numbers")
    return arrays


def _width(storage: Storage) -> int:
    return 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize


def _numbers(data: bytes, dtype: str) -> NDArray[np.generic]:
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, dtype)


def _view(numbers: NDArray[np.generic], tensor: Tensor) -> NDArray[np.generic]:
    """The tensor's own numbers, in C's order. Raises DamagedError unless all lie in ``numbers``."""
    shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
    small = all(0 <= each < 2**31 for each in (*shape, *strides)) and 0 <= offset < 2**40
    if len(shape) != len(strides) or len(shape) > 8 or not small:
        raise DamagedError(f"a tensor has the shape {str(shape)[:60]} and {str(strides)[:60]}")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    # Strides of 0, which repeat numbers, are for tensors that are not saved weights.
    if count > len(numbers) or (count and last >= len(numbers)):
        raise DamagedError(f"a tensor of the shape {str(shape)[:60]} lies outside its numbers")
    if not count:
        return numbers[:0]
    bytes_apart = [step * numbers.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, bytes_apart, writeable=False)
    return np.ascontiguousarray(view).reshape(shape)  # a lone number has no axis


# ---- safetensors ---------------------------------------------------------------------------------


def _safe(path: Path) -> Arrays:
    """8 bytes with the length of a JSON object, that, then the numbers: each name has a ``dtype``,
    a ``shape`` and ``data_offsets``, begin and end behind the JSON.
    """
    data = path.read_bytes()
    listed = int.from_bytes(data[:8], "little")
    if listed > _LIST_BYTES:
        raise DamagedError(f"its list takes more than {_LIST_BYTES:,} bytes")
    try:
        header = json.loads(data[8 : 8 + listed])
    except (ValueError, RecursionError):
        raise DamagedError("its list of tensors is no JSON") from None
    if not isinstance(header, dict):
        raise DamagedError("its list of tensors is no JSON object")
    numbers = memoryview(data)[8 + listed :]
    header.pop("__metadata__", None)
    arrays: Arrays = {}
    taken = 0
    for name, stated in header.items():
        match stated:
            case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(a), int(b)]} if (
                kind in _SAFE_TYPES
                and all(type(size) is int and 0 <= size < 2**31 for size in shape)
                and len(shape) <= 8
                and 0 <= a <= b <= len(numbers)
            ):
                found = Storage("", _SAFE_TYPES[kind], math.prod(shape))
                taken += b - a
                if found.count * _width(found) == b - a and taken <= len(numbers):
                    read = _numbers(bytes(numbers[a:b]), found.dtype)
                    arrays[name] = read.reshape(shape) if len(read) else read
                    continue
        raise DamagedError(f"tensor {cause_of(name)[:60]!r} in it does not fit its numbers")
    return arrays
