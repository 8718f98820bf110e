"""What goes wrong on the user's side, as one family of exceptions."""

from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a name, an option.

    The message stands alone on one line: which file or argument, what was expected, what was
    found, what to do next. The command line turns it (and ``OSError``) into that line and exit
    code 2; any other exception is a bug and keeps its traceback.
    """


class BinError(InputError):
    """A verification bin cannot be read or written; the message names file, index and cause."""


class ModelError(InputError):
    """A model file cannot be loaded or used for embeddings."""


class ForwardError(ModelError):
    """A model was loaded, and its forward pass fails on a batch of images."""


class OutOfMemoryError(ForwardError):
    """A batch needs more memory than the device, or the process, has."""


class ResultError(InputError):
    """A stored result cannot be read or does not belong to its scores."""


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises InputError with the choices and the nearest one if ``value`` is none of them."""
    if value in choices:
        return
    import difflib  # where a word is wrong only

    near = difflib.get_close_matches(value, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"unknown {what} {value!r}: expected one of {', '.join(choices)}{hint}")


def unknown_name(name: str, known: Iterable[str]) -> str:
    """'did you mean ...?' for an unknown name, or the known names."""
    import difflib

    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return "there is: " + ", ".join(names) if names else "there is none"


def cause_of(error: BaseException | str) -> str:
    """What an exception or text says, as one printable line of at most 600 characters.

    Parsers and C libraries quote the file they failed on, and a file may hold line breaks and the
    codes that move a terminal's cursor.
    """
    return printable(" ".join(str(error).split())[:600] or type(error).__name__)


def plain_name(name: str) -> str:
    """A file's name, or one from a file, as tables and pages may show it: one printable line."""
    return printable(" ".join(name.split())) or "_"


def printable(text: str) -> str:
    r"""The text with ``\x1b`` and the like for what a terminal would obey and not show.

    The two joiners that Persian and Indian scripts, and emoji, are written with stay.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in "\u200c\u200d" else ascii(sign)[1:-1] for sign in text
    )
