"""`zoo compare`: which of two or more models is better, and is the difference real."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

FORMATS = ("table", "json", "markdown")


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C...]",
            help="Models: name of a stored one, or a pattern of names, start of its SHA-256, path "
            "of a model, entry of the zoo, or path of a stored result.",
        ),
    ],
    bins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Only these bins: name, path or start of the SHA-256. Default: all they share.",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where NAME.bin is looked for, if it must be evaluated."),
    ] = None,
    format: Annotated[str, typer.Option(help="table, json or markdown.")] = "table",
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
    """Compare models on the same pairs: difference, 95 % interval, p-value, verdict.

    Stored scores are compared; a model named by its file or entry is evaluated where they lack.

    zoo compare arcface centerface --bins lfw cfp_fp
    """
    from evaluator.errors import InputError, check_choice
    from evaluator.results.choice import is_pattern
    from zoo.results.selection import Selection, choose_models

    check_choice("--format", format, FORMATS)
    if len(models) < 2 and not is_pattern(models[0]):
        raise InputError(f"expected two models or more to compare; got only {models[0]!r}")
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
    from zoo.entries.registry import read_registry, registry_path

    chosen = choose_models(models, selection, read_registry(registry_path(registry)))

    from zoo.results.duels import compare_models
    from zoo.results.duels_text import json_comparison, markdown_comparison, print_comparison

    duels = compare_models(chosen)
    if format == "table":
        print_comparison(duels)
    else:
        sys.stdout.write({"json": json_comparison, "markdown": markdown_comparison}[format](duels))
