"""Faces to train on, opened."""

from __future__ import annotations

from pathlib import Path

from evaluator.errors import InputError
from training.data.sources.faces import FaceSet
from training.data.sources.shards import open_training_faces


def open_faces(path: str | Path, *, min_people: int = 2) -> FaceSet:
    """The labelled images at ``path``: a folder a person, a ``.rec`` file or the folder that holds
    one, or a folder of TFRecord shards as `zoo data pack` writes them.

    Raises InputError for what is none of them, and for fewer than ``min_people`` people.
    """
    faces = open_training_faces(Path(path))
    if faces.people < min_people:
        raise InputError(f"{path}: expected {min_people} people or more; found {faces.people}")
    return faces
