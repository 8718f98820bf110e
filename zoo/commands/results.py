"""``zoo results``: what is stored, and keeping it in order."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.errors import InputError
from zoo.terminal import options
from zoo.terminal.words import warn

if TYPE_CHECKING:
    from zoo.terminal.blocks import Block

app = typer.Typer(
    help="The folder of results: list, show, rm, rename, merge, pack, unpack.",
    no_args_is_help=True,
)

Stored = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL", help="Names, patterns or starts of a SHA-256. Default: all there are."
    ),
]


@app.command("list")
def list_models(
    models: Stored = None,
    results: options.StoredIn = None,
    format: options.TableFormat = "table",
) -> None:
    """List the models that have results, a row each.

    zoo results list
    """
    from zoo.results.housekeeping import list_block, stored_of

    folders = options.stores(results)
    _print([list_block(folders, stored_of(folders, models or []))], format)


@app.command()
def show(
    models: Stored = None,
    results: options.StoredIn = None,
    format: options.TableFormat = "table",
) -> None:
    """List the results of models, a row each.

    zoo results show arcface
    """
    from zoo.results.housekeeping import show_block, stored_of

    _print([show_block(stored_of(options.stores(results), models or []))], format)


def _print(blocks: list[Block], format: str) -> None:
    from zoo.terminal.blocks import TEXTS, print_blocks

    if format == "table":
        print_blocks(blocks)
    elif format == "json":
        rows = [dict(zip(block.header, row, strict=True)) for block in blocks for row in block.rows]
        sys.stdout.write(json.dumps({"rows": rows}, indent=2) + "\n")
    elif format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for block in blocks:
            writer.writerows([block.header, *block.rows])
    else:
        sys.stdout.write(TEXTS[format](blocks))


@app.command()
def rm(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Names, patterns, starts of a SHA-256.")
    ],
    bins: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Only results on these bins: names or hashes."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what.")] = False,
    results: options.Results = options.RESULTS,
) -> None:
    """Remove models' results from the store; without --yes, say which.

    zoo results rm 'epoch-*' --yes
    """
    from zoo.results.housekeeping import counted, on_bins, remove, show_block, stored_of

    names = options.listed(bins)
    found = on_bins(stored_of([results], models), names)
    if not found:
        raise InputError(f"no result of {', '.join(models)} on {', '.join(names)} in {results}")
    if not yes:
        _print([show_block(found)], "table")
        warn("nothing is removed yet: repeat with --yes")
        return
    remove(found)
    warn(f"{counted(len(found))} removed from {results}")


@app.command()
def rename(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or start of a SHA-256.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called from now on.")],
    results: options.Results = options.RESULTS,
) -> None:
    """Give a stored model another name.

    zoo results rename basic_model arc-epoch-8
    """
    from zoo.results.housekeeping import counted, stored_of
    from zoo.results.housekeeping import rename as renamed

    if not name.strip() or not name.isprintable():
        raise InputError(f"NAME {name!r}: expected some printable signs")
    found = stored_of([results], [model])
    renamed(results, found, name.strip())
    warn(f"{counted(len(found))} called {name.strip()} now")


@app.command()
def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Folders of results to take from.")
    ],
    results: options.Results = options.RESULTS,
) -> None:
    """Bring the results of other folders into --results; of two of the same, the newer stands.

    zoo results merge machine1/results machine2/results
    """
    from zoo.results.housekeeping import counted
    from zoo.results.housekeeping import merge as merged

    if any(each.resolve() == results.resolve() for each in folders):
        raise InputError(f"--results {results}: is one of the folders to take from")
    found = merged(folders, results)
    for line in found.failed:
        warn(f"passed over: {line}")
    warn(
        f"{results}: {counted(found.added)} added, {found.newer} newer than what was there, "
        f"{found.kept} there already"
    )
    raise typer.Exit(2 if found.failed else 0)


@app.command()
def pack(
    models: Stored = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.zip", help="The archive to write.")
    ] = Path("results.zip"),
    results: options.StoredIn = None,
) -> None:
    """Put results and their scores in one file to hand in: no images, embeddings or paths.

    zoo results pack arcface -o arcface.zip
    """
    from zoo.results.archive import BEGINS
    from zoo.results.archive import pack as packed
    from zoo.results.housekeeping import counted, stored_of
    from zoo.terminal.output import check_file_target

    check_file_target("--output", output, begins=BEGINS)
    count, failed = packed(stored_of(options.stores(results), models or []), output)
    for line in failed:
        warn(f"left out: {line}")
    warn(f"{output}: {counted(count)} packed")
    raise typer.Exit(2 if failed else 0)


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="What zoo results pack made.")],
    results: options.Results = options.RESULTS,
) -> None:
    """Take handed-in results into --results, every figure computed anew from its scores.

    What is there already stays. One file or figure that is not right, and nothing is taken.

    zoo results unpack arcface.zip
    """
    from zoo.results.archive import unpack as unpacked
    from zoo.results.housekeeping import counted

    found = unpacked(file, results)
    warn(
        f"{results}: {counted(found.added)} added, {found.kept} there already; their figures are "
        "those of their scores, which nobody here has measured"
    )
