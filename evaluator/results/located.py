"""Where a bin is that a result was measured on: bins move, their SHA-256 stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluator.errors import BinError
from evaluator.files import natural
from evaluator.results.record import BinRecord
from evaluator.results.stored import file_sha256, is_there


def located(record: BinRecord, folders: Sequence[Path]) -> Path | None:
    """The file or folder that a result was measured on, told by its SHA-256; None where it is not.

    Where it was is looked first, then in the folders and those right below them: at files of its
    name, then at all others of its ending. A template set is looked for by its name alone.
    """
    places = [Path(record.path), *_of_its_name(record, folders)] if record.path else []
    if record.kind is not None:
        return next((path for path in places if _is_set(path, record.sha256)), None)
    looked_at = itertools.chain(places, _others(record, folders))
    return next((path for path in looked_at if _is_bin(path, record)), None)


def _of_its_name(record: BinRecord, folders: Sequence[Path]) -> Iterator[Path]:
    name = Path(record.path).name
    for folder in folders:
        yield folder / name
        for below in _listed(folder, "*/"):
            yield below / name


def _others(record: BinRecord, folders: Sequence[Path]) -> Iterator[Path]:
    ending = Path(record.path).suffix or ".bin"
    for folder in folders:
        for pattern in (f"*{ending}", f"*/*{ending}"):
            yield from (path for path in _listed(folder, pattern) if path.stem != record.name)


def _listed(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern), key=lambda path: natural(str(path)))
    except (OSError, ValueError):
        return []


def _is_bin(path: Path, record: BinRecord) -> bool:
    """Whether it is that bin: hashed once a process, and only where it can hold so many labels."""
    try:
        return (
            is_there(path)
            and path.stat().st_size >= record.pairs
            and file_sha256(path) == record.sha256
        )
    except (OSError, ValueError):
        return False


def _is_set(path: Path, sha256: str) -> bool:
    from evaluator.templates.layouts import layout_of, read_template_set

    try:
        return layout_of(path) is not None and read_template_set(path).sha256 == sha256
    except (BinError, OSError, ValueError):
        return False
