"""What lies in a SavedModel's folder, before TensorFlow looks into it."""

from __future__ import annotations

from pathlib import Path

from evaluator.errors import ModelError
from evaluator.models.identity import model_files


def check_folder(path: Path) -> None:
    """Raises ModelError unless a folder holds a graph, and folders and regular files only, all
    inside it. Raises OSError for what cannot be read.
    """
    model_files(path)
    graph = path / "saved_model.pb"
    if not graph.is_file():
        raise ModelError(f"{path}: a folder without saved_model.pb")
    if not graph.stat().st_size:
        raise ModelError(f"{graph}: the file is empty; it is damaged")
