"""The files that the names of a list mean, though they are spelt otherwise there."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from evaluator.bins.pairs_file import Pair
from evaluator.errors import InputError
from evaluator.images.image_format import IMAGE_SUFFIXES, is_image_file
from zoo.bins.build import image_names

# Suffixes of images beyond those that are always taken at their word.
_SUFFIXES = (*IMAGE_SUFFIXES, ".jfif", ".jpe", ".tif", ".tiff", ".gif", ".avif", ".heic")


def find_images(
    pairs: Sequence[Pair], folder: Path, source: Path
) -> tuple[list[Pair], dict[str, int]]:
    """The pairs with names that are files below ``folder``, and how many are spelt otherwise.

    A name without suffix gets that of its file, the first of ``_SUFFIXES`` or else an image of any.
    Where no file has a name: its backslashes are ``/``, its accents are composed or not (NFC, NFD),
    and last its suffix may be another (`zoo align` writes PNGs); by these words they are counted.

    Raises InputError for the first image that is missing, with the file wanted; OSError.
    """
    if not folder.is_dir():
        raise InputError(f"--images {folder}: no such folder")
    known: dict[str, str] = {}
    otherwise: Counter[str] = Counter()
    index: dict[str, list[str]] = {}
    for name in image_names(pairs):
        found = _as_it_is(name, folder)
        if found is None:
            if not index:
                index = _index(folder)
            found, how = _spelt_otherwise(name, folder, source, index)
            otherwise[how] += 1
        known[name] = found
    return [Pair(known[p.left], known[p.right], p.genuine, p.people) for p in pairs], {
        how: count for how, count in otherwise.items() if how
    }


def _as_it_is(name: str, folder: Path) -> str | None:
    """The file of that very name, or with a suffix where it has none."""
    if (folder / name).is_file():
        return name
    if _suffix(name):
        return None
    return next((f"{name}{end}" for end in _SUFFIXES if (folder / f"{name}{end}").is_file()), None)


def _suffix(name: str) -> str:
    """The suffix of a name, if it is an image's: RFW's people have points in their names."""
    end = PurePosixPath(name).suffix
    return end if end.lower() in _SUFFIXES else ""


def _plain(name: str) -> str:
    """What names that are spelt otherwise have in common."""
    return os.path.normpath(unicodedata.normalize("NFC", name.replace("\\", "/")))


def _index(folder: Path) -> dict[str, list[str]]:
    """The files below a folder by their plain name, and by that without its suffix."""

    def stop(error: OSError) -> None:
        raise error

    index: dict[str, list[str]] = {"": []}
    for root, _, files in os.walk(folder, onerror=stop):
        below = Path(root).relative_to(folder)
        for file in files:
            name = (below / file).as_posix()
            plain = _plain(name)
            index.setdefault(plain, []).append(name)
            stem = str(PurePosixPath(plain).with_suffix(""))
            if stem != plain:
                index.setdefault(f"{stem}\0", []).append(name)
    return index


def _spelt_otherwise(
    name: str, folder: Path, source: Path, index: dict[str, list[str]]
) -> tuple[str, str]:
    """The file meant by a name that none has, and what is otherwise."""
    plain, end = _plain(name), _suffix(name)
    stem = plain.removesuffix(end)
    how = "backslashes" if "\\" in name else "accents"
    there = index.get(plain, [])
    if not there:
        there = [each for each in index.get(f"{stem}\0", []) if is_image_file(folder / each)]
        how = "suffix" if end else how
    if len(there) == 1:
        return there[0], "" if there[0].startswith(name) else how
    wanted = folder / name
    if there:
        raise InputError(f"{source}: wants {wanted}, and {there[0]} and {there[1]} could be it")
    missing = str(wanted) if end else f"{wanted}.jpg (or {', '.join(IMAGE_SUFFIXES[1:])})"
    raise InputError(f"{source}: wants {missing}, which is missing; is --images the right folder?")
