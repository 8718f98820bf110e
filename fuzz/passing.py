"""What loading a file does before anything is built of it: its scan, and nothing else.

The library's function that builds is replaced for the time of the scan by one that says that it
would have been called. So what is scanned is all that loading looks at, however that is arranged.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from fuzz.differential import Places


class FileFormat:
    """Files whose cases are their bytes: called ``file``, and ready to be loaded where a library's
    function, ``builds``, would be called.
    """

    name: str
    file: str
    builds: tuple[str, str]

    def __init__(self, folder: Path, places: Places) -> None:
        self._folder, self._places = folder, places
        self._path = folder / self.file

    def scan(self, case: bytes) -> None:
        """Raises ModelError for what loading would refuse before the library gets it."""
        scan_until(self.write(case), *self.builds)

    def write(self, case: bytes) -> Path:
        """The file. What lies beside it is the same for all."""
        self._path.write_bytes(case)
        return self._path

    def kept(self, case: bytes) -> bytes:
        """The file's bytes."""
        return case


class _Passed(BaseException):
    """The library would have been called; not an Exception, so that nothing catches it."""


def scan_until(path: Path, module: str, name: str) -> None:
    """Loads a file up to where that calls a library's function. Raises what it raises before."""
    owner = importlib.import_module(module)
    real = getattr(owner, name)

    def passed(*_: Any, **__: Any) -> Any:
        raise _Passed

    setattr(owner, name, passed)
    try:
        load_embedder(path, LoadOptions(size=(8, 8)))
    except _Passed:
        return
    finally:
        setattr(owner, name, real)
