"""What lies in a SavedModel's folder, before TensorFlow looks into it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from evaluator.errors import ModelError, plain_name

# A SavedModel has a graph, a checkpoint in one to some hundred shards, and perhaps assets.
_MOST_MEMBERS = 10_000
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_folder(path: Path) -> None:
    """Raises ModelError unless a folder holds folders and regular files only, all inside it.

    A link may stand for a file of the folder. Raises OSError for what cannot be read.
    """
    root = path.resolve()
    for count, member in enumerate(_members(path), 1):
        if count > _MOST_MEMBERS:
            raise ModelError(
                f"{path}: holds more than {_MOST_MEMBERS:,} files; a SavedModel has a few"
            )
        _check_member(path, root, member)
    graph = path / "saved_model.pb"
    if not graph.is_file():
        raise ModelError(f"{path}: a folder without saved_model.pb")
    if not graph.stat().st_size:
        raise ModelError(f"{graph}: the file is empty; it is damaged")


def _members(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _members(Path(entry.path))


def _check_member(path: Path, root: Path, member: os.DirEntry[str]) -> None:
    name = plain_name(os.path.relpath(member.path, path))
    kind = stat.S_IFMT(member.stat(follow_symlinks=False).st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        return
    if kind != stat.S_IFLNK:
        found = _KINDS.get(kind, "no regular file")
        raise ModelError(f"{path}: its {name} is {found}; a SavedModel holds regular files only")
    target = Path(os.path.realpath(member.path))
    if not target.is_relative_to(root) or not target.is_file():
        raise ModelError(
            f"{path}: its {name} is a link to {plain_name(str(target))}, which is no file of this "
            "folder; put a copy in the link's place (cp -rL)"
        )
