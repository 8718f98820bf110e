"""The `zoo` command. Nothing heavy is imported here: --help must appear at once."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, cast

# Imports leave no garbage, and looking for it after every 700 objects is a twentieth of a short
# command. Before Typer, whose import is the first large one; until the command runs, for models
# leave garbage that holds their weights.
_USUAL_COLLECTION = gc.get_threshold()
gc.set_threshold(50_000)

import typer  # noqa: E402

from evaluator.errors import InputError, check_choice  # noqa: E402
from zoo.terminal import settings, streams, words  # noqa: E402
from zoo.terminal.options import UsageError  # noqa: E402

# TensorFlow writes start-up notes to stderr unless told not to before it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: Options that take every value up to the next option, as in `--bins lfw agedb_30 cfp_fp`.
MANY_VALUED = frozenset(
    {"--against", "--bins", "--corruption", "--maps", "--models", "--set", "--strength"}
)

# The same of one command alone: others have one value of it, before a MODEL.
_MANY_VALUED_IN = {"cost": frozenset({"--batch-size"})}

#: Options of `zoo` itself that are also understood behind a command: `zoo eval m.h5 --quiet`.
ANYWHERE = frozenset({"--quiet", "-q", "--verbose", "-v"})

# 128 + the number of SIGPIPE, which is how `cat` and `ls` end where their reader has gone.
_READER_GONE = 141

# What the shell's completion script sets when it asks.
_COMPLETE = "_ZOO_COMPLETE"

# What Typer says of a word that is none of an option's.
_WRONG_CHOICE = re.compile(
    r"""Invalid value for '(.+?)': (?:Value error, )?(['"])(.*)\2 is not one of (.*)\."""
)

_NO_NUMBER = re.compile(r"Invalid value for '(-.+?)': Input should be a valid (number|integer).*")

# Command -> the module of `zoo.commands` and its function, or the group of commands that it has. Of
# all of them Typer takes a quarter of the time that a short command has.
_COMMANDS = {
    "eval": ("evaluate", "evaluate"),
    "list": ("show", "list_entries"),
    "show": ("show", "show_entry"),
    "cost": ("cost", "cost"),
    "compare": ("compare", "compare"),
    "leaderboard": ("leaderboard", "leaderboard"),
    "threshold": ("threshold", "threshold"),
    "groups": ("groups", "groups"),
    "discard": ("discard", "discard"),
    "report": ("report", "report"),
    "demo": ("demo", "demo"),
    "doctor": ("doctor", "doctor"),
    "train": ("train", "train_entry"),
    "project": ("project", "project"),
    "probe": ("probe", "probe"),
    "export": ("export", "export"),
    "verify": ("verify", "verify"),
    "pull": ("pull", "pull"),
    "align": ("align", "align"),
    "bins": ("bins", "app"),
    "data": ("data", "app"),
    "results": ("results", "app"),
}


def application(only: str | None = None) -> typer.Typer:
    """The command line: with all commands, or with one alone."""
    app = typer.Typer(
        name="zoo",
        help="Which of these face models is better, by how much, and is the difference real?",
        pretty_exceptions_enable=False,
        add_completion=True,
    )
    app.callback(invoke_without_command=True)(_root)
    for name in _COMMANDS if only is None else (only,):
        module, attribute = _COMMANDS[name]
        found = getattr(importlib.import_module(f"zoo.commands.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No notes and no progress; warnings and errors stay."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Say which files are used and where time goes."),
    ] = False,
) -> None:
    if quiet and verbose:
        raise InputError("--quiet and --verbose: give one of them")
    words.set_amount("quiet" if quiet else "verbose" if verbose else "usual")
    if version:
        import importlib.metadata

        print("face-zoo", importlib.metadata.version("face-zoo"))
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Runs the command line and exits: 0 done, 1 an invalid result, 2 bad input, 130 Ctrl-C, 143
    SIGTERM, 141 nobody read on. A bug is 1 too, with its traceback and what to do with it.
    """
    streams.prepare_streams()
    streams.stop_on_signals()
    sys.excepthook = report_bug
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; a user's mistake becomes one line."""
    completing = _COMPLETE in os.environ
    prepared = _prepared(arguments)
    only = None if completing else _command_in(prepared)
    command = typer.main.get_command(application(only))
    if completing:
        from zoo.completion import add_completers, spread_for_shell

        add_completers(cast("Any", command).commands)
        spread_for_shell(os.environ, _prepared)
        command.main([], prog_name="zoo")  # answers the shell and exits
    words.set_amount("usual")
    try:
        usual = _usual(command, only, prepared)
        # Not `command.main`, which turns Ctrl-C and a closed pipe into codes without their cause.
        with command.make_context("zoo", prepared, default_map=usual) as context:
            gc.set_threshold(*_USUAL_COLLECTION)
            code = command.invoke(context)
        _flush()
    except typer.Exit as done:
        code = done.exit_code
    except UsageError as error:
        message = _in_our_words(error.format_message().strip(), error.__cause__)
        path = error.ctx.command_path if error.ctx is not None else "zoo"
        # Without one, Typer has printed the help of a group that was given no command.
        return _fail(f"{message} (see {path} --help)") if message else 2
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # Rich's way to end
            return _reader_gone()
        raise
    except (InputError, OSError) as error:
        if words.is_verbose():
            traceback.print_exc()
        return _fail(words.error_text(error))
    except words.Interrupted as stopped:
        return _interrupted(str(stopped))
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted("what was finished is kept")
    return code if isinstance(code, int) else 0


def _usual(command: Any, only: str | None, arguments: Sequence[str]) -> dict[str, Any]:
    """The defaults that zoo.toml states; none for help. `zoo doctor` says itself what is wrong."""
    if only is None or "--help" in arguments:
        return {}
    try:
        return settings.read_settings().defaults(command)
    except (InputError, OSError):
        if only == "doctor":
            return {}
        raise


def _in_our_words(message: str, cause: BaseException | None) -> str:
    """What Typer says of a command line that it does not take; a wrong choice or number as we say
    it.
    """
    if found := _NO_NUMBER.fullmatch(message):
        # Pydantic's, which knows what was given.
        stated = [each["input"] for each in getattr(cause, "errors", list)()]
        option = found[1].replace("' / '", " / ")
        wanted = "a number" if found[2] == "number" else "a whole number"
        return f"{option}: expected {wanted}, found {', '.join(map(repr, stated))}"
    if found := _WRONG_CHOICE.fullmatch(message):
        what, _, given, choices = found.groups()
        try:
            check_choice(what, given, tuple(re.findall("'(.*?)'", choices)))
        except InputError as ours:
            return str(ours)
    return message


def _flush() -> None:
    """Writes what stdout holds back; a full disk is said here, while there are words for it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def report_bug(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Prints an exception that nobody expected, and what its finder can do about it."""
    if issubclass(kind, KeyboardInterrupt):  # while `zoo` was still starting, or already ending
        _interrupted("what was finished is kept")
        return
    traceback.print_exception(kind, error, trace)
    address = _issues_address()
    where = f"at {address}" if address else "where you got face-zoo from"
    print(
        f"zoo: this is a bug in face-zoo. Please report it {where}, with the lines above, the "
        "command and what `zoo doctor` prints; stored results are not touched by it",
        file=sys.stderr,
    )


def _issues_address() -> str | None:
    """The address of the issues that the distribution states; None if it states none."""
    import importlib.metadata

    try:
        stated = importlib.metadata.metadata("face-zoo").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    named = dict(value.split(", ", 1) for value in stated if ", " in value)
    return named.get("Issues")


def _interrupted(what_is_left: str) -> int:
    words.warn(f"zoo: interrupted; {what_is_left}")
    return streams.stopped_code()


def _reader_gone() -> int:
    """Ends in silence where stdout's reader has: nobody is there to be told."""
    with Path(os.devnull).open("w") as nowhere:
        # What is still buffered is written at exit, and would be complained about there.
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return _READER_GONE


def _prepared(arguments: Sequence[str]) -> list[str]:
    """What is typed as Typer understands it."""
    moved = moved_to_front(arguments, ANYWHERE)
    own = _MANY_VALUED_IN.get(_command_in(moved) or "", frozenset())
    return spread_values(moved, MANY_VALUED | own)


def _command_in(arguments: Sequence[str]) -> str | None:
    """The command that is asked for; None where that takes knowing them all, as for --help."""
    rest = [each for each in arguments if each not in ANYWHERE]
    return rest[0] if rest and rest[0] in _COMMANDS else None


def moved_to_front(arguments: Sequence[str], options: frozenset[str]) -> list[str]:
    """The arguments with these flags first, where `zoo` itself looks for them; "--" ends it."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    found = [each for each in arguments[:end] if each in options]
    rest = [each for each in arguments[:end] if each not in options]
    return [*found, *rest, *arguments[end:]]


def spread_values(arguments: Sequence[str], options: frozenset[str]) -> list[str]:
    """``--bins a b`` as ``--bins a --bins b``, up to the next argument that starts with "-"."""
    spread: list[str] = []
    option = ""
    for i, argument in enumerate(arguments):
        if argument == "--":
            return [*spread, *arguments[i:]]
        if argument in options:
            option = argument
            if i + 1 == len(arguments) or arguments[i + 1].startswith("-"):
                spread.append(argument)
        elif option and not argument.startswith("-"):
            spread += [option, argument]
        else:
            option = ""
            spread.append(argument)
    return spread


def _fail(message: str) -> int:
    words.warn("zoo: error: " + " ".join(message.split()))
    return 2
