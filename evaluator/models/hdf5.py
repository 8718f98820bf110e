"""What a hostile HDF5 file could declare: data of other files, and more than the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from evaluator.errors import ModelError

# Trained weights hardly compress. This many times the file's size, and this much besides, is
# more than a real model declares; a bomb declares thousands of times.
_EXPANSION = 20
_ALLOWANCE = 64 * 2**20


def check_hdf5(path: Path, file: h5py.File, stored_bytes: int) -> None:
    """Raises ModelError for links to other files, and for declared data that cannot be there.

    ``stored_bytes`` is the size of the HDF5 file, which may be a member of an archive.
    """
    declared = 0
    for name, item in _objects(path, file):
        if not isinstance(item, h5py.Dataset):
            continue
        if item.is_virtual or item.external:
            raise ModelError(
                f"{path}: not loaded: its dataset {name} takes its data from another file; "
                "a model holds its own weights"
            )
        declared += item.size * item.dtype.itemsize if item.size else 0
        if declared > stored_bytes * _EXPANSION + _ALLOWANCE:
            raise ModelError(
                f"{path}: not loaded: up to {name} it declares {declared:,} bytes of weights, in "
                f"a file of {stored_bytes:,}"
            )


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
                    f"{path}: not loaded: {full} is a link to another file, {link.filename!r}; "
                    "a model holds its own weights"
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
