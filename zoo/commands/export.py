"""`zoo export`: the embedding model out of a training checkpoint, in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.terminal.words import note, warn


def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A Keras .h5 or .keras file, or an entry.")
    ],
    to: Annotated[
        str, typer.Option(metavar="FORMAT", help="keras, h5, savedmodel, tflite or onnx.")
    ] = "keras",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Default: NAME-embedding beside it."),
    ] = None,
    quantize: Annotated[
        str, typer.Option(help="For tflite: none, float16, or int8 (calibrated on --bins).")
    ] = "none",
    bins: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A bin of real images, to calibrate and compare on."),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Where NAME.bin is looked for.")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="unit, symmetric, insightface or raw."),
    ] = None,
    channels: Annotated[str | None, typer.Option(help="rgb or bgr.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="PIXELS", help="Input size of a model that takes any.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which output is the embedding.")
    ] = None,
    custom: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:CLASS", help="A layer of the model's own; implies --trust."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code inside a model file run.")
    ] = False,
    registry: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another models.yaml.")
    ] = None,
) -> None:
    """Write the embedding model of a checkpoint, and compare it with its source.

    zoo export checkpoint.h5 --to onnx
    """
    from zoo.commands.evaluate import image_size
    from zoo.entries.lookup import bin_folders, resolve_bins, resolve_models
    from zoo.entries.registry import read_registry, registry_path
    from zoo.evaluate.export import Job, run_export
    from zoo.evaluate.request import Request

    entries = read_registry(registry_path(registry))
    (choice,) = resolve_models([checkpoint], entries)
    names = [part for value in bins or [] for part in value.split(",") if part]
    request = Request(
        models=[choice],
        bins=resolve_bins(names, bin_folders(data or []), entries) if names else [],
        profile=input,
        channels=channels,
        size=image_size(size),
        output=output,
        custom=tuple(custom or ()),
        trust=trust,
    )
    parity = run_export(request, Job(to=to, out=out, quantize=quantize, force=force))
    print(parity.target)
    for kind, difference in parity.differences.items():
        note(f"{kind} images: cosines differ by {difference:.2e} at most")
    if not parity.agrees:
        warn(
            f"zoo: the exported model differs by more than the {parity.allowed:g} that "
            f"{to} with --quantize {quantize} should"
        )
    raise typer.Exit(0 if parity.agrees else 1)
