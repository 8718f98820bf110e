"""Which images lie in a folder, or are named by who has embedded them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from evaluator.errors import BinError
from evaluator.images.image_format import IMAGE_SUFFIXES
from evaluator.templates.lists import check_name

# Folders below which nothing is looked for: gallery/ID/CLIP/1.jpg is the deepest.
_DEEPEST = 3


def image_names(root: Path, folder: str, given: Sequence[str] | None) -> list[str]:
    """The images below a folder of ``root``, as paths below ``root``, sorted by code point; those
    among the names ``given`` where the folder is not there, or empty.

    Raises BinError as `image_names_below`, and for a given name that leads elsewhere; OSError.
    """
    if given is not None and not ((root / folder).is_dir() and any((root / folder).iterdir())):
        names = sorted({name for name in given if name.startswith(f"{folder}/")})
        for row, name in enumerate(names, 1):
            check_name(root / folder, row, name)
        return names
    return image_names_below(root, folder)


def image_names_below(root: Path, folder: str, *, depth: int = 1) -> list[str]:
    """The images in a folder, by their suffix, as paths with ``/`` below ``root``, sorted; hidden
    entries and other files are passed over, none in a folder that is not there.

    Raises BinError for a folder without an image in it, and for folders in folders beyond three;
    OSError.
    """
    if depth == 1 and not (root / folder).is_dir():
        return []
    found = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if depth == _DEEPEST:
                    raise BinError(f"{root / name}: a folder too deep; expected images here")
                below = image_names_below(root, name, depth=depth + 1)
                if not below:
                    raise BinError(f"{root / name}: holds no image; put one in, or remove it")
                found += below
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                found.append(name)
    return found if depth > 1 else sorted(found)
