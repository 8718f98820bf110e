"""`zoo threshold`: the cosine to deploy a model with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


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
    bins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Bins whose impostors choose, all together. Default: all the model has.",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where NAME.bin is looked for, if it must be evaluated."),
    ] = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
    flip: Annotated[
        str | None, typer.Option(help="Only results with this: none or sum. Default: any.")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE", help="Only results with this: unit, symmetric, insightface or raw."
        ),
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Only results with this: rgb, bgr or gray.")
    ] = None,
    decoder: Annotated[
        str | None, typer.Option(help="Only results with this: accurate or fast.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Only results with this: float32 or bfloat16.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Only results with this: native or openvino.")
    ] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Where results are stored.")] = Path(
        "results"
    ),
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code inside a model file run.")
    ] = False,
    registry: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another models.yaml ($ZOO_MODELS does the same)."),
    ] = None,
) -> None:
    """Choose the cosine to deploy with: accept a pair whose cosine is above it.

    The impostors of all the bins together choose it; refused where they are too few for the rate.

    zoo threshold arcface --bins lfw cfp_fp --far 1e-3
    """
    from evaluator.errors import InputError, check_choice
    from zoo.entries.registry import read_registry, registry_path
    from zoo.results.selection import Selection, choose_model
    from zoo.results.threshold import choose_threshold, json_deployment, print_deployment

    check_choice("--format", format, ("table", "json"))
    if not 0 < far < 1:
        raise InputError(f"--far {far:g}: expected a rate between 0 and 1, as 1e-4")
    selection = Selection(
        results=results,
        bins=tuple(part for value in bins or [] for part in value.split(",") if part),
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
