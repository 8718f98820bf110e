"""Images looked at once: a digest of their pixels and, where a model is asked, an embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import cause_of
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.inputs import Embedder
from evaluator.measure.embed import EmbedOptions, embed_images
from training.data.convert.convert import in_order
from training.data.sources.recordio import RecordError

Read = Callable[[int], bytes | memoryview]
Progress = Callable[[int], None]

# Images that are embedded, and rows that are worked on, at once.
BLOCK = 4096

_DIGEST = 16


@dataclass(frozen=True)
class Looked:
    """``digests`` (images,) of 16 bytes, of pixels and their shape, zeros for what cannot be read,
    of which ``causes`` tells by number. ``embeddings`` (images, size) are unit vectors, zeros where
    there is none, in a file; None without a model.
    """

    digests: NDArray[np.void]
    causes: dict[int, str]
    embeddings: NDArray[np.float32] | None


def look(
    read: Read, count: int, *, embedder: Embedder | None, path: Path, progress: Progress
) -> Looked:
    """Every image decoded once; embeddings go into the file ``path``."""
    digests, causes = np.zeros(count, f"V{_DIGEST}"), dict[int, str]()

    def pixels(i: int) -> NDArray[np.uint8] | None:
        try:
            found = decode_image(bytes(read(i)))
        except (DecodeError, RecordError, OSError) as error:
            causes[i] = cause_of(error)
            return None
        shape = str(found.shape).encode()
        digest = hashlib.blake2b(found.tobytes(), digest_size=_DIGEST, person=shape)
        digests[i] = np.void(digest.digest())
        return found

    if embedder is None:
        for _ in in_order(pixels, range(count), progress):
            pass
        return Looked(digests, causes, None)
    gray = np.full((embedder.input.height, embedder.input.width, 3), 128, np.uint8)
    embeddings: NDArray[np.float32] | None = None
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)

        def block_pixels(i: int, start: int = start) -> NDArray[np.uint8]:
            found = pixels(start + i)
            return gray if found is None else found

        rows = embed_images(
            embedder,
            [b""] * (stop - start),
            options=EmbedOptions(),
            pixels=block_pixels,
            on_progress=progress,
        )
        if embeddings is None:
            embeddings = np.memmap(path, np.float32, "w+", shape=(count, rows.shape[1]))
        rows[[i - start for i in causes if i >= start]] = 0
        embeddings[start:stop] = unit(rows)
    return Looked(digests, causes, embeddings)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows at length 1; zeros for one that is not finite or has no length."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    return np.where(usable, rows / np.where(usable, lengths, 1), 0).astype(np.float32)
