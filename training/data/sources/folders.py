"""A folder per person: any folder names become ids 0, 1, 2, ... in the names' order."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.images.image_format import is_image_file

SIDE_FILES = ("manifest.json", "classes.txt", "thumbs.db", "desktop.ini")


class FolderError(InputError):
    """A folder of faces cannot be used; the message names the folder and what is wrong with it."""


@dataclass(frozen=True)
class FaceFolder:
    """What lies in a folder per person.

    ``names[i]`` is the folder of the person with id i; ``files`` are paths below ``root`` with
    ``/`` between their parts, person after person, ``labels`` their ids. ``ignored`` are the
    other things found there, hidden files left out.
    """

    root: Path
    names: tuple[str, ...]
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    ignored: tuple[str, ...]


def open_folder(root: Path, *, min_people: int = 2) -> FaceFolder:
    """The images below ``root``, one folder a person, in an order that is the same everywhere.

    Ids count from 0 in the order of the folder names by code point (so "10" before "9"); they
    never come from digits in a name. Within a person the files are sorted alike. What is an image
    `is_image_file` decides; hidden entries are passed over, anything else is listed as ignored.

    Raises FolderError for no people, fewer than ``min_people``, and people without an image;
    OSError for a folder that is missing or cannot be read.
    """
    entries = _entries(root)
    people = [name for name, is_folder in entries if is_folder]
    others = [name for name, is_folder in entries if not is_folder]
    ignored = [name for name in others if name.lower() not in SIDE_FILES]
    if not people:
        loose = sum(is_image_file(root / name) for name in others)
        found = f"{loose} images directly in it" if loose else "no folder at all"
        raise FolderError(f"{root}: expected one folder a person, found {found}")
    files: list[str] = []
    counts: list[int] = []
    for person in people:
        images, others = _person(root, person)
        files += images
        ignored += others
        counts.append(len(images))
    _check_people(root, people, counts, min_people)
    labels = np.repeat(np.arange(len(people), dtype=np.int64), counts)
    return FaceFolder(root, tuple(people), tuple(files), labels, tuple(ignored))


def contiguous_ids(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids 0 to n - 1 in the order of the labels, and the label that each id stands for.

    With n distinct labels there are n classes, however large the labels are.
    """
    originals, ids = np.unique(labels, return_inverse=True)
    return ids.reshape(-1).astype(np.int64), originals


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Name and "is a folder" of everything not hidden, sorted by name."""
    with os.scandir(folder) as found:
        return sorted((e.name, e.is_dir()) for e in found if not e.name.startswith("."))


def _person(root: Path, person: str) -> tuple[list[str], list[str]]:
    """The images of one person and what else lies there."""
    folder = os.fspath(root / person)
    found = [
        (f"{person}/{name}", not is_folder and is_image_file(f"{folder}/{name}"))
        for name, is_folder in _entries(root / person)
        if name.lower() not in SIDE_FILES
    ]
    return [name for name, image in found if image], [name for name, image in found if not image]


def _check_people(root: Path, people: list[str], counts: list[int], min_people: int) -> None:
    empty = [name for name, count in zip(people, counts, strict=True) if not count]
    if empty:
        shown = ", ".join(repr(name) for name in empty[:3]) + (", ..." if len(empty) > 3 else "")
        raise FolderError(
            f"{root}: expected images in every folder, found none in {len(empty)} of "
            f"{len(people)}: {shown}; "
            + ("name the folder below" if len(empty) == len(people) else "remove what is no person")
        )
    if len(people) < min_people:
        raise FolderError(
            f"{root}: expected one folder for each of at least {min_people} people, found only "
            f"{people[0]!r}; is it the folder above or below?"
        )
