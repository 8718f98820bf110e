"""A folder of faces into a folder of aligned faces; a stopped run goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from evaluator.errors import InputError
from evaluator.files import write_whole
from evaluator.images.decode import DecodeError
from evaluator.images.image_format import FORMATS, is_image_file
from training.data.convert.convert import in_order
from zoo.align.faces import (
    AlignOptions,
    aligned_image,
    check_missing,
    check_readable,
    find_landmarks,
    image_hashes,
    missing_faces,
)
from zoo.align.landmarks import Row, noted, read_noted, write_landmarks

#: What a run leaves beside the images: the landmarks of each, and the rows that have none.
LOG = "landmarks.csv"


@dataclass(frozen=True)
class Alignment:
    """What a run has done: images there now, how many of them were before, faces not found."""

    out: Path
    images: int
    kept: int
    missing: list[str]


def align_folder(
    source: Path,
    out: Path,
    options: AlignOptions,
    *,
    progress: Callable[[int], None] | None = None,
) -> Alignment:
    """Writes every image below ``source`` aligned to ``out``, under its path there, as a PNG.

    ``out/landmarks.csv`` notes what was found. A later run with it detects only what is new or has
    changed and writes only what is not there. With ``missing="fail"``, and where an image does not
    decode, the other faces are written before that is raised.

    Raises InputError for a folder without images, one inside the other, an ``out`` of something
    else, two images that would have one name, and images that do not decode; OSError.
    """
    names = image_files(source)
    _check_folders(source, out)
    targets = _targets(source, out, names)
    out.mkdir(parents=True, exist_ok=True)
    log = out / LOG
    before = read_noted(log)
    with noted(log):  # from now on the folder is known as one that this command began
        pass

    def read(name: str) -> bytes:
        return (source / name).read_bytes()

    hashes = image_hashes(names, read)
    for name, row in before.items():
        if name in targets and row.sha256 != hashes[name]:
            targets[name].unlink(missing_ok=True)  # it is of an image that is no longer there
    found = find_landmarks(hashes, read, given=options.landmarks, log=log, progress=progress)
    rows, unreadable = found.rows, dict(found.unreadable)
    missing = missing_faces(rows)
    gone = [] if options.missing == "crop" else missing
    for name in gone:
        targets[name].unlink(missing_ok=True)

    def write(name: str) -> bool:
        if targets[name].exists() and _same(before.get(name), rows[name]):
            return True
        try:
            face = aligned_image(name, read(name), rows[name], options)
        except DecodeError as error:  # with landmarks given, the first to decode it
            unreadable[name] = str(error)
            return False
        targets[name].parent.mkdir(parents=True, exist_ok=True)
        write_whole(targets[name], face)
        return False

    absent = set(gone)
    kept = sum(in_order(write, [name for name in rows if name not in absent]))
    write_landmarks(log, rows)  # last: a run stopped before finds what it has to do again
    check_readable(unreadable, len(names))
    check_missing(missing, len(names), options, log)
    return Alignment(out, len(names) - len(gone), kept, missing)


def image_files(folder: Path) -> list[str]:
    """The images below a folder as paths with ``/``, sorted. InputError for none; OSError."""
    found = []

    def stop(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(root).relative_to(folder)
        found += [
            (below / name).as_posix()
            for name in files
            if not name.startswith(".") and is_image_file(f"{root}/{name}")
        ]
    if not found:
        raise InputError(f"{folder}: holds no image: no {FORMATS}")
    return sorted(found)


def _check_folders(source: Path, out: Path) -> None:
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise InputError(f"{out}: expected a folder apart from {source}, not one inside the other")
    if out.is_dir() and any(out.iterdir()) and not (out / LOG).is_file():
        raise InputError(
            f"{out}: expected a new or empty folder, or one that zoo align began, found other files"
        )


def _targets(source: Path, out: Path, names: list[str]) -> dict[str, Path]:
    taken: dict[PurePosixPath, str] = {}
    for name in names:
        other = taken.setdefault(PurePosixPath(name).with_suffix(".png"), name)
        if other != name:
            raise InputError(
                f"{source}: {other} and {name} would both become {Path(name).stem}.png; rename one"
            )
    return {name: out / target for target, name in taken.items()}


def _same(before: Row | None, now: Row) -> bool:
    if before is None or (before.points is None) != (now.points is None):
        return False
    return before.sha256 == now.sha256 and (
        before.points is None or now.points is None or bool((before.points == now.points).all())
    )
