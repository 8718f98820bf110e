"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` when the block ends without an error.

    A link stays, and what it points to is replaced. A device or a pipe (``/dev/stdout``) is
    written to and never replaced. Raises OSError, which names ``path``.
    """
    temporary = None
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        target = path.resolve()
        temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.part")
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        # A write that fails, on a full disk say, knows no name, and nobody knows the temporary's.
        own = temporary is not None and error.filename == str(temporary)
        if error.errno is None or not (own or error.filename is None):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """A folder for this process alone, as far as others ask here too; a kill frees it.

    Raises BlockingIOError where another has it and ``wait`` is False. Where a file system has no
    locks, and on Windows, which has none for folders, two may meet.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        os.close(held)
