"""Embeddings of a template set in a file that grows block by block: what was interrupted goes on.

``NAME.npy`` has room for all rows, and beside it ``NAME.rows``, JSON, says how many are there and
of what model, set and settings they are. That file is replaced after the rows are on the disk, so
that it never promises rows which a power cut took.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.files import open_regular, read_bounded, whole_path, write_whole
from evaluator.measure.rows import check_size

_LARGEST_NOTE = 100_000
_HEADER = 1 << 12


class HeldEmbeddings:
    """The embeddings (``images``, d) of a set in memory, as `KeptEmbeddings` has them in a file."""

    def __init__(self, images: int) -> None:
        """None yet."""
        self._images, self.rows = images, 0
        self._found = np.zeros((images, 0), np.float32)

    def append(self, block: NDArray[np.float32]) -> None:
        """Adds the rows that follow those that are there. Raises ForwardError for another size."""
        if not self.rows:
            self._found = np.empty((self._images, block.shape[1]), np.float32)
        check_size(block.shape[1], self._found.shape[1])
        self._found[self.rows : self.rows + len(block)] = block
        self.rows += len(block)

    def array(self) -> NDArray[np.float32]:
        """All rows; those that are not there yet are anything."""
        return self._found


class KeptEmbeddings:
    """The embeddings (``images``, d) of a set at a path, as far as they are there.

    ``key`` is all that decides them: a file of another key is begun anew. Raises OSError.
    """

    def __init__(self, path: Path, key: Mapping[str, Any], images: int) -> None:
        """What lies at the path counts if it is of this key and whole."""
        self._path, self._key, self._images = path, dict(key), images
        self._note = path.with_suffix(".rows")
        self._start, self._size = 0, 0
        self.rows = self._found()

    def _found(self) -> int:
        """How many rows are there."""
        try:
            note = json.loads(read_bounded(self._note, _LARGEST_NOTE))
            rows = note.pop("rows")
            if note != self._key or type(rows) is not int or not 0 < rows <= self._images:
                return 0
            with os.fdopen(open_regular(self._path), "rb") as file:
                head = io.BytesIO(file.read(_HEADER))
                length = os.fstat(file.fileno()).st_size
            np.lib.format.read_magic(head)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
        except (OSError, ValueError, KeyError, AttributeError, RecursionError):
            return 0
        if fortran or dtype != np.float32 or len(shape) != 2 or shape[0] != self._images:
            return 0
        self._start, self._size = head.tell(), shape[1]
        return rows if length >= self._start + 4 * self._size * rows else 0

    def append(self, block: NDArray[np.float32]) -> None:
        """Adds the rows that follow those that are there. Raises ForwardError for another size."""
        if not self.rows:
            self._begin(block.shape[1])
        check_size(block.shape[1], self._size)
        with self._path.open("r+b") as file:
            file.seek(self._start + 4 * self._size * self.rows)
            file.write(np.ascontiguousarray(block, np.float32).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.rows += len(block)
        write_whole(self._note, json.dumps({**self._key, "rows": self.rows}) + "\n")

    def _begin(self, size: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._note.unlink(missing_ok=True)
        with whole_path(self._path) as temporary, temporary.open("xb") as file:
            np.lib.format.write_array_header_1_0(
                file,
                {"descr": "<f4", "fortran_order": False, "shape": (self._images, size)},
            )
            self._start, self._size = file.tell(), size
            file.truncate(self._start + 4 * size * self._images)

    def array(self) -> NDArray[np.float32]:
        """All rows, a map of the file: a block at a time is in memory, and not a copy of it all."""
        found: NDArray[np.float32] = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return found
