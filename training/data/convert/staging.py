"""A folder that is built under another name and appears, whole, when it is done."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluator.errors import InputError
from evaluator.files import TEMPORARY, alone_in, remove_leftovers, write_whole
from training.data.sources.faces import MANIFEST, read_manifest

PLAN = ".plan.json"


def finished(out: Path, plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of ``out`` if this very plan has already made it, else None."""
    if not (out / MANIFEST).is_file():
        return None
    try:
        manifest = read_manifest(out / MANIFEST)
    except InputError:  # somebody else's manifest.json; `staged` then refuses the folder
        return None
    return manifest if manifest.get("plan") == dict(plan) else None


@contextlib.contextmanager
def staged(out: Path, plan: Mapping[str, Any], *, force: bool = False) -> Iterator[Path]:
    """A folder beside ``out`` to build in; it becomes ``out`` when the block ends without error.

    After an error or a kill it stays, and the next call with the same plan gets it back with what
    it holds, while another plan starts afresh. One process at a time works in it. What already
    stands at ``out`` is left alone, or with ``force`` renamed to ``out`` + ".old".

    Raises InputError if ``out`` is there already, or if another process works in the folder.
    """
    out = out.resolve()
    stage = out.with_name(f".{out.name}.partial")
    if _occupied(out) and not force:
        raise InputError(
            f"{out}: expected a new or empty folder, found files that this command would not "
            "write again; name another, or pass --force, which moves them to a .old beside it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    stage.mkdir(exist_ok=True)
    taken = InputError(f"{stage}: another process is at this very conversion; wait for it")
    with held_folder(stage, taken):
        _claim(stage, plan)
        yield stage
        if _occupied(out):
            out.rename(_free_name(out))
        elif out.is_dir():
            out.rmdir()
        stage.rename(out)
        (out / PLAN).unlink()


def _occupied(out: Path) -> bool:
    return out.is_file() or (out.is_dir() and any(out.iterdir()))


def _free_name(out: Path) -> Path:
    numbers = itertools.count(1)
    names = (out.with_name(f"{out.name}.old{f'-{n}' if n > 1 else ''}") for n in numbers)
    return next(name for name in names if not name.exists())


def _claim(stage: Path, plan: Mapping[str, Any]) -> None:
    """Makes the stage this plan's; what another plan has left half done there is deleted."""
    remove_leftovers(stage, TEMPORARY, now=math.inf)
    note = stage / PLAN
    if note.is_file():
        if json.loads(note.read_text(encoding="utf-8")) == dict(plan):
            return
        for entry in stage.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    elif any(entry.name != PLAN + ".partial" for entry in stage.iterdir()):
        raise InputError(f"{stage}: expected to build in it, found other files; move them away")
    write_whole(note, json.dumps(dict(plan)))


@contextlib.contextmanager
def held_folder(folder: Path, taken: InputError) -> Iterator[None]:
    """The folder for this process alone; a kill frees it. Raises ``taken`` if another has it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(alone_in(folder, wait=False))
        except BlockingIOError:
            raise taken from None
        yield
