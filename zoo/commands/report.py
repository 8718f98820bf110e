"""`zoo report`: stored results as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.terminal import options
from zoo.terminal.words import note, warn


def report(
    named: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Only these models, as --models. Default: all."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the report goes.")
    ] = Path("report.html"),
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Only these models, by name or the beginning of their hash; takes every value "
            "up to the next option.",
        ),
    ] = None,
    bins: options.StoredBins = None,
    data: options.Data = None,
    results: options.StoredIn = None,
    title: Annotated[str, typer.Option(help="What stands on top.")] = "Face verification report",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="On spoilt images, errors beside this model's (mCE). Default: the first's.",
        ),
    ] = None,
    no_faces: Annotated[
        bool, typer.Option("--no-faces", help="Leave the faces of the pairs out.")
    ] = False,
    by: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="A section on groups of people, as zoo groups."),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv", help="A section on discarded images, as zoo discard; or 'norm'."
        ),
    ] = None,
) -> None:
    """Write stored results as one HTML file: leaderboard, curves, errors with faces; opens offline.

    zoo report -o report.html --bins lfw agedb_30
    """
    from zoo.entries.lookup import bin_folders
    from zoo.report.conditions import ConditionsAsked
    from zoo.report.page import render_report, size_in_words, write_report
    from zoo.report.selection import select
    from zoo.terminal.output import PAGE_BEGINS, check_file_target

    check_file_target("-o", output, begins=PAGE_BEGINS)
    selection = select(
        *options.stores(results),
        models=[*(named or []), *options.listed(models)],
        bins=options.listed(bins),
    )
    asked = None if by is None and quality is None else ConditionsAsked(by, quality)
    html = render_report(
        selection,
        title=title,
        faces=not no_faces,
        baseline=baseline,
        asked=asked,
        data=bin_folders(data or []),
        say=warn,
    )
    write_report(output, html)
    for line in selection.older:
        warn(line)
    for each in selection.left_out:
        warn(f"not ranked: {each.line}")
    counts = ", ".join(
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((len(selection.contestants), "model"), (len(selection.columns), "bin"))
    )
    note(f"{output}: {counts}, {size_in_words(html)}")
