"""Duplicates, labels that are likely wrong, people who are likely one, and what test bins share."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.bins.pairs_file import linked_people
from evaluator.bins.verification_set import VerificationSet, distinct_images
from evaluator.errors import InputError
from evaluator.images.inputs import Embedder
from training.data.sources.faces import FaceSet
from zoo.data.alike import Alike, alike
from zoo.data.findings import Finding, of_two
from zoo.data.looking import Looked, Progress, look


@dataclass(frozen=True)
class Cosines:
    """From where on two images are taken to be one, and two people: None takes what half of the
    people's own halves reach.
    """

    same_image: float = 0.98
    same_person: float | None = None


def clean(
    faces: FaceSet,
    bins: Sequence[VerificationSet],
    *,
    embedder: Embedder | None,
    cosines: Cosines,
    progress: Progress,
) -> tuple[list[Finding], list[str]]:
    """What there is to look at, and what was taken for what, a sentence each.

    Nothing is changed. Images are decoded and embedded once, in blocks; embeddings lie in a
    temporary file, and beside them memory holds 16 bytes an image and the people's means.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-clean-") as name:
        path = Path(name) / "embeddings"
        looked = look(faces.read, len(faces), embedder=embedder, path=path, progress=progress)
        found = [
            Finding("unreadable", faces.origin(i), _person(faces, i), cause, "")
            for i, cause in sorted(looked.causes.items())
        ]
        same, found_same = same_pixels(faces, looked)
        found += found_same
        notes, people = [], None
        if embedder is not None:
            people = alike(faces, looked, same, cosines.same_image, cosines.same_person)
            found += people.findings
            notes = people.notes
        for each in bins:
            found += _in_bin(faces, looked, people, each, embedder, Path(name), progress)
        return found, notes


def same_pixels(faces: FaceSet, looked: Looked) -> tuple[set[tuple[int, int]], list[Finding]]:
    """Images with the pixels of an earlier one, and the findings."""
    _, first, index = np.unique(looked.digests, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[index] != np.arange(len(index)))
    pairs, found = set(), []
    for i in again.tolist():
        if i in looked.causes:
            continue
        j = int(first[index[i]])
        kind = "same image" if faces.labels[i] == faces.labels[j] else "same image, two people"
        pairs.add((j, i))
        found.append(of_two(kind, faces, i, j))
    return pairs, found


def _in_bin(
    faces: FaceSet,
    looked: Looked,
    people: Alike | None,
    bin: VerificationSet,
    embedder: Embedder | None,
    folder: Path,
    progress: Progress,
) -> list[Finding]:
    """The images and people that a bin has too."""
    distinct, slots = distinct_images(bin.images)
    theirs = look(
        distinct.__getitem__,
        len(distinct),
        embedder=embedder,
        path=folder / "bin",
        progress=progress,
    )
    slot = [f"slot {number}" for number in np.unique(slots, return_index=True)[1]]
    places = {bytes(d): k for k, d in enumerate(theirs.digests) if k not in theirs.causes}
    found, same = [], set()
    for i, digest in enumerate(looked.digests):
        k = None if i in looked.causes else places.get(bytes(digest))
        if k is not None:
            same.add((i, k))
            kind = f"images that are in {bin.name}"
            found.append(Finding(kind, faces.origin(i), _person(faces, i), slot[k], ""))
    if people is None or theirs.embeddings is None:
        return found
    rows = people.centred(theirs.embeddings)
    for i, k, cosine in people.near_images(rows):
        if (i, k) not in same:
            kind = f"images that are nearly in {bin.name}"
            found.append(Finding(kind, faces.origin(i), _person(faces, i), slot[k], "", cosine))
    person, count = linked_people(slots, bin.genuine)
    for p, group, cosine in people.near_people(rows, person, count):
        where = ", ".join(slot[k] for k in np.flatnonzero(person == group)[:4])
        kind = f"people who are likely in {bin.name}"
        found.append(Finding(kind, "", faces.names[p], where, "", cosine))
    return found


def _person(faces: FaceSet, image: int) -> str:
    return faces.names[int(faces.labels[image])]


def checked(cosines: Cosines) -> Cosines:
    """The cosines. Raises InputError for one that no pair or every pair reaches."""
    for name, value in (("same-image", cosines.same_image), ("same-person", cosines.same_person)):
        if value is not None and not 0 < value <= 1:
            raise InputError(f"--{name}: expected a cosine above 0 and up to 1; found {value:g}")
    return cosines
