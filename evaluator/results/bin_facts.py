"""What is known of a bin besides its file: what its images are and who is in its pairs, once for
all results on it.

In a folder of results, ``bin-<SHA-256 of the bin>.h5`` has `images`, the number of the bytes in
each slot, the same in all bins; `people`, the number of the person in each, and where they come
from: the path of the pairs file, its size and time. Each may be missing. It is written
when a bin is measured, and when somebody asks about it and a pairs file stands beside it that was
not seen yet. A pairs file that goes away takes nobody with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import check_labels, numbered_people, read_pairs_csv, sidecar_path
from evaluator.errors import BinError, ResultError
from evaluator.files import (
    file_sha256,
    remove_leftovers,
    temporaries_of,
    write_whole,
)
from evaluator.results.record import BinRecord
from evaluator.results.scores_file import Layout, hdf5_arrays, hdf5_bytes

# A path has 4,096 bytes at most; the rest is zeros.
_PATH_BYTES = 4096


_Stamp = tuple[int, int, int]  # size, time and inode of a file


class _Source(NamedTuple):
    """The state of a pairs file when the people were taken from it."""

    path: str
    size: int
    modified_ns: int


class _Facts(NamedTuple):
    """(2 x pairs,) numbers of people and of images, read-only; None for what nobody noted."""

    people: NDArray[np.int64] | None = None
    images: NDArray[np.int64] | None = None
    source: _Source | None = None


# What was to be noted already: once in a process, be the folder one to read alone.
_TRIED: set[tuple[Path, _Stamp | None, _Source]] = set()


def facts_path(folder: Path, sha256: str) -> Path:
    """Where the facts of a bin of that SHA-256 stand in a folder of results."""
    # No folder: those are models'.
    return folder / f"bin-{sha256}.h5"


def known_people(
    folder: Path, record: BinRecord, genuine: NDArray[np.bool_]
) -> NDArray[np.int64] | None:
    """The number of the person in each slot of a bin, (2 x pairs,), read-only; None where nobody
    knows. ``folder`` is that of all results, ``genuine`` (pairs,) the bin's labels.

    A pairs file beside the bin's path counts, as long as the bin there is the one of that SHA-256,
    and is noted in the folder if that can be written to. Raises ResultError for facts or a pairs
    file that are damaged or not of these labels.
    """
    at = facts_path(folder, record.sha256)
    damage = None
    try:
        facts = _read(at, _stamp(at), record.pairs)
    except ResultError as error:
        facts, damage = _Facts(), error
    people = _newer_people(at, record, genuine, facts)
    if people is not None:
        return people
    if damage is not None:
        raise damage
    if facts.people is not None and not np.array_equal(_labels(facts.people), genuine):
        raise ResultError(
            f"{at}: its people do not go with the labels of the result on {record.name}; remove it"
        )
    return facts.people


def known_images(folder: Path, record: BinRecord) -> NDArray[np.int64] | None:
    """The number of the bytes in each slot of a bin, (2 x pairs,), read-only and the same in all
    bins; None where nobody noted them.
    """
    return _whole(facts_path(folder, record.sha256), record.pairs).images


def keep_facts(
    folder: Path,
    record: BinRecord,
    *,
    people: NDArray[np.int64] | None = None,
    images: NDArray[np.int64] | None = None,
) -> None:
    """Notes in a folder of results who and what is in each slot of a bin, (2 x pairs,) each; None
    leaves what is known. Raises OSError.
    """
    at = facts_path(folder, record.sha256)
    facts = _whole(at, record.pairs)
    people, images = _newer(people, facts.people), _newer(images, facts.images)
    same_people = people is facts.people
    if not same_people or images is not facts.images:
        _write(at, _Facts(people, images, facts.source if same_people else None))


def _newer(
    given: NDArray[np.int64] | None, known: NDArray[np.int64] | None
) -> NDArray[np.int64] | None:
    """What is given, or the known itself where that is no other."""
    if given is None or (known is not None and np.array_equal(given, known)):
        return known
    return given


def _whole(at: Path, pairs: int) -> _Facts:
    """The facts at a path; none where they are damaged, and may be replaced."""
    with suppress(ResultError):
        return _read(at, _stamp(at), pairs)
    return _Facts()


def _labels(people: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs are genuine: what people say, labels say too."""
    same: NDArray[np.bool_] = people[0::2] == people[1::2]
    return same


# ---- The pairs file beside a bin -----------------------------------------------------------------


