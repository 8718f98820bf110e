"""Labelled faces as TFRecord shards of ``tf.train.Example``.

Features: ``image/encoded`` (the bytes as they are), ``image/format``, ``image/class/label`` (the
contiguous id, from 0) and ``image/class/text`` (the person's name).
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.files import whole_path
from evaluator.models.runtime import import_tensorflow
from training.data.convert.convert import (
    Converted,
    Progress,
    by_processes,
    changed,
    check_files,
    encoded_image,
    faces_again,
    images_digest,
    write_manifest,
)
from training.data.convert.staging import finished, staged
from training.data.sources.faces import FaceSet

Answer = TypeVar("Answer")

IMAGES_PER_SHARD = 16384  # about 100 MB of 112x112 JPEG


def pack_tfrecords(
    faces: FaceSet,
    out: Path,
    *,
    shards: int | None = None,
    force: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Converted:
    """Writes ``train-00000-of-0000n.tfrecord`` and so on, and a manifest with the class count.

    Image i goes to shard i modulo ``shards`` (by default as many as hold 16,384 images each), so
    that each shard is a cross-section of the people and a shuffle buffer mixes them. Whole shards
    of a run that was cut short are kept. At the end every shard is read again, its checksums
    tested, and compared. ``jobs`` processes write shards, and compare them: the same bytes.

    Raises InputError for an image of no known format, fewer than one shard or more shards than
    images, an ``out`` that holds other files, and for what does not read back.
    """
    count = shards if shards is not None else -(-len(faces) // IMAGES_PER_SHARD)
    if not 1 <= count <= len(faces):
        raise InputError(f"shards: expected 1 to {len(faces)}, one image each; found {count}")
    plan = {"to": "tfrecord", "fingerprint": faces.fingerprint, "shards": count}
    done = finished(out, plan)
    if done and not force:
        check_files(out, done)
        return Converted(out, done["images"], done["classes"], done["images"])
    digests = np.empty((len(faces), 32), dtype=np.uint8)
    with staged(out, plan, force=force) as stage:
        paths = [stage / f"train-{s:05d}-of-{count:05d}.tfrecord" for s in range(count)]
        kept = sum(len(range(s, len(faces), count)) for s in range(count) if paths[s].exists())
        if progress:
            progress(kept)
        for size in _each(_write_shard, faces, paths, jobs):
            if progress:
                progress(size)
        for shard, found in enumerate(_each(_check_shard, faces, paths, jobs)):
            digests[shard::count] = found
            faces.release()
        digest = images_digest(digests, faces.labels)
        write_manifest(stage, faces, plan, "tfrecord", digest)
    return Converted(out, len(faces), len(faces.names), kept)


def _each(
    work: Callable[[FaceSet, list[Path], int], Answer], faces: FaceSet, paths: list[Path], jobs: int
) -> Iterator[Answer]:
    """``work`` of every shard, in order, by threads or by so many processes."""
    shards = range(len(paths))
    if jobs > 1:
        yield from by_processes(
            functools.partial(_apart, work, faces.source, faces.fingerprint, paths), shards, jobs
        )
        return
    import_tensorflow()  # before the threads, each of which imports it
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda shard: work(faces, paths, shard), shards)


def _apart(
    work: Callable[[FaceSet, list[Path], int], Answer],
    source: Path,
    fingerprint: str,
    paths: list[Path],
    shard: int,
) -> Answer:
    """In a process of its own: ``work`` of a shard."""
    import_tensorflow()
    faces = faces_again(source, fingerprint)
    found = work(faces, paths, shard)
    faces.release()
    return found


def examples(path: Path) -> Iterator[Any]:
    """The ``tf.train.Example`` messages of one shard, checksums tested.

    Raises InputError where the file is no TFRecord file, is damaged, or is cut off.
    """
    import tensorflow as tf

    number = 0
    try:
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield tf.train.Example.FromString(raw)
            number += 1
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError) as error:
        raise InputError(f"{path}: after {number} whole records: {error.message}") from None


def _write_shard(faces: FaceSet, paths: list[Path], shard: int) -> int:
    """Writes one shard if it is not there; how many images were written."""
    import tensorflow as tf

    if paths[shard].exists():
        return 0
    numbers = range(shard, len(faces), len(paths))
    with whole_path(paths[shard]) as half, tf.io.TFRecordWriter(str(half)) as writer:
        for number in numbers:
            writer.write(_example(faces, number))
    return len(numbers)


def _example(faces: FaceSet, number: int) -> bytes:
    import tensorflow as tf

    image, kind = encoded_image(faces, number)
    label = int(faces.labels[number])
    text = faces.names[label].encode("utf-8", "surrogateescape")

    def raw(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    feature = {
        "image/encoded": raw(bytes(image)),
        "image/format": raw(kind.encode()),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "image/class/text": raw(text),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString(deterministic=True))


def _check_shard(faces: FaceSet, paths: list[Path], shard: int) -> NDArray[np.uint8]:
    """Compares a shard with the source; the digest of each of its images, (n, 32)."""
    numbers = list(range(shard, len(faces), len(paths)))
    digests = np.empty((len(numbers), 32), dtype=np.uint8)
    found = 0
    for example in examples(paths[shard]):
        if found < len(numbers):
            feature = example.features.feature
            encoded = feature["image/encoded"].bytes_list.value[0]
            label = feature["image/class/label"].int64_list.value[0]
            if (label, encoded) != (faces.labels[numbers[found]], faces.read(numbers[found])):
                raise changed(faces, numbers[found])
            digests[found] = np.frombuffer(hashlib.sha256(encoded).digest(), np.uint8)
        found += 1
    if found != len(numbers):
        raise InputError(
            f"{paths[shard]}: expected {len(numbers)} records, found {found}; remove it"
        )
    return digests
