"""`zoo threshold`: the cosine to deploy a model with."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from evaluator.errors import InputError
from zoo.terminal import options


def threshold(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Name of a stored model, start of its SHA-256, its path, or an entry of the zoo.",
        ),
    ],
    far: Annotated[
        float,
        typer.Option(metavar="RATE", help="Share of strangers that may pass at most, as 1e-4."),
    ],
    bins: options.StoredBins = None,
    data: options.Data = None,
    format: Annotated[Literal["table", "json"], options.FORMAT] = "table",
    flip: options.OnlyFlip = None,
    input: options.OnlyProfile = None,
    channels: options.OnlyChannels = None,
    decoder: options.OnlyDecoder = None,
    precision: options.OnlyPrecision = None,
    engine: options.OnlyEngine = None,
    results: options.Results = options.RESULTS,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """Choose the cosine to deploy with: accept a pair whose cosine is above it.

    The impostors of all the bins together choose it; refused where they are too few for the rate.

    zoo threshold arcface --bins lfw cfp_fp --far 1e-3
    """
    from zoo.entries.registry import read_registry, registry_path
    from zoo.results.selection import Selection, choose_model
    from zoo.results.threshold import choose_threshold, json_deployment, print_deployment

    if not 0 < far < 1:
        raise InputError(f"--far {far:g}: expected a rate between 0 and 1, as 1e-4")
    selection = Selection(
        results=results,
        bins=tuple(options.listed(bins)),
        data=tuple(data or ()),
        flip=flip,
        decoder=decoder,
        precision=precision,
        engine=engine,
        profile=input,
        channels=channels,
        trust=trust,
    )
    entries = read_registry(registry_path(registry))
    chosen = choose_model(model, selection, entries)
    found = choose_threshold(chosen, far)
    if format == "json":
        sys.stdout.write(json_deployment(found))
    else:
        print_deployment(found)
