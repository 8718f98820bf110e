"""What models and bins are called: which a word means, and what tells them apart.

A name, a pattern, a folder or the beginning of a hash means the same to all who ask for a model.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from evaluator.errors import plain_name
from evaluator.results.record import BinRecord, ModelRecord, Result
from evaluator.results.stored import Stored, file_sha256, is_there

# Models whose file was overwritten that are named in a line each.
_LINES = 3

_HASH = re.compile(r"[0-9a-f]{4,64}")


class Named(NamedTuple):
    """What a model or a bin is asked for by. A model's ``digest`` is its identity, ``file_digest``
    its file's alone; a bin has one. ``path`` is a model's as it was measured.
    """

    name: str
    digest: str
    file_digest: str
    path: str = ""


def model_named(model: ModelRecord) -> Named:
    """What the model of a result is asked for by."""
    return Named(model.name, model.identity, model.sha256, model.path)


def bin_named(record: BinRecord) -> Named:
    """What the bin of a result is asked for by."""
    return Named(record.name, record.sha256, record.sha256)


def meant(value: str, known: Iterable[Named]) -> list[Named]:
    """Those of the known that a value means; the first of these rules that finds any decides.

    It is their name; a pattern of it (``*``, ``?``, ``[...]``); the path of the very file; the end
    of the path that a model was measured at, with its ending or without (``run/epoch_1``), or a
    pattern of that; the beginning of their digest, four hexadecimal digits or more; else of their
    file's.
    """
    there = list(known)
    if found := by_name(value, there):
        return found
    if is_there(path := Path(value)):
        of_file = file_sha256(path)
        return [each for each in there if of_file in (each.digest, each.file_digest)]
    if found := [each for each in there if is_at(each.path, value)]:
        return found
    if not is_hash_prefix(value):
        return []
    begins = value.lower()
    return [each for each in there if each.digest.startswith(begins)] or [
        each for each in there if each.file_digest.startswith(begins)
    ]


def by_name(value: str, known: Sequence[Named]) -> list[Named]:
    """Those of the known whose name a value is, or else is a pattern of."""
    found = [each for each in known if each.name == value]
    return found or [each for each in known if fnmatch.fnmatchcase(each.name, value)]


def is_at(path: str, value: str) -> bool:
    """Whether a value with a folder in it is the end of a path, or a pattern of such an end."""
    if "/" not in value or not path:
        return False
    wanted = value.removeprefix("./")
    for each in (PurePath(path), PurePath(path).with_suffix("")):
        text = f"/{each.as_posix().removeprefix('/')}"
        if text.endswith(f"/{wanted.lstrip('/')}"):
            return True
        if is_pattern(wanted) and fnmatch.fnmatchcase(text, f"*/{wanted.lstrip('/')}"):
            return True
    return False


def is_hash_prefix(value: str) -> bool:
    """Whether a value can be meant as the beginning of a SHA-256: 4 hexadecimal digits or more."""
    return _HASH.fullmatch(value.lower()) is not None


def is_pattern(value: str) -> bool:
    """Whether a value can mean several names."""
    return any(sign in value for sign in "*?[")


# ---- Files that were overwritten -----------------------------------------------------------------


def overwritten(results: Iterable[Stored]) -> dict[tuple[str, str], str]:
    """(name, identity) of each model whose file another one has replaced, with a line on both.

    Of models of one name that were measured at one path, the one that was measured last is there
    now; those measured at the same moment replace nobody.
    """
    at: dict[tuple[str, str], dict[str, str]] = {}
    for each in results:
        model, created = each.result.model, each.result.created
        own = at.setdefault((model.name, model.path), {})
        own[model.identity] = max(created, own.get(model.identity, ""))
    older: dict[tuple[str, str], str] = {}
    current = set()
    for (name, path), own in at.items():
        newest = max(own, key=lambda identity: own[identity])
        for identity, created in own.items():
            if created == own[newest]:
                current.add((name, identity))
            else:
                older[name, identity] = (
                    f"{name}: latest {newest[:8]} ({_when(own[newest])}, {plain_name(path)}); "
                    f"older {identity[:8]} ({_when(created)}), asked for by its hash"
                )
    return {key: line for key, line in older.items() if key not in current}


def in_few_lines(older: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    """The lines of `overwritten`, or one for all where they are many."""
    if len(older) <= _LINES:
        return tuple(older.values())
    named = ", ".join(f"{name} {identity[:8]}" for name, identity in list(older)[:_LINES])
    return (
        f"{len(older):,} models whose files were overwritten since ({named}, ...): a name means "
        "the latest, a hash an older one",
    )


def _when(created: str) -> str:
    return created[:16].replace("T", " ")


# ---- Labels --------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A model that is shown with others: ``words`` are its settings that are no default, ``path``
    and ``created`` where and when it was measured.
    """

    name: str
    identity: str
    words: str = ""
    path: str = ""
    created: str = ""


