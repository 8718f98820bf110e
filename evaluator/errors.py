"""What goes wrong on the user's side, as one family of exceptions."""

from collections.abc import Iterable, Sequence

# Names that are listed of what there is: more fill a terminal.
_SHOWN = 20
# How alike a name is that is meant, and how long the beginning of one.
_NEAR, _TELLING = 0.65, 3


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a name, an option.

    The message stands alone on one line: which file or argument, what was expected, what was
    found, what to do next. The command line turns it (and ``OSError``) into that line and exit
    code 2; any other exception is a bug and keeps its traceback.
    """


class UnknownNameError(InputError, KeyError):
    """Nothing there has the name that was asked for in brackets; a KeyError, too."""

    __str__ = Exception.__str__  # a KeyError's is in quotes


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
    near = near_name(value, choices)
    hint = f"; did you mean {near!r}?" if near else ""
    raise InputError(f"unknown {what} {value!r}: expected one of {', '.join(choices)}{hint}")


def near_name(name: str, known: Sequence[str]) -> str:
    """The name that is meant for certain: it differs in a letter or two, or goes on; else empty."""
    import difflib  # where a word is wrong only

    longer = [each for each in known if len(name) >= _TELLING and each.startswith(name)]
    near = longer or difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    return near[0] if near else ""


def unknown_name(name: str, known: Iterable[str]) -> str:
    """'did you mean ...?' for an unknown name, or the known names, the first of many."""
    names = list(dict.fromkeys(known))
    if near := near_name(name, names):
        return f"did you mean {near!r}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN + 4 else ""
    shown = names[:_SHOWN] if more else names
    return "there is: " + ", ".join(shown) + more if names else "there is none"


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
