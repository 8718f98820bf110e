"""`zoo discard`: what a model gains from refusing the worst images."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from evaluator.errors import InputError
from zoo.terminal import options


@options.spread
def discard(
    models: options.StoredModels,
    quality: Annotated[
        str,
        typer.Option(
            metavar="FILE.csv",
            help="Images (slot 0, 1, ... or name in the pairs file) and a quality, higher is "
            "better; or 'norm', the length of the embedding.",
        ),
    ],
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which column of the CSV. Default: quality."),
    ] = None,
    by: Annotated[
        Literal["pair", "image"],
        typer.Option(help="What is discarded: pairs, by the lower of two qualities, or images."),
    ] = "pair",
    far: Annotated[
        list[float] | None,
        typer.Option(
            parser=options.rate,
            metavar="RATE",
            help="FMR of all impostors; repeatable. Default: 1e-2, 1e-3 and 1e-4.",
        ),
    ] = None,
    limit: Annotated[
        float, typer.Option(metavar="SHARE", help="How much is discarded at most in pAUC.")
    ] = 0.2,
    format: Annotated[
        Literal["table", "markdown", "csv", "json", "latex"], options.FORMAT
    ] = "table",
    *,
    asked: options.Asked,
) -> None:
    """Error versus discard: FNMR with the images of lowest quality refused, at a fixed threshold.

    The threshold is taken once, from all pairs; what is left at each step is counted.

    zoo discard arcface --bins lfw --quality quality.csv

    zoo discard arcface --bins lfw --quality norm --by image
    """
    fars = tuple(far or ())
    if not 0 < limit <= 0.95:
        raise InputError(f"--limit {limit:g}: expected a share above 0, up to 0.95")
    from zoo.results.discard import (
        FARS,
        DiscardAsked,
        blocks_of,
        csv_discard,
        json_discard,
        report_discard,
    )
    from zoo.results.selection import contestants_of, models_asked
    from zoo.terminal.blocks import print_as

    chosen = models_asked(models, asked)
    found = report_discard(
        contestants_of(chosen),
        DiscardAsked(quality=quality, column=column, by=by, fars=fars or FARS, limit=limit),
    )
    print_as(format, found, blocks_of, csv=csv_discard, json=json_discard)
