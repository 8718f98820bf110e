"""Where a bin is looked for by its name alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from evaluator.errors import InputError, unknown_name
from evaluator.files import natural


def usual_folders(stated: Sequence[Path] = ()) -> list[Path]:
    """$ZOO_DATA's, those that settings state, ./datasets, and here."""
    listed = [Path(part) for part in os.environ.get("ZOO_DATA", "").split(os.pathsep) if part]
    return list(dict.fromkeys([*listed, *stated, Path("datasets"), Path()]))


def available_bins(folders: Sequence[Path]) -> dict[str, Path]:
    """Name -> file of every bin in the folders; of several with one name, the first folder's."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.glob("*.bin"), key=lambda path: natural(path.name)):
                found.setdefault(path.stem, path)
    return found


def bin_path(value: str | Path) -> Path:
    """The path itself; of a plain name that is none, with or without ``.bin``, the bin or template
    set of that name in the usual folders. Raises InputError for a name that is nowhere.
    """
    path = Path(value)
    if path.exists() or path.parent != Path():
        return path
    folders = usual_folders()
    for there in (each / name for each in folders for name in (f"{value}.bin", str(value))):
        if there.exists():
            return there
    looked = ", ".join(map(str, folders))
    raise InputError(
        f"no bin {str(value)!r}: looked for a file of that path and in {looked}; "
        f"{unknown_name(str(value), available_bins(folders))}"
    )
