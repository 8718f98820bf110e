"""Embeddings for other programs: vecs.tsv and meta.tsv, and TensorBoard's projector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.projection.pictures import Sheet


def write_tsv(folder: Path, embeddings: NDArray[np.float32], names: Sequence[str]) -> None:
    """``vecs.tsv``, a row of tab-separated numbers an image, and ``meta.tsv``, its person a line:
    what projector.tensorflow.org loads. Raises OSError.
    """
    _write_vectors(folder / "vecs.tsv", embeddings)
    _write_names(folder / "meta.tsv", names)


def write_tensorboard(
    folder: Path,
    tensors: Mapping[str, NDArray[np.float32]],
    names: Sequence[str],
    sheet: Sheet,
) -> None:
    """A log folder whose projector shows each tensor with people as labels and faces as sprites.

    Everything is text or PNG that TensorBoard reads by itself: no TensorFlow, no checkpoint.
    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_names(folder / "metadata.tsv", names)
    (folder / "sprites.png").write_bytes(sheet.encoded("PNG"))
    blocks = []
    for name, vectors in tensors.items():
        _write_vectors(folder / f"{name}.tsv", vectors)
        blocks.append(
            "embeddings {\n"
            f'  tensor_name: "{name}"\n'
            f"  tensor_shape: {vectors.shape[0]}\n"
            f"  tensor_shape: {vectors.shape[1]}\n"
            f'  tensor_path: "{name}.tsv"\n'
            '  metadata_path: "metadata.tsv"\n'
            "  sprite {\n"
            '    image_path: "sprites.png"\n'
            f"    single_image_dim: {sheet.cell}\n"
            f"    single_image_dim: {sheet.cell}\n"
            "  }\n"
            "}\n"
        )
    (folder / "projector_config.pbtxt").write_text("".join(blocks), encoding="utf-8")


def _write_vectors(path: Path, vectors: NDArray[np.float32]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        # Nine digits give float32 back exactly.
        np.savetxt(file, vectors, fmt="%.9g", delimiter="\t")


def _write_names(path: Path, names: Sequence[str]) -> None:
    # One column, and so no header, as the projector wants it.
    lines = "".join(" ".join(name.split()) + "\n" for name in names)
    path.write_text(lines, encoding="utf-8", newline="\n")
