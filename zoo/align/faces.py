"""Images of faces, aligned: landmarks from a CSV or a detector, and what to do without any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import InputError
from evaluator.images.alignment import aligned, centre_crop
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.png import png_bytes
from training.data.convert.convert import in_order
from zoo.align.detector import detected
from zoo.align.landmarks import Row, noted, read_landmarks, read_noted, write_landmarks

Read = Callable[[str], bytes]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class AlignOptions:
    """``landmarks``: a CSV, None to detect. ``missing``, for a face not found: ``fail``, ``skip``
    the image, or ``crop`` the centre, ``crop_fraction`` of the shorter side.
    """

    landmarks: Path | None = None
    missing: str = "fail"
    crop_fraction: float = 1.0


@dataclass(frozen=True)
class Found:
    """A row for each image, in order, and for those that do not decode what is wrong with them."""

    rows: dict[str, Row]
    unreadable: dict[str, str]


def find_landmarks(
    hashes: Mapping[str, str],
    read: Read,
    *,
    given: Path | None,
    log: Path,
    progress: Progress | None = None,
) -> Found:
    """A row for each image: from the CSV ``given``, else detected and noted in ``log`` one by one.

    ``hashes`` are the images' names and SHA-256. What ``log`` has of the same bytes is not
    detected again. At the end it holds these rows in the order of their names. An image that does
    not decode has no row and is tried again by the next run.
    """
    names = list(hashes)
    if given is not None:
        return Found(_given_landmarks(hashes, given), {})
    known = read_noted(log)
    rows = {n: known[n] for n in names if n in known and known[n].sha256 == hashes[n]}
    todo = [name for name in names if name not in rows]
    unreadable = {}
    if progress:
        progress(len(rows))
    with noted(log) as note:
        for name, found in zip(todo, detected(todo, read), strict=True):
            if isinstance(found, str):
                unreadable[name] = found
            else:
                rows[name] = Row(found, hashes[name])
                note(name, rows[name])
            if progress:
                progress(1)
    write_landmarks(log, rows)
    return Found({name: rows[name] for name in names if name in rows}, unreadable)


def image_hashes(names: Sequence[str], read: Read) -> dict[str, str]:
    """The images' SHA-256 by name."""
    digests = in_order(lambda name: hashlib.sha256(read(name)).hexdigest(), names)
    return dict(zip(names, digests, strict=True))


def _given_landmarks(hashes: Mapping[str, str], given: Path) -> dict[str, Row]:
    rows = read_landmarks(given)
    if hashes and not any(name in rows for name in hashes):
        raise InputError(
            f"{given}: names none of the {len(hashes)} images; files go by their path below the"
            f" folder, as {next(iter(hashes))!r}"
        )
    found = {}
    for name, sha256 in hashes.items():
        row = rows.get(name, Row(None))
        if row.sha256 not in ("", sha256):
            raise InputError(
                f"{given}: its landmarks of {name} are of another image than the one there now;"
                " detect them again, or leave its sha256 empty if they fit"
            )
        found[name] = Row(row.points, sha256)
    return found


def missing_faces(rows: Mapping[str, Row]) -> list[str]:
    """The images without landmarks, in order."""
    return [name for name, row in rows.items() if row.points is None]


def check_missing(missing: Sequence[str], total: int, options: AlignOptions, log: Path) -> None:
    """Raises InputError for images without a face, if that is to fail."""
    if missing and options.missing == "fail":
        more = ", ..." if len(missing) > 3 else ""
        raise InputError(
            f"no face found in {len(missing)} of {total} images: {', '.join(missing[:3])}{more}"
            f" (the rows without numbers in {options.landmarks or log}); fill them in and pass the"
            " file as --landmarks, or choose --missing skip or --missing crop"
        )


def check_readable(unreadable: Mapping[str, str], total: int) -> None:
    """Raises InputError for images that do not decode, naming the first by its name."""
    if unreadable:
        name = min(unreadable)
        more = f" (and {len(unreadable) - 1} others of {total})" if len(unreadable) > 1 else ""
        raise InputError(f"{name}: the image {unreadable[name]}{more}; remove it or get it again")


def aligned_image(name: str, data: bytes, row: Row, options: AlignOptions) -> bytes:
    """The image aligned, or its centre where there are no landmarks, as a PNG of 112x112.

    Raises DecodeError, and InputError for landmarks that give no alignment.
    """
    pixels = decode_image(data)
    if row.points is None:
        return png_bytes(centre_crop(pixels, fraction=options.crop_fraction))
    try:
        return png_bytes(aligned(pixels, row.points))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def align_images(
    names: Sequence[str],
    read: Read,
    options: AlignOptions,
    *,
    log: Path,
    progress: Progress | None = None,
) -> tuple[dict[str, bytes], list[str]]:
    """The aligned images by name, and the names in which no face was found.

    With ``skip`` these are not among the images. Raises InputError as ``find_landmarks``, and for
    missing faces with ``fail``.
    """
    found = find_landmarks(
        image_hashes(names, read), read, given=options.landmarks, log=log, progress=progress
    )
    check_readable(found.unreadable, len(names))
    rows = found.rows
    missing = missing_faces(rows)
    check_missing(missing, len(names), options, log)
    kept = [n for n in names if rows[n].points is not None or options.missing == "crop"]

    def cut(name: str) -> bytes:
        try:
            return aligned_image(name, read(name), rows[name], options)
        except DecodeError as error:
            raise InputError(f"{name}: the image {error}; remove it or get it again") from None

    images = in_order(cut, kept)
    return dict(zip(kept, images, strict=True)), missing
