"""Labelled faces into ``train.rec``, ``train.idx`` and ``property``, in insightface's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.files import write_whole
from training.data.convert.convert import (
    Converted,
    Progress,
    check_files,
    checked_digest,
    encoded_image,
    image_size,
    in_order,
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
    image_labels,
    image_record,
    open_records,
    person_ranges,
    range_record,
    read_image,
    store_index,
)


def pack_records(
    faces: FaceSet, out: Path, *, force: bool = False, progress: Progress | None = None
) -> Converted:
    """Writes ``train.rec``, ``train.idx`` and ``property`` in insightface's layout, and a manifest.

    Images lie person after person. Resumes and checks as ``unpack`` does.

    Raises InputError also for images of several sizes (``property`` holds one) and for more than
    float32 keys can count.
    """
    plan = {"to": "records", "fingerprint": faces.fingerprint}
    done = finished(out, plan)
    if done and not force:
        check_files(out, done)
        return Converted(out, done["images"], done["classes"], done["images"])
    with staged(out, plan, force=force) as stage:
        rec, order = stage / "train.rec", np.argsort(faces.labels, kind="stable")
        first = int(order[0])
        height, width = image_size(encoded_image(faces, first)[0], faces.origin(first))
        kept = len(faces)
        if not rec.exists():
            kept = _write_records(faces, order, rec, (height, width), progress)
        offsets = record_offsets(map_file(rec), rec)
        store_index(stage / "train.idx", np.arange(len(offsets)), offsets)
        write_whole(stage / "property", f"{len(faces.names)},{height},{width}\n")
        digest = _check_records(faces, order, rec)
        write_manifest(stage, faces, plan, "records", digest, size=(height, width))
    return Converted(out, len(faces), len(faces.names), kept)


def _write_records(
    faces: FaceSet,
    order: NDArray[np.int64],
    rec: Path,
    size: tuple[int, int],
    progress: Progress | None,
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

        def record(place: int) -> bytes:
            number = int(order[place])
            image, _ = encoded_image(faces, number)
            found = image_size(image, faces.origin(number))
            if found != size:
                raise InputError(
                    f"{faces.origin(number)}: expected {size[0]}x{size[1]} pixels as in the first "
                    f"image, found {found[0]}x{found[1]}; align them, or pack --to tfrecord"
                )
            label = int(faces.labels[number])
            return image_record(place + 1, label, bytes(image))

        written = 0
        for data in in_order(record, range(kept, images), progress):
            file.write(data)
            written += len(data)
            if written >= RELEASE_BYTES:
                faces.release()
                written = 0
        for key, first, last in _person_records(faces)[max(have - 1 - images, 0) :]:
            file.write(range_record(key, first, last))
    half.replace(rec)
    return kept


def _person_records(faces: FaceSet) -> list[tuple[int, int, int]]:
    """Key and range [first, last) of each person's record."""
    counts = np.bincount(faces.labels, minlength=len(faces.names))
    ends = (1 + np.cumsum(counts)).tolist()
    return [
        (len(faces) + 1 + person, end - count, end)
        for person, (end, count) in enumerate(zip(ends, counts.tolist(), strict=True))
    ]


def _check_records(faces: FaceSet, order: NDArray[np.int64], rec: Path) -> str:
    """The images' digest, after reading the record file again through its index."""
    records = open_records(rec)
    same = len(records) == len(faces) and np.array_equal(image_labels(records), faces.labels[order])
    ranges = np.array([row[1:] for row in _person_records(faces)])
    if not same or not np.array_equal(person_ranges(records), ranges):
        raise InputError(f"{rec}: the labels read back differ from the source's; remove it")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return checked_digest(faces, lambda i: read_image(records, int(place[i])).image)