def _newer_people(
    at: Path, record: BinRecord, genuine: NDArray[np.bool_], facts: _Facts
) -> NDArray[np.int64] | None:
    """The people by the pairs file beside the bin, where it says more than the facts do."""
    bin_path = Path(record.path).absolute()
    if not record.path or not bin_path.name:  # scored elsewhere; no file's name
        return None
    beside = sidecar_path(bin_path)
    stamp, bin_stamp = _stamp(beside), _stamp(bin_path)
    if stamp is None or bin_stamp is None:
        return None
    source = _Source(str(beside), *stamp[:2])
    if facts.source is not None and not _follows(source, facts.source):
        return None
    try:
        people = _people_beside(bin_path, bin_stamp, stamp, record.sha256)
        if people is None:
            return None
        check_labels(beside, _labels(people), genuine)
    except BinError as error:
        raise ResultError(str(error)) from None
    except OSError as error:
        raise ResultError(f"{beside}: no pairs file ({error.strerror}); remove it") from None
    tried = at, _stamp(at), source
    if tried not in _TRIED:
        _TRIED.add(tried)
        with suppress(OSError):
            _write(at, _Facts(people, _whole(at, record.pairs).images, source))
    return people


def _follows(source: _Source, noted: _Source) -> bool:
    """Whether a pairs file is newer than the one noted; copies of a bin may have one each."""
    if source.path == noted.path:
        return source != noted
    return source.modified_ns > noted.modified_ns


@lru_cache(maxsize=64)
def _people_beside(
    bin_path: Path, bin_stamp: _Stamp, stamp: _Stamp, sha256: str
) -> NDArray[np.int64] | None:
    # The stamps are in the key: a bin is asked about once for each result on it.
    del bin_stamp, stamp
    try:
        own = file_sha256(bin_path)
    except OSError:  # no file, or none that may be read: nobody can tell whose pairs these are
        return None
    people = numbered_people(read_pairs_csv(sidecar_path(bin_path))) if own == sha256 else None
    if people is not None:
        people.flags.writeable = False
    return people


def _stamp(path: Path) -> _Stamp | None:
    """What tells that a file is another than before, without reading it; None without a file."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # a path that no file can have, too
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


# ---- The file ------------------------------------------------------------------------------------


def _layout(pairs: int) -> Layout:
    slots = {"people": 2 * pairs, "images": 2 * pairs}
    lengths = {**slots, "pairs_file": _PATH_BYTES, "pairs_file_state": 2}
    return Layout(lengths, set(lengths), "facts of a bin", "remove it")


@lru_cache(maxsize=64)
def _read(at: Path, stamp: _Stamp | None, pairs: int) -> _Facts:
    """The facts at a path, or none. Raises ResultError."""
    # The stamp is in the key: 10,000 results on 12 bins ask 10,000 times, and 12 files are read.
    if stamp is None:
        return _Facts()
    arrays = hdf5_arrays(at, _layout(pairs))
    people, images = (_read_only(arrays.get(name)) for name in ("people", "images"))
    return _Facts(people, images, _source(arrays))


def _read_only(values: NDArray[np.generic] | None) -> NDArray[np.int64] | None:
    if values is None:
        return None
    numbers = values.astype(np.int64)
    numbers.flags.writeable = False
    return numbers


def _source(arrays: Mapping[str, NDArray[np.generic]]) -> _Source | None:
    if "pairs_file" not in arrays or "pairs_file_state" not in arrays:
        return None
    path = os.fsdecode(arrays["pairs_file"].astype(np.uint8).tobytes().rstrip(b"\0"))
    return _Source(path, *map(int, arrays["pairs_file_state"]))


def _write(at: Path, facts: _Facts) -> None:
    known = {"people": facts.people, "images": facts.images}
    arrays: dict[str, NDArray[np.generic]] = {
        name: values.astype(np.int64) for name, values in known.items() if values is not None
    }
    if facts.source is not None:
        path = os.fsencode(facts.source.path)[:_PATH_BYTES].ljust(_PATH_BYTES, b"\0")
        arrays["pairs_file"] = np.frombuffer(path, np.uint8)
        arrays["pairs_file_state"] = np.array(facts.source[1:], np.int64)
    at.parent.mkdir(parents=True, exist_ok=True)
    write_whole(at, hdf5_bytes(arrays))
    own = re.compile(temporaries_of(re.escape(at.name[:80])))
    remove_leftovers(at.parent, own, now=at.stat().st_mtime)
