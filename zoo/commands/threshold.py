"""`zoo threshold`: the cosine to deploy a model with."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from evaluator.errors import InputError
from zoo.terminal import options


@options.spread
def threshold(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Name of a stored model, start of its SHA-256, its path, or an entry of the zoo.",
        ),
    ],
    far: Annotated[
        float | None,
        typer.Option(
            parser=options.rate,
            metavar="RATE",
            help="Share of strangers that may pass at most, as 1e-4.",
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="How surely fresh strangers keep --far, from 0.5 up. Default: 0.95.",
        ),
    ] = None,
    check: Annotated[
        float | None,
        typer.Option(metavar="COSINE", help="Instead of --far: the rates at this threshold."),
    ] = None,
    format: options.TableFormat = "table",
    *,
    asked: options.Asked,
) -> None:
    """Choose the cosine to deploy with, or check one: accept a pair whose cosine is above it.

    The impostors of all the bins together choose it; refused where they are too few for the rate.

    zoo threshold arcface --bins lfw cfp_fp --far 1e-3
    """
    if (far is None) == (check is None):
        raise InputError(
            "expected --far RATE, for the threshold that keeps it, or --check COSINE, for what "
            "that one gives" + ("" if far is None else "; not both")
        )
    if confidence is not None and (check is not None or not 0.5 <= confidence < 1):
        problem = "goes with --far" if check is not None else "expected 0.5 or more, below 1"
        raise InputError(f"--confidence {confidence:g}: {problem}")
    if check is not None and not math.isfinite(check):
        raise InputError(f"--check {check:g}: expected a number, as 0.3")
    from zoo.results.selection import model_asked
    from zoo.results.threshold import check_threshold, choose_threshold, print_deployment

    chosen = model_asked(model, asked)
    if far is not None:
        found = choose_threshold(chosen, far, 0.95 if confidence is None else confidence)
    else:
        found = check_threshold(chosen, float(check or 0))
    print_deployment(found, format)
