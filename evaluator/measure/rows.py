"""What a forward pass gave, checked: one embedding for each image, as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ForwardError
from evaluator.metrics.text import counted


class RowCountError(ForwardError):
    """A model gave another number of rows than it was given images."""


def embedding_rows(embeddings: Any, images: int) -> NDArray[np.float32]:
    """What a model gave for a batch of so many images, as (images, embedding size).

    Axes of 1 beside the embedding's are dropped: (images, 64, 1, 1) and (images, 1, 1, 64) become
    (images, 64). Raises RowCountError for another number of rows, so that none is ever spread over
    a batch, and ForwardError for what is not one vector an image.
    """
    rows: NDArray[np.float32] = np.asarray(embeddings, np.float32)
    if rows.ndim > 2 and sum(size != 1 for size in rows.shape[1:]) <= 1:
        rows = rows.reshape(len(rows), -1)
    if rows.ndim < 2 or len(rows) != images:
        raise RowCountError(f"it gave {_described(rows)} for {counted(images, 'image')}")
    if rows.ndim > 2:
        raise ForwardError(f"its output has shape {rows.shape}; expected one embedding an image")
    return rows


def check_size(size: int, before: int) -> None:
    """Raises ForwardError for embeddings of another size than those before."""
    if size != before:
        raise ForwardError(f"it gave embeddings of {size} numbers, and of {before} before")


def _described(rows: NDArray[np.float32]) -> str:
    if rows.ndim == 0:
        return "one number"
    if rows.ndim == 1:
        return f"one list of {counted(len(rows), 'number')}"
    return counted(len(rows), "row")
