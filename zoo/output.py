"""Results as files and JSON, and p-values in words."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.errors import InputError
from evaluator.results import to_dict

if TYPE_CHECKING:
    from evaluator.results import Result


def check_file_target(option: str, path: Path) -> None:
    """Raises InputError where an option's file cannot be written, before the work begins."""
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; expected the name of a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")


def write_json(results: Sequence[Result], target: str) -> None:
    """Writes results as a JSON list to a file, whole or not at all, or to stdout for ``-``."""
    text = json.dumps([to_dict(result) for result in results], indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    path = Path(target)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def p_text(value: float) -> str:
    """A p-value for readers: three digits, and never 0."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
