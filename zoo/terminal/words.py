"""How much is said on stderr: notes, details and warnings, by --quiet and --verbose."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from evaluator.errors import InputError, printable

if TYPE_CHECKING:
    from rich.console import Console

Amount = Literal["quiet", "usual", "verbose"]

# Files of a folder that a note names.
_NAMED = 5

_said: dict[str, Amount] = {"amount": "usual"}


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Ctrl-C in a command that knows what is left; the message says it, and how to go on."""


def set_amount(amount: Amount) -> None:
    """From now on, so much is said."""
    _said["amount"] = amount


def said_amount() -> Amount:
    """How much is said."""
    return _said["amount"]


def is_quiet() -> bool:
    """Whether only warnings and errors are wanted."""
    return _said["amount"] == "quiet"


def is_verbose() -> bool:
    """Whether details are wanted too."""
    return _said["amount"] == "verbose"


def shows_progress() -> bool:
    """Whether bars are drawn: stderr is a terminal that can take a line back, and not --quiet.

    Not what Rich calls a terminal: FORCE_COLOR asks for colour in a file, not for bars in it.
    """
    capable = os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    return capable and sys.stderr.isatty() and not is_quiet()


def rich_terminal() -> Console | None:
    """Rich's console where stdout is a terminal, or is to be taken for one; None for a pipe, which
    is spared the import.
    """
    asked = any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))
    if not asked and not sys.stdout.isatty():
        return None
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else None


def note(line: str) -> None:
    """Says what a user may want to know; not under --quiet."""
    if not is_quiet():
        warn(line)


def note_passed_over(where: object, names: Sequence[str]) -> None:
    """Says what lies in a folder of images and is none, if anything does."""
    if names:
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        note(f"{where}: {len(names):,} other{'s' * (len(names) > 1)} there, passed over: {shown}")


def detail(line: str) -> None:
    """Says what only --verbose asks for."""
    if is_verbose():
        warn(line)


def warn(line: str) -> None:
    """Says what a user must know, whatever was asked for.

    In printable signs: names come from files. A log that cannot be written, on a full disk say,
    is no reason to lose the work that it tells of.
    """
    shown = "\n".join(map(printable, line.split("\n")))
    try:
        print(shown, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        return


def error_text(error: InputError | OSError) -> str:
    """What the user is told of an error that is not a bug."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    # Without the number that Python puts first.
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
