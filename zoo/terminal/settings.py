"""zoo.toml: what a working folder asks for where neither an option nor the environment does."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from evaluator import choices
from evaluator.errors import InputError, printable
from evaluator.profiles import PROFILES, profile_text

#: Looked for in the working folder alone: what a command does never depends on the folders above.
FILE = Path("zoo.toml")
_PROJECT = Path("pyproject.toml")

# Far more than settings take; a file of gigabytes is none.
_LARGEST = 2**20


def _path(value: Any) -> Path | None:
    return Path(value) if isinstance(value, str) and value.strip() else None


def _paths(value: Any) -> list[Path] | None:
    found = [_path(each) for each in (value if isinstance(value, list) else [value])]
    return [each for each in found if each is not None] if all(found) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 1 <= value <= 4096 else None


def _word(words: Any) -> tuple[Callable[[Any], Any], str]:
    known = get_args(words)
    return lambda value: value if value in known else None, f"one of {', '.join(known)}"


def _input(value: Any) -> str | None:
    try:
        return profile_text(value) if isinstance(value, str) else None
    except InputError:
        return None


_NUMBER = _count, "a whole number in 1..4096"
_FOLDER = _path, "a path"

# The options of `zoo eval` that a folder may set.
_OF_EVAL = {
    "flip": _word(choices.Flip),
    "decoder": _word(choices.Decoder),
    "precision": _word(choices.Precision),
    "engine": _word(choices.Engine),
    "batch-size": _NUMBER,
    "jobs": _NUMBER,
}

#: Every key that there is, with how its value is read and what is expected. Nothing that lets code
#: run (trust, custom, backend) is or may be among them: a folder may be somebody else's.
KEYS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "data": (_paths, "a path, or a list of paths"),
    "results": _FOLDER,
    "registry": _FOLDER,
    "input": (_input, f"one of {', '.join(PROFILES)}, or words as zoo eval --input takes them"),
    "channels": _word(Literal["rgb", "bgr"]),
    **_OF_EVAL,
}


@dataclass(frozen=True)
class Settings:
    """What a file asks for: ``values`` by key, in the file's order. ``path`` None: no file does."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def measuring(self) -> str:
        """What of it decides what figures a model gets, in words; empty for nothing."""
        places = ("data", "results", "registry", "batch-size", "jobs")
        keys = [key for key in self.values if key not in places]
        return ", ".join(f"{key} {self.values[key]}" for key in keys)

    def defaults(self, command: Any, name: str = "") -> dict[str, Any]:
        """The values as Click's defaults for a command (its ``name``) and for those below it."""
        if hasattr(command, "commands"):
            return {each: self.defaults(sub, each) for each, sub in command.commands.items()}
        keys = {"results", *_OF_EVAL} if name == "eval" else {"results"}
        wanted = {key.replace("-", "_"): self.values[key] for key in keys & self.values.keys()}
        return {
            each.name: [wanted[each.name]] if each.multiple else wanted[each.name]
            for each in command.params
            if each.name in wanted and each.param_type_name == "option"
        }


def read_settings() -> Settings:
    """Those of ./zoo.toml, else of [tool.zoo] in ./pyproject.toml.

    Raises InputError for what is no TOML, an unknown key and a value of another kind; OSError.
    """
    if FILE.exists():
        return Settings(FILE, _checked(_table(FILE), FILE))
    if not _PROJECT.exists():
        return Settings()
    found = _table(_PROJECT).get("tool", {}).get("zoo")
    return Settings() if found is None else Settings(_PROJECT, _checked(found, "tool.zoo"))


def _table(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        raise InputError(f"{path}: expected a file of settings, of at most 1 MiB")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's are ValueErrors
        raise InputError(f"{path}: is no TOML: {printable(str(error))}") from None


def _checked(table: Any, where: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InputError(f"{_PROJECT}: {where}: expected keys with values")
    found = {}
    for key, value in table.items():
        if key not in KEYS:
            raise InputError(
                f"{where}: unknown key {printable(key)!r}; there is: {', '.join(KEYS)}. What lets "
                "code run is asked for on the command line alone"
            )
        read, expected = KEYS[key]
        found[key] = read(value)
        if found[key] is None:
            raise InputError(f"{where}: {key}: expected {expected}; found {printable(repr(value))}")
    return found
