"""Labelled faces into ``train.rec``, ``train.idx`` and ``property``, in insightface's layout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from evaluator.errors import InputError
from evaluator.files import write_whole
from training.data.convert.convert import (
    Converted,
    Progress,
    by_processes,
    check_files,
    checked_digest,
    encoded_image,
    equal_digest,
    faces_again,
    image_size,
    images_digest,
    in_order,
    stretches,
    write_manifest,
)
from training.data.convert.staging import finished, staged
from training.data.sources.faces import FaceSet
from training.data.sources.recordio import (
    RELEASE_BYTES,
    complete_records,
    map_file,
    record_offsets,
)
from training.data.sources.records import (
    RecordFile,
    image_labels,
    image_record,
    open_records,
    person_ranges,
    range_record,
    read_image,
    store_index,
)


def pack_records(
    faces: FaceSet,
    out: Path,
    *,
    force: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Converted:
    """Writes ``train.rec``, ``train.idx`` and ``property`` in insightface's layout, and a manifest.

    Images lie person after person. Resumes and checks as ``unpack`` does. ``jobs`` processes read,
    look at and compare images: the same bytes.

    Raises InputError also for images of several sizes (``property`` holds one) and for more than
    float32 keys can count.
    """
    plan = {"to": "records", "fingerprint": faces.fingerprint}
    done = finished(out, plan)
    if done and not force:
        check_files(out, done)
        return Converted(out, done["images"], done["classes"], done["images"])
    with staged(out, plan, force=force) as stage:
        rec, first = stage / "train.rec", int(faces.by_person[0])
        height, width = image_size(encoded_image(faces, first)[0], faces.origin(first))
        kept = len(faces)
        if not rec.exists():
            kept = _write_records(faces, rec, (height, width), jobs, progress)
        offsets = record_offsets(map_file(rec), rec)
        store_index(stage / "train.idx", np.arange(len(offsets)), offsets)
        write_whole(stage / "property", f"{len(faces.names)},{height},{width}\n")
        digest = _check_records(faces, rec, jobs)
        write_manifest(stage, faces, plan, "records", digest, size=(height, width))
    return Converted(out, len(faces), len(faces.names), kept)


def _write_records(
    faces: FaceSet, rec: Path, size: tuple[int, int], jobs: int, progress: Progress | None
) -> int:
    """Writes the record file, from where an earlier run stopped; how many images that had left."""
    half = rec.with_name(rec.name + ".partial")
    have, stop = 0, 0
    if half.exists() and half.stat().st_size:
        offsets, stop = complete_records(map_file(half), half)
        have = len(offsets)
    images = len(faces)
    kept = min(max(have - 1, 0), images)
    if progress:
        progress(kept)
    with half.open("ab") as file:
        file.truncate(stop)
        file.seek(stop)
        if have == 0:
            file.write(range_record(0, images + 1, images + 1 + len(faces.names)))
        written = 0
        for data in _image_records(faces, kept, size, jobs, progress):
            file.write(data)
            written += len(data)
            if written >= RELEASE_BYTES:
                faces.release()
                written = 0
        for key, first, last in _person_records(faces)[max(have - 1 - images, 0) :]:
            file.write(range_record(key, first, last))
    half.replace(rec)
    return kept


def _image_records(
    faces: FaceSet, kept: int, size: tuple[int, int], jobs: int, progress: Progress | None
) -> Iterator[bytes]:
    """The records from the place ``kept`` on, one after the other or many in one."""
    if jobs == 1:
        one = functools.partial(_image_record, faces, size)
        yield from in_order(one, range(kept, len(faces)), progress)
        return
    parts = stretches(kept, len(faces))
    several = functools.partial(_joined_records, faces.source, faces.fingerprint, size)
    for part, data in zip(parts, by_processes(several, parts, jobs), strict=True):
        if progress:
            progress(len(part))
        yield data


def _joined_records(source: Path, fingerprint: str, size: tuple[int, int], places: range) -> bytes:
    """In a process of its own: the records of some places."""
    faces = faces_again(source, fingerprint)
    data = b"".join(_image_record(faces, size, place) for place in places)
    faces.release()
    return data


def _image_record(faces: FaceSet, size: tuple[int, int], place: int) -> bytes:
    number = int(faces.by_person[place])
    image, _ = encoded_image(faces, number)
    found = image_size(image, faces.origin(number))
    if found != size:
        raise InputError(
            f"{faces.origin(number)}: expected {size[0]}x{size[1]} pixels as in the first "
            f"image, found {found[0]}x{found[1]}; align them, or pack --to tfrecord"
        )
    return image_record(place + 1, int(faces.labels[number]), bytes(image))


def _person_records(faces: FaceSet) -> list[tuple[int, int, int]]:
    """Key and range [first, last) of each person's record."""
    counts = np.bincount(faces.labels, minlength=len(faces.names))
    ends = (1 + np.cumsum(counts)).tolist()
    return [
        (len(faces) + 1 + person, end - count, end)
        for person, (end, count) in enumerate(zip(ends, counts.tolist(), strict=True))
    ]


def _check_records(faces: FaceSet, rec: Path, jobs: int) -> str:
    """The images' digest, after reading the record file again through its index."""
    records = open_records(rec)
    same = np.array_equal(image_labels(records), faces.labels[faces.by_person])
    ranges = np.array([row[1:] for row in _person_records(faces)])
    if not same or not np.array_equal(person_ranges(records), ranges):
        raise InputError(f"{rec}: the labels read back differ from the source's; remove it")
    if jobs == 1:
        return checked_digest(faces, _read_back(faces, records))
    several = functools.partial(_digests, faces.source, faces.fingerprint, rec)
    parts = list(by_processes(several, stretches(0, len(faces)), jobs))
    return images_digest(np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 32), faces.labels)


def _read_back(faces: FaceSet, records: RecordFile) -> Callable[[int], bytes | memoryview]:
    """What was written of each image."""
    place = np.argsort(faces.by_person)
    return lambda i: read_image(records, int(place[i])).image


def _digests(source: Path, fingerprint: str, rec: Path, numbers: range) -> bytes:
    """In a process of its own: the digests of some images, which were compared."""
    faces = faces_again(source, fingerprint)
    written = _read_back(faces, open_records(rec))
    found = b"".join(equal_digest(faces, written, number) for number in numbers)
    faces.release()
    return found
