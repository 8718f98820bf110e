"""Labelled faces into a folder per person, the image bytes as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluator.errors import InputError
from training.data.convert.convert import (
    Converted,
    Progress,
    changed,
    checked_digest,
    encoded_image,
    in_order,
    write_manifest,
)
from training.data.convert.staging import finished, staged
from training.data.sources.faces import MANIFEST, FaceSet
from training.data.sources.folders import open_folder


def unpack(
    faces: FaceSet, out: Path, *, force: bool = False, progress: Progress | None = None
) -> Converted:
    """Writes a folder per person with every image's bytes as they are, and a manifest.

    Files are numbered from 1 in the set's order, eight digits, which for insightface's records is
    the key. A run that was cut short goes on where it stopped. At the end everything is read again
    and compared. ``progress`` is called with the number of images done since the last call.

    In the folder, and in its manifest, ids follow the sorted names: they differ from the source's
    where a foreign manifest has another order.

    Raises InputError for an image of no known format, for names that cannot be folders, for an
    ``out`` that holds other files, and if what was written does not read back.
    """
    _check_folder_names(faces)
    plan = {"to": "folder", "fingerprint": faces.fingerprint}
    done = finished(out, plan)
    if done and not force:
        if _checked(_by_name(faces), out) != done["images_sha256"]:
            raise InputError(f"{out}: {MANIFEST} does not fit to the images; pass --force")
        return Converted(out, done["images"], done["classes"], done["images"])
    with staged(out, plan, force=force) as stage:
        for name in faces.names:
            (stage / name).mkdir(exist_ok=True)
        kept = sum(in_order(lambda i: _write_image(faces, i, stage), range(len(faces)), progress))
        ordered = _by_name(faces)
        write_manifest(stage, ordered, plan, "folder", _checked(ordered, stage))
    return Converted(out, len(faces), len(faces.names), kept)


def _by_name(faces: FaceSet) -> FaceSet:
    """The set with its ids in the order of the names, as a folder per person has them."""
    order = sorted(range(len(faces.names)), key=faces.names.__getitem__)
    names = tuple(faces.names[old] for old in order)
    return replace(faces, names=names, labels=np.argsort(order)[faces.labels])


def _checked(faces: FaceSet, folder: Path) -> str:
    """The images' digest after comparing all files with the source's bytes."""
    paths = _unpacked_paths(faces, folder)
    return checked_digest(faces, lambda i: paths[i].read_bytes())


def _check_folder_names(faces: FaceSet) -> None:
    for name in faces.names:
        if name.startswith(".") or not name or set(name) & set("/\\\0"):
            raise InputError(
                f"{faces.source}: expected names that can be folders, found {name!r} in {MANIFEST}"
            )


def _write_image(faces: FaceSet, number: int, stage: Path) -> bool:
    """Writes one image; True if it was already there with the same bytes."""
    image, kind = encoded_image(faces, number)
    suffix = "jpg" if kind == "jpeg" else kind
    path = stage / faces.names[int(faces.labels[number])] / f"{number + 1:08d}.{suffix}"
    if path.exists() and path.read_bytes() == image:
        return True
    path.write_bytes(image)
    return False


def _unpacked_paths(faces: FaceSet, stage: Path) -> list[Path]:
    """The written files in the set's order, as a fresh look into the folder finds them."""
    folder = open_folder(stage, min_people=1)
    if len(folder.files) != len(faces) or folder.ignored:
        raise InputError(
            f"{stage}: expected {len(faces)} images and nothing else, found {len(folder.files)} "
            f"and {len(folder.ignored)} other files; remove it and run again"
        )
    numbered = sorted(folder.files, key=lambda file: file.rsplit("/", 1)[1])
    for number, file in enumerate(numbered):
        if file.rsplit("/", 1)[0] != faces.names[faces.labels[number]]:
            raise changed(faces, number)
    return [stage / file for file in numbered]
