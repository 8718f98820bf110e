"""Bins as HDF5, as earlier versions wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike


def write_hdf5_bin(path: Path, images: Sequence[bytes], genuine: ArrayLike) -> Path:
    """Writes 2n images, equal ones once, and n labels; returns the path."""
    distinct = list(dict.fromkeys(images))
    with h5py.File(path, "w", libver="v110") as file:
        file.attrs["face_zoo_bin"] = 1
        file["data"] = np.frombuffer(b"".join(distinct), np.uint8)
        file["offsets"] = np.cumsum([0, *map(len, distinct)])
        file["slots"] = np.array([distinct.index(image) for image in images])
        file["genuine"] = np.array(genuine, np.uint8)
    return path
