"""Files that killed processes left behind: temporary ones, which nothing ever reads."""

from __future__ import annotations

import re
import stat
from pathlib import Path

# A temporary file is written within seconds; one this much older than a file written just now, by
# the same file system's clock, belongs to a process that is gone.
_DEAD_AFTER_SECONDS = 3600.0


def own_scores(path: Path) -> re.Pattern[str]:
    """What the scores files of the result stored at ``path`` are called, and no others."""
    return re.compile(re.escape(path.stem) + r"\.[0-9a-f]{12}\.h5")


def own_leftovers(path: Path, scores: str | None) -> re.Pattern[str]:
    """What the temporary files of the result stored at ``path`` are called, and its scores files
    but ``scores``, the one that it has now.
    """
    kept = "" if scores is None else f"(?!{re.escape(scores)}$)"
    # Temporary names are mkstemp's: a dot, the beginning of the file's name, a dot and eight signs.
    json_name, stem = re.escape(path.name[:80]), re.escape(path.stem[:80])
    temporary = rf"\.({json_name}|{stem}(\.[0-9a-f]{{0,12}}(\.h?5?)?)?)\.[a-z0-9_]{{8}}"
    return re.compile(f"{temporary}|{kept}{own_scores(path).pattern}")


def remove_leftovers(folder: Path, pattern: re.Pattern[str], *, now: float) -> list[Path]:
    """Removes files of ``folder`` whose whole name matches and that are over an hour older than
    ``now``, the time of a file written just now; returns them.

    A file that cannot be removed is left, and so is a folder that cannot be listed: cleaning up is
    no reason for a command to fail.
    """
    removed = []
    try:
        found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    except OSError:
        return []
    for path in found:
        try:
            # Of the name itself: what a link points to was not written here.
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and now - status.st_mtime > _DEAD_AFTER_SECONDS:
                path.unlink()
                removed.append(path)
        except OSError:
            continue
    return removed


def remove_own(path: Path, pattern: re.Pattern[str]) -> bool:
    """Removes a file whose whole name matches, and says whether it did.

    The name may come from a file that anyone wrote: a link, a folder or another name stays, and so
    does what cannot be removed.
    """
    if pattern.fullmatch(path.name) is None:
        return False
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        path.unlink()
    except OSError:
        return False
    return True
