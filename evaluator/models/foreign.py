"""The border to code that is not ours: whether it is there, and whatever it raises is one line of
ours.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from evaluator.errors import ModelError, cause_of

# What Keras puts around the message of a layer's own error.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_CAUSE = "Exception encountered: "
_FRAME = re.compile(r"(Exception|Error) (was )?encountered|^Error when deserializing class")


@contextmanager
def foreign_errors(what: str, kind: type[ModelError] = ModelError) -> Iterator[None]:
    """Turns anything raised in the block into a ``kind`` that begins with ``what``.

    A file's layers, a class of the user's and the libraries that run them may raise any exception
    there is. A ModelError, which says its own piece, goes through.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - code that is not ours raises what it likes
        raise kind(f"{what} ({reason(error)})") from None


def reason(error: BaseException) -> str:
    """The telling part of a library's error, on one line of at most 300 characters."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    lines = [line.strip() for line in _STYLE.sub("", str(error)).splitlines()]
    told = [line for line in lines if line]
    # "Error when deserializing class X using config={...}." ends in a line with the cause;
    # "Exception encountered when calling Lambda.call()." is followed by it.
    causes = [line.removeprefix(_CAUSE) for line in told if line.startswith(_CAUSE)]
    inner = causes[-1:] or [line for line in told if not _FRAME.search(line)]
    first = (inner or told or [type(error).__name__])[0]
    shown = first.split(". ")[0][:300].rstrip(".:")
    named = isinstance(error, ValueError | TypeError | RuntimeError) or " " in shown
    return cause_of(shown if named else f"{type(error).__name__}: {shown}")


def listed(names: Sequence[str]) -> str:
    """The first five names out of a file on one line, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(cause_of(each)[:200] for each in names[:5]) + more


def check_extra(package: str, needs: str, extra: str) -> None:
    """Raises ModelError where a package is not installed: what ``needs`` it, and the extra."""
    if importlib.util.find_spec(package) is None:
        raise ModelError(f"{needs}; install the extra: pip install 'face-zoo[{extra}]'")
