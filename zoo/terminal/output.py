"""Results as files and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.errors import InputError
from evaluator.files import whole_file

if TYPE_CHECKING:
    from evaluator.results.record import Result

#: How the pages of `zoo report` and `zoo project` begin.
PAGE_BEGINS = b"<!doctype html>"


def check_file_target(option: str, path: Path, *, begins: bytes) -> None:
    """Raises InputError where an option's file cannot be written, before the work begins.

    Nor may it be a file of another kind: ``--json old.h5 new.h5`` would lose a model. ``begins``
    is what files of the option's kind begin with.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; expected the name of a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if path.is_file():
        with path.open("rb") as file:
            found = file.read(len(begins))
        if found not in (b"", begins):
            raise InputError(
                f"{option} {path}: is a file of another kind, and is not overwritten; give another "
                "name, or remove it"
            )


def write_json(results: Sequence[Result], target: str) -> None:
    """Writes results as a JSON list to a file, whole or not at all, or to stdout for ``-``."""
    from evaluator.results.record import to_dict  # imports NumPy, which an error does without

    text = json.dumps([to_dict(result) for result in results], indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    with whole_file(Path(target)) as file:
        file.write(text.encode())
