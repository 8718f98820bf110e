"""What a hostile HDF5 file could declare: data of other files, more than the file holds, and types
whose values lie elsewhere in the file, any number of times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from evaluator.errors import ModelError, cause_of

# Trained weights hardly compress. This many times the file's size, and this much besides, is
# more than a real model declares; a bomb declares thousands of times.
_EXPANSION = 20
_ALLOWANCE = 64 * 2**20

#: What h5py raises for a file that is damaged, by place and version.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError)

# A model's config is the largest attribute there is; it is held to less where it is read.
_MAX_ATTRIBUTE_BYTES = 64 * 2**20
# References to texts of any length: what an object's header holds, and Keras never exceeds.
_MAX_HEADER_BYTES = 2**16


def check_hdf5(path: Path, file: h5py.File, stored_bytes: int) -> None:
    """Raises ModelError for links to other files, and for declared data that cannot be there.

    ``stored_bytes`` is the size of the HDF5 file, which may be a member of an archive. Raises one
    of ``DAMAGE`` too.
    """
    declared = 0
    most = stored_bytes * _EXPANSION + _ALLOWANCE
    _check_attributes(path, file)
    for name, item in _objects(path, file):
        _check_attributes(path, item)
        if not isinstance(item, h5py.Dataset):
            continue
        if item.is_virtual or item.external:
            raise ModelError(
                f"{path}: not loaded: its dataset {cause_of(name)} takes its data from another "
                "file; a model holds its own weights"
            )
        if not _is_numeric(item.dtype):
            raise ModelError(
                f"{path}: not loaded: its dataset {cause_of(name)} holds {cause_of(item.dtype)}; "
                "weights are numbers"
            )
        declared += item.size * item.dtype.itemsize if item.size else 0
        # A chunk is read whole, however little of it is the dataset's.
        chunk = math.prod(item.chunks) * item.dtype.itemsize if item.chunks else 0
        if max(declared, chunk) > most:
            raise ModelError(
                f"{path}: not loaded: up to {cause_of(name)} it declares "
                f"{max(declared, chunk):,} bytes of weights, in a file of {stored_bytes:,}"
            )


def _check_attributes(path: Path, item: Any) -> None:
    """Raises ModelError for an attribute that is neither text nor numbers, or too large to be.

    Nothing of its value is read. Raises one of ``DAMAGE`` too.
    """
    for number in range(h5py.h5a.get_num_attrs(item.id)):
        attribute = h5py.h5a.open(item.id, index=number)
        where = f"{path}: not loaded: its attribute {cause_of(_text(attribute.name))}"
        kind, space = attribute.get_type(), attribute.get_space()
        words = isinstance(kind, h5py.h5t.TypeStringID)
        if not words and kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM):
            raise ModelError(f"{where} is neither text nor a number; the file is damaged")
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            continue
        count = space.get_simple_extent_npoints()
        if count * kind.get_size() > _MAX_ATTRIBUTE_BYTES:
            raise ModelError(f"{where} declares {count * kind.get_size():,} bytes")
        if words and kind.is_variable_str() and count * kind.get_size() > _MAX_HEADER_BYTES:
            raise ModelError(
                f"{where} declares {count:,} texts; an object of HDF5 has room for less"
            )


def text_attribute(path: Path, file: h5py.File, name: str) -> str | bytes | None:
    """A text of a file, of any length up to ``_MAX_ATTRIBUTE_BYTES``; None if it has none.

    Raises ModelError for an attribute that is no text, or one of ``DAMAGE``.
    """
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    kind, space = attribute.get_type(), attribute.get_space()
    found = space.get_simple_extent_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) or found == h5py.h5s.NULL:
        what = "empty" if found == h5py.h5s.NULL else f"of type {cause_of(attribute.dtype)}"
        raise ModelError(f"{path}: its attribute {name} is {what}; expected text; it is damaged")
    if space.get_simple_extent_npoints() != 1 or kind.get_size() > _MAX_ATTRIBUTE_BYTES:
        raise ModelError(f"{path}: its attribute {name} is not one text; the file is damaged")
    value: Any = file.attrs[name]
    if not isinstance(value, str | bytes):
        value = bytes(value) if found == h5py.h5s.SCALAR else value.flat[0]
    return value if isinstance(value, str | bytes) else bytes(value)


def numeric_elements(file: h5py.File) -> int:
    """How many numbers the datasets of a Keras file's weights hold; of an .h5 with a network, those
    below ``model_weights``, which leaves out the optimizer's.

    What a dataset declares and does not store is not counted: HDF5 would give its fill value.
    """
    group = file.get("model_weights", file)
    root = group if isinstance(group, h5py.Group) else file
    found = 0
    seen = set()
    stack = [root]
    while stack:
        for item in stack.pop().values():
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                stack.append(item)
            elif isinstance(item, h5py.Dataset):
                stored = item.id.get_storage_size() * _EXPANSION // item.dtype.itemsize
                found += min(item.size or 0, stored)
    return found


def _is_numeric(dtype: Any) -> bool:
    # bfloat16 and float8 are stored as opaque values of two bytes and one.
    opaque = dtype.kind == "V" and dtype.names is None and dtype.subdtype is None
    return dtype.kind in "biufc" or (opaque and dtype.itemsize <= 2)


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name


def _objects(path: Path, file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Every group and dataset once, without following a link out of the file."""
    seen = set()
    stack: list[tuple[str, h5py.Group]] = [("", file)]
    while stack:
        prefix, group = stack.pop()
        for name in group:
            full = f"{prefix}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ModelError(
                    f"{path}: not loaded: {cause_of(full)} is a link to another file, "
                    f"{link.filename!r}; a model holds its own weights"
                )
            if isinstance(link, h5py.SoftLink):
                continue  # what it points to is met under its own name
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            yield full, item
            if isinstance(item, h5py.Group):
                stack.append((full, item))
