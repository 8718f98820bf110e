"""Which files were opened in folders that nothing has any business in: Linux's inotify."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

# linux/inotify.h
_MODIFY, _CLOSE_WRITE, _OPEN, _CREATE, _DELETE = 0x2, 0x8, 0x20, 0x100, 0x200
_MOVED = 0x40 | 0x80
_NON_BLOCKING, _CLOSE_ON_EXEC = 0o4000, 0o2000000
_EVENT = struct.Struct("iIII")
_WORDS = {
    _MODIFY: "written to",
    _CLOSE_WRITE: "written",
    _OPEN: "opened",
    _CREATE: "made",
    _DELETE: "removed",
    _MOVED: "renamed",
}


class Watch:
    """Sees every opening and making of a file, whoever does it and by whatever library.

    Without inotify (not on Linux) it sees nothing; ``works`` says so.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = -1
        self._names: dict[int, str] = {}
        if not hasattr(library, "inotify_init1"):
            return
        self._descriptor = library.inotify_init1(_NON_BLOCKING | _CLOSE_ON_EXEC)
        mask = _MODIFY | _CLOSE_WRITE | _OPEN | _CREATE | _DELETE | _MOVED
        for place in places:
            number = library.inotify_add_watch(self._descriptor, os.fsencode(place), mask)
            self._names[number] = place.name

    @property
    def works(self) -> bool:
        """Whether this system has inotify."""
        return self._descriptor >= 0

    def seen(self) -> list[str]:
        """What happened since it was asked last: 'MARKER made in cell', each once."""
        found: dict[str, None] = {}
        while self.works:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = data[at : at + length].rstrip(b"\0").decode(errors="replace")
                at += length
                how = [word for bit, word in _WORDS.items() if mask & bit]
                where = self._names.get(number, "a folder")
                found[f"{name or where} {' and '.join(how)} in {where}"] = None
        return list(found)

    def close(self) -> None:
        """Gives the descriptor back."""
        if self.works:
            os.close(self._descriptor)
            self._descriptor = -1
