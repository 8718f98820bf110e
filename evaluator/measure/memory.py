"""Forward passes in smaller batches where memory does not hold the whole one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import OutOfMemoryError
from evaluator.images.inputs import Forward
from evaluator.measure.rows import embedding_rows


def in_smaller_batches(forward: Forward, on_smaller: Callable[[int], None]) -> Forward:
    """``forward`` in pieces of half the size, again and again, where a batch needs too much memory.

    The size that went through is kept for all later batches; ``on_smaller`` is called with it
    once, when the first batch is done. Raises OutOfMemoryError where a single image is too much,
    and RowCountError where a piece does not give one row an image: joined, they would hide it.
    """
    limit: int | None = None
    said = False

    def piecewise(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal limit, said
        found = []
        start = 0
        while start < len(batch):
            size = len(batch) - start if limit is None else min(limit, len(batch) - start)
            try:
                piece = forward(batch[start : start + size])
            except OutOfMemoryError:
                if size == 1:
                    raise
                limit = -(-size // 2)
                continue
            found.append(piece if size == len(batch) else embedding_rows(piece, size))
            start += size
        if limit is not None and not said:
            said = True
            on_smaller(limit)
        return found[0] if len(found) == 1 else np.concatenate(found)

    return piecewise
