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
