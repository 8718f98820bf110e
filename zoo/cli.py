"""The `zoo` command. Nothing heavy is imported here: --help must appear at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from evaluator.errors import InputError
from zoo.commands import (
    align,
    bins,
    compare,
    data,
    demo,
    evaluate,
    export,
    leaderboard,
    probe,
    project,
    pull,
    report,
    show,
    threshold,
    train,
    verify,
)

# TensorFlow writes start-up notes to stderr unless told not to before it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Typer has no public name for the base class of its usage errors.
UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]

#: Options that take every value up to the next option, as in `--bins lfw agedb_30 cfp_fp`.
MANY_VALUED = frozenset({"--bins", "--maps", "--models", "--set"})

# 128 + SIGINT, as shells have it; some versions of Typer return it, others raise.
_INTERRUPTED = 130

app = typer.Typer(
    name="zoo",
    help="Which of these face models is better, by how much, and is the difference real?",
    pretty_exceptions_enable=False,
    add_completion=True,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        import importlib.metadata

        print("face-zoo", importlib.metadata.version("face-zoo"))
    elif context.invoked_subcommand is None:
        print(context.get_help())


app.command("eval")(evaluate.evaluate)
app.command("list")(show.list_entries)
app.command("show")(show.show_entry)
app.command("compare")(compare.compare)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("threshold")(threshold.threshold)
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("train")(train.train_entry)
app.command("project")(project.project)
app.command("probe")(probe.probe)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("pull")(pull.pull)
app.command("align")(align.align)
app.add_typer(bins.app, name="bins")
app.add_typer(data.app, name="data")


def main() -> None:
    """Runs the command line and exits: 0 done, 1 an invalid result, 2 bad input, 130 stopped."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; a user's mistake becomes one line."""
    command = typer.main.get_command(app)
    try:
        code = command.main(
            spread_values(arguments, MANY_VALUED), prog_name="zoo", standalone_mode=False
        )
    except UsageError as error:
        return _fail(f"{error.format_message()} (see zoo --help)")
    except (InputError, OSError) as error:
        return _fail(_message(error))
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        print("zoo: interrupted; what was finished is kept", file=sys.stderr)
    return code if isinstance(code, int) else 0


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


def _message(error: InputError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _fail(message: str) -> int:
    print("zoo: error: " + " ".join(message.split()), file=sys.stderr)
    return 2
