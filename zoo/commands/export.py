"""`zoo export`: the embedding model out of a training checkpoint, or of PyTorch weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from zoo.terminal import options
from zoo.terminal.words import note, warn


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A Keras .h5 or .keras file, PyTorch weights, an entry, or a run's "
            "checkpoints/last.npz.",
        ),
    ],
    to: Annotated[
        Literal["keras", "h5", "savedmodel", "tflite", "onnx"],
        typer.Option(metavar="FORMAT", help="keras, h5, savedmodel, tflite or onnx."),
    ] = "keras",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Default: NAME-embedding beside it."),
    ] = None,
    quantize: Annotated[
        Literal["none", "float16", "int8"],
        typer.Option(help="For tflite; int8 is calibrated on --bins."),
    ] = "none",
    bins: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A bin of real images, to calibrate and compare on."),
    ] = None,
    data: options.Data = None,
    input: options.Profile = None,
    channels: options.Channels = None,
    size: options.Size = None,
    output: options.Output = None,
    custom: options.Custom = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """Write the embedding model of a checkpoint, and compare it with its source.

    zoo export checkpoint.h5 --to onnx
    """
    from zoo.entries.lookup import bin_folders, resolve_bins, resolve_model
    from zoo.entries.registry import read_registry, registry_path
    from zoo.evaluate.export import Job, run_export, weights_choice
    from zoo.evaluate.request import Request

    entries = read_registry(registry_path(registry))
    names = options.listed(bins)
    with _model_file(checkpoint, out, to) as (model, pixels, target):
        choice = weights_choice(model) or resolve_model(model, entries)
        request = Request(
            models=[choice],
            bins=resolve_bins(names, bin_folders(data or []), entries) if names else [],
            profile=input or pixels.get("profile"),
            channels=channels or pixels.get("channels"),
            size=options.image_size(size),
            output=output,
            custom=tuple(custom or ()),
            trust=trust,
        )
        job = Job(to=to, out=target, quantize=quantize, force=force)
        parity = run_export(request, job)
    print(parity.target)
    for kind, difference in parity.differences.items():
        note(f"{kind} images: cosines differ by {difference:.2e} at most")
    if not parity.agrees:
        warn(
            f"zoo: the exported model differs by more than the {parity.allowed:g} that "
            f"{to} with --quantize {quantize} should"
        )
    raise typer.Exit(0 if parity.agrees else 1)


@contextmanager
def _model_file(
    checkpoint: str, out: Path | None, to: str
) -> Iterator[tuple[str, dict[str, str], Path | None]]:
    """The model to export, the pixels it takes where that is known, and where it goes: of a run's
    checkpoint the embedding model, in a file that is there for the block.
    """
    if not checkpoint.endswith(".npz"):
        yield checkpoint, {}, out
        return
    from evaluator.models.export import SUFFIXES
    from zoo.train.entry import written_embedding

    path = Path(checkpoint)
    with TemporaryDirectory() as folder:
        written, recipe = written_embedding(path, Path(folder))
        pixels = {"profile": recipe.preprocess.profile, "channels": recipe.preprocess.channels}
        if pixels["channels"] == "gray":
            del pixels["channels"]
        yield str(written), pixels, out or path.with_name(f"{path.stem}-embedding{SUFFIXES[to]}")
