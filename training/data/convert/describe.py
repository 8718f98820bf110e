"""What is in a record file, a folder of faces or TFRecord shards, and what is wrong with it."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.models.runtime import import_tensorflow
from training.data.convert.convert import images_digest, in_order
from training.data.convert.tfrecords import examples
from training.data.sources.faces import (
    MANIFEST,
    FaceSet,
    faces_of_folder,
    faces_of_records,
    find_record_file,
    read_manifest,
)
from training.data.sources.folders import contiguous_ids, open_folder
from training.data.sources.recordio import payload_at
from training.data.sources.records import RecordFile, image_labels, open_records, person_ranges
from training.data.sources.shards import shard_files

Progress = Callable[[int], None]
_SHOWN = 20  # undecodable images and ignored files that are named


@dataclass(frozen=True)
class DataInfo:
    """A data set at a glance; ``problems`` is empty if nothing is wrong with it.

    ``sizes`` ("112x112", height first) and ``formats`` count images: all of them if ``checked``,
    else only the first one. ``named`` says whether people have names or only numbers.
    """

    path: str
    kind: str
    images: int
    people: int
    images_per_person: dict[str, float]
    named: bool
    sizes: dict[str, int]
    formats: dict[str, int]
    checked: bool
    details: dict[str, Any]
    problems: tuple[str, ...]


def describe(path: Path, *, check: bool = False, progress: Progress | None = None) -> DataInfo:
    """What lies at ``path``: a ``.rec`` file, a folder with one, shards, or a folder per person.

    With ``check`` every image is read and decoded and, where a manifest is there, the digest
    compared. Raises InputError and OSError for what cannot be read at all.
    """
    record_file = find_record_file(path)
    if record_file:
        return _describe_records(record_file, check, progress)
    shards = shard_files(path)
    if shards:
        return _describe_shards(path, shards, check, progress)
    if path.is_file():
        raise InputError(
            f"{path}: expected a .rec or .tfrecord file or a folder of faces, found another file"
        )
    folder = open_folder(path, min_people=1)
    faces = faces_of_folder(folder)
    details = {"ignored": len(folder.ignored), "ignored_first": list(folder.ignored[:_SHOWN])}
    problems = [f"only one person, {folder.names[0]!r}"] if len(folder.names) == 1 else []
    return _described(faces, "folder", details, problems, check=check, progress=progress)


def _describe_records(path: Path, check: bool, progress: Progress | None) -> DataInfo:
    records = open_records(path)
    faces = faces_of_records(records)
    declared = records.declared
    details = {
        "records": len(records.keys),
        "layout": "insightface" if len(records.keys) > len(records) else "plain",
        "index": "read" if records.index else "rebuilt by a scan",
        "bytes": len(records.data),
        "property": [declared.people, declared.height, declared.width] if declared else None,
    }
    problems = _record_problems(records, faces)
    return _described(faces, "records", details, problems, check=check, progress=progress)


def _record_problems(records: RecordFile, faces: FaceSet) -> list[str]:
    problems = []
    stored = image_labels(records)
    people = len(faces.names)
    if stored.min() != 0 or stored.max() != people - 1:
        problems.append(
            f"labels run from {stored.min()} to {stored.max()} for {people} people; "
            f"unpack and pack make them 0 to {people - 1}"
        )
    if records.declared and records.declared.people != people:
        problems.append(f"property says {records.declared.people} people, found {people}")
    if records.declared:
        wanted = f"{records.declared.height}x{records.declared.width}"
        found, _, broken, _ = _looked_at(faces.read(0), faces.origin(0))
        if not broken and found != wanted:
            problems.append(f"property says {wanted}, the first image is {found}")
    if len(records.people) and not _ranges_fit(records, stored):
        problems.append("the ranges in insightface's records are not those of the images' labels")
    name = f"record {records.keys[-1]}"
    last = int(records.offsets.max())
    _, stop = payload_at(records.data, last, path=records.path, name=name)
    if stop != len(records.data):
        problems.append(
            f"{len(records.data) - stop} bytes behind the last record of the index (byte {stop}); "
            "remove the index and it is rebuilt"
        )
    return problems


def _ranges_fit(records: RecordFile, stored: NDArray[np.int64]) -> bool:
    """Whether each range of keys covers all images of one person, and the ranges all images."""
    ranges = person_ranges(records)
    keys = records.keys[records.images]
    seen: set[int] = set()
    for first, last in ranges.tolist():
        begin, stop = np.searchsorted(keys, [first, last]).tolist()
        found = set(stored[begin:stop].tolist())
        if stop - begin != last - first or len(found) != 1 or found & seen:
            return False
        seen |= found
    return int((ranges[:, 1] - ranges[:, 0]).sum()) == len(keys)


def _describe_shards(
    path: Path, shards: list[Path], check: bool, progress: Progress | None
) -> DataInfo:
    """Reads every shard to the end. Keeps the images only for as long as each is looked at."""
    stored: list[int] = []
    digests: list[bytes] = []
    sizes: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    problems: list[str] = []
    import_tensorflow()
    for shard, file in enumerate(shards):
        for row, example in enumerate(examples(file)):
            image, label = _features(file, row, example)
            stored.append(label)
            if check or len(stored) == 1:
                looked = _looked_at(image, f"{file.name}: record {row}")
                _count(looked, sizes, formats, problems)
            digests.append(row.to_bytes(8, "big") + shard.to_bytes(8, "big"))
            digests[-1] += hashlib.sha256(image).digest()
            if progress:
                progress(1)
    if not stored:
        raise InputError(f"{path}: expected images, found no record in {len(shards)} shards")
    # Shards are dealt like cards: the set's order is record 0 of every shard, record 1, ...
    order = sorted(range(len(digests)), key=lambda i: digests[i][:16])
    labels = np.array(stored, dtype=np.int64)[order]
    ids, originals = contiguous_ids(labels)
    digest = images_digest(
        np.frombuffer(b"".join(digests[i][16:] for i in order), np.uint8).reshape(-1, 32), ids
    )
    folder = path if path.is_dir() else path.parent
    manifest = _manifest(folder) if path.is_dir() else None
    if manifest:
        problems += _manifest_problems(manifest, len(ids), len(originals), digest)
    elif path.is_dir():
        problems.append(f"no {MANIFEST} beside the shards: is the set complete?")
    details = {"shards": len(shards), "bytes": sum(file.stat().st_size for file in shards)}
    return DataInfo(
        str(path), "tfrecord", len(ids), len(originals), _per_person(ids), manifest is not None,
        dict(sizes), dict(formats), check, details, tuple(problems),
    )  # fmt: skip


def _described(
    faces: FaceSet,
    kind: str,
    details: dict[str, Any],
    problems: list[str],
    *,
    check: bool,
    progress: Progress | None,
) -> DataInfo:
    """The part that a record file and a folder share."""
    sizes: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    manifest = _manifest(faces.source if kind == "folder" else faces.source.parent)
    digests = np.zeros((len(faces), 32), dtype=np.uint8)
    broken: list[str] = []
    numbers = range(len(faces) if check else 1)
    looks = in_order(lambda i: _looked_at(faces.read(i), faces.origin(i)), numbers, progress)
    for number, looked in enumerate(looks):
        _count(looked, sizes, formats, broken)
        digests[number] = np.frombuffer(looked[3], dtype=np.uint8)
        if number % 4096 == 4095:
            faces.release()
    problems = [*problems, *broken[:_SHOWN]]
    if len(broken) > _SHOWN:
        problems.append(f"and {len(broken) - _SHOWN} more images that cannot be decoded")
    if manifest:
        digest = images_digest(digests, faces.labels) if check else manifest["images_sha256"]
        problems += _manifest_problems(manifest, len(faces), len(faces.names), digest)
    return DataInfo(
        str(faces.source), kind, len(faces), len(faces.names), _per_person(faces.labels),
        kind == "folder" or manifest is not None,
        dict(sizes), dict(formats), check, details, tuple(problems),
    )  # fmt: skip


def _looked_at(image: bytes | memoryview, origin: str) -> tuple[str, str, str, bytes]:
    """Size, format, error and SHA-256 of one image, decoded to the end; the error is "" or why."""
    from PIL import Image, UnidentifiedImageError

    digest = hashlib.sha256(image).digest()
    try:
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()
            return f"{opened.height}x{opened.width}", str(opened.format).lower(), "", digest
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        return "", "", f"{origin}: cannot be decoded: {error}", digest


def _count(
    looked: tuple[str, str, str, bytes],
    sizes: Counter[str],
    formats: Counter[str],
    problems: list[str],
) -> None:
    size, kind, error, _ = looked
    if error:
        problems.append(error)
    else:
        sizes[size] += 1
        formats[kind] += 1


def _per_person(labels: NDArray[np.int64]) -> dict[str, float]:
    counts = np.bincount(labels)
    return {
        "min": int(counts.min()),
        "median": float(np.median(counts)),
        "max": int(counts.max()),
    }


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    return read_manifest(path) if path.exists() else None


def _manifest_problems(
    manifest: dict[str, Any], images: int, people: int, digest: str
) -> list[str]:
    counts = (("images", manifest["images"], images), ("people", manifest["classes"], people))
    problems = [
        f"{MANIFEST} says {said} {what}, found {found}"
        for what, said, found in counts
        if said != found
    ]
    if not problems and manifest["images_sha256"] != digest:
        problems.append(f"the images are not those that {MANIFEST} was written for (SHA-256)")
    return problems


def _features(file: Path, row: int, example: Any) -> tuple[bytes, int]:
    feature = example.features.feature
    image = feature["image/encoded"].bytes_list.value
    label = feature["image/class/label"].int64_list.value
    if len(image) != 1 or len(label) != 1:
        raise InputError(
            f"{file}: record {row}: expected the features image/encoded and image/class/label, "
            f"found {', '.join(sorted(feature)) or 'none'}"
        )
    return image[0], label[0]
