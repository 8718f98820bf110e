"""Labelled face images, wherever they lie: the one view that conversion and training read."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from training.data.sources.folders import FaceFolder, contiguous_ids, open_folder
from training.data.sources.recordio import release_pages
from training.data.sources.records import RecordFile, image_labels, open_records, read_image

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FaceSet:
    """Images with contiguous ids: image i is of the person ``names[labels[i]]``.

    ``read(i)`` gives the encoded bytes and may be called from several threads, ``origin(i)`` says
    where they lie, for messages; ``release()`` gives back what memory reading has mapped.
    ``fingerprint`` changes when people, labels, or the images' names or keys do. ``ignored`` is
    what lies in a folder besides.
    """

    source: Path
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    fingerprint: str
    read: Callable[[int], bytes | memoryview]
    origin: Callable[[int], str]
    release: Callable[[], None]
    ignored: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def by_person(self) -> NDArray[np.int64]:
        """The images' numbers person after person, as record files have them."""
        return np.argsort(self.labels, kind="stable")

    @property
    def people(self) -> int:
        """How many people there are."""
        return len(self.names)


def open_faces(path: Path) -> FaceSet:
    """The labelled images at ``path``: a ``.rec`` file, a folder that holds one, or one a person.

    Raises InputError for what is none of them, and what ``open_records`` and ``open_folder`` do.
    """
    record_file = find_record_file(path)
    if record_file:
        return faces_of_records(open_records(record_file))
    if path.is_file():
        raise InputError(f"{path}: expected a .rec file or a folder of faces, found another file")
    return faces_of_folder(open_folder(path))


def find_record_file(path: Path) -> Path | None:
    """``path`` if it is a ``.rec`` file, or the one in the folder ``path``; None without one.

    Raises InputError if the folder holds several and none is ``train.rec``.
    """
    if path.suffix in (".rec", ".idx") and not path.is_dir():
        return path.with_suffix(".rec")
    if not path.is_dir():
        return None
    found = sorted(path.glob("*.rec"))
    if len(found) > 1 and path / "train.rec" not in found:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{path}: expected one .rec file, found {names}; name one of them")
    return path / "train.rec" if len(found) > 1 else found[0] if found else None


def faces_of_records(records: RecordFile) -> FaceSet:
    """The images of a record file; names from the manifest beside it, else the stored labels.

    Labels that leave gaps become contiguous in their order. Raises RecordError for an unreadable
    record, InputError for a manifest that does not fit.
    """
    if not len(records):
        raise InputError(f"{records.path}: expected images, found none in it")
    stored = image_labels(records)
    ids, originals = contiguous_ids(stored)
    width = max(7, len(str(originals[-1])))
    names = tuple(f"{label:0{width}d}" for label in originals.tolist())
    manifest = records.path.with_name(MANIFEST)
    if manifest.exists():
        known = read_manifest(manifest)["names"]
        if len(known) != len(names) or originals[0] != 0 or originals[-1] != len(names) - 1:
            raise InputError(
                f"{manifest}: names {len(known)} people, but {records.path.name} has "
                f"{len(names)} labels from {originals[0]} to {originals[-1]}; it is another's"
            )
        names = tuple(known)
    keys = records.keys[records.images]
    return FaceSet(
        source=records.path,
        names=names,
        labels=ids,
        fingerprint=_fingerprint(names, ids, records.offsets.tobytes()),
        read=lambda i: read_image(records, i).image,
        origin=lambda i: f"{records.path}: record {keys[i]}",
        release=lambda: release_pages(records.mapped),
    )


def faces_of_folder(folder: FaceFolder) -> FaceSet:
    """The images of a folder per person."""
    root = os.fspath(folder.root)

    def read(image: int) -> bytes:
        # Without pathlib and its file objects: a third of the time of so small a file.
        with open(f"{root}/{folder.files[image]}", "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall()

    return FaceSet(
        source=folder.root,
        names=folder.names,
        labels=folder.labels,
        fingerprint=_fingerprint(folder.names, folder.labels, json.dumps(folder.files).encode()),
        read=read,
        origin=lambda i: str(folder.root / folder.files[i]),
        release=lambda: None,
        ignored=folder.ignored,
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """What a conversion has noted about its output. Raises InputError if it is no manifest."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: expected a manifest in JSON: {error}") from None
    expected = {"kind": str, "images": int, "classes": int, "names": list, "images_sha256": str}
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: expected a manifest, a JSON object, found another value")
    for key, kind in expected.items():
        if not isinstance(manifest.get(key), kind):
            raise InputError(f"{path}: expected {key!r}, as 'zoo data' writes it, found none")
    names = manifest["names"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InputError(f"{path}: expected names that are distinct strings, found others")
    if len(names) != manifest["classes"]:
        raise InputError(f"{path}: says {manifest['classes']} classes, names {len(names)}")
    return manifest


def _fingerprint(names: Sequence[str], labels: NDArray[np.int64], places: bytes) -> str:
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    digest.update(labels.astype("<i8").tobytes())
    digest.update(places)
    return digest.hexdigest()