def model_labels(models: Sequence[Shown], *, with_settings: bool = False) -> list[str]:
    """What models that are shown together are called.

    The name; where another model has that name, the folders that tell them apart before it
    (``run1/basic_model``), or where a file was overwritten or no folder tells, eight digits of the
    identity behind it; and the words where another variant has the name, or ``with_settings``, for
    a table that tells them nowhere else.
    """
    of_name: dict[str, dict[str, Shown]] = {}
    variants: dict[str, set[str]] = {}
    for each in models:
        known = of_name.setdefault(each.name, {}).get(each.identity, each)
        of_name[each.name][each.identity] = max(known, each, key=lambda one: one.created)
        variants.setdefault(each.name, set()).add(each.words)
    apart = {name: _apart(own) for name, own in of_name.items() if len(own) > 1}
    found = []
    for each in models:
        label, extra = each.name, list[str]()
        if each.name in apart:
            label, extra = apart[each.name][each.identity]
        if each.words and (with_settings or len(variants[each.name]) > 1):
            extra = [*extra, each.words]
        found.append(f"{label} ({', '.join(extra)})" if extra else label)
    return found


def model_key(result: Result) -> str:
    """What tells the model of a result, by its name, from others."""
    return f"{result.model.identity} {result.model.name}"


def labels_of(results: Sequence[Result]) -> dict[str, str]:
    """What the models of results that are shown together are called, by `model_key`."""
    shown = [
        Shown(each.model.name, each.model.identity, "", each.model.path, each.created)
        for each in results
    ]
    return dict(zip(map(model_key, results), model_labels(shown), strict=True))


def _apart(models: Mapping[str, Shown]) -> dict[str, tuple[str, list[str]]]:
    """By identity, what models of one name are called, and what stands in brackets behind it."""
    folders = _folders_of({each.path for each in models.values()}, next(iter(models.values())).name)
    at: dict[str, list[Shown]] = {}
    for each in models.values():
        at.setdefault(each.path, []).append(each)
    found = {}
    for identity, each in models.items():
        extra = []
        if len(at[each.path]) > 1 or not folders:
            extra.append(identity[:8])
            if each.created < max(other.created for other in at[each.path]):
                extra.append("older")
        found[identity] = folders.get(each.path, each.name), extra
    return found


def _folders_of(paths: set[str], name: str) -> dict[str, str]:
    """The paths' shortest ends that tell them apart, without the file's ending; none where a path
    says no more than the name, or the name is not the file's.
    """
    parts = {path: PurePath(path).with_suffix("").parts if path else () for path in paths}
    if len(paths) < 2 or any(not own or plain_name(own[-1]) != name for own in parts.values()):
        return {}
    for depth in range(2, max(map(len, parts.values())) + 1):
        ends = {path: own[-depth:] for path, own in parts.items()}
        if len(set(ends.values())) == len(paths):
            return {
                path: "/".join(map(plain_name, end)) if len(end) > 1 else f"./{name}"
                for path, end in ends.items()
            }
    return {}


def labels(named: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Key -> label for (key, name) with SHA-256 keys: the name, with eight digits of the key where
    another key has the same name.
    """
    keys_of: dict[str, set[str]] = {}
    for key, name in named:
        keys_of.setdefault(name, set()).add(key)
    return {key: f"{name} ({key[:8]})" if len(keys_of[name]) > 1 else name for key, name in named}
