"""`zoo groups`: for whom a model errs more often."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluator.errors import InputError
from zoo.terminal import options


@options.spread
def groups(
    models: options.StoredModels,
    by: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Images (slot 0, 1, ... or name in the pairs file) or people, and a column for "
            "each attribute; or BFW's table. Default: each of several bins is a group.",
        ),
    ] = None,
    cross: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B", help="Groups of every two attributes too, or 'all' of them; repeatable."
        ),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(
            parser=options.rate,
            metavar="RATE",
            help="FMR of all impostors at the threshold. Default: 0.01.",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="COSINE", help="Instead of --far: this threshold.")
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="SHARE", help="What FMR weighs in GARBE, FDR, IR."),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of what chance shows.")] = 0,
    format: Annotated[
        Literal["table", "markdown", "csv", "json", "latex"], options.FORMAT
    ] = "table",
    *,
    asked: options.Asked,
) -> None:
    """Error rates of groups of people at one threshold, and whether they differ beyond chance.

    Measures of fairness stand beside what equal groups would show; of two models, which is fairer.

    zoo groups arcface --bins lfw --by people.csv --cross gender,age

    zoo groups old new --bins African_test Asian_test Caucasian_test Indian_test
    """
    if far is not None and threshold is not None:
        raise InputError("--far and --threshold: give one of them")
    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"--threshold {threshold:g}: expected a number, as 0.3")
    from zoo.results.groups import GroupsAsked, report_groups
    from zoo.results.groups_text import blocks_of, csv_groups, json_groups
    from zoo.results.selection import contestants_of, models_asked
    from zoo.terminal.blocks import print_as

    chosen = models_asked(models, asked)
    found = report_groups(
        contestants_of(chosen),
        GroupsAsked(
            by=by,
            cross=tuple(cross or ()),
            far=0.01 if far is None else far,
            threshold=threshold,
            alpha=alpha,
            seed=seed,
        ),
    )
    print_as(format, found, blocks_of, csv=csv_groups, json=json_groups)
