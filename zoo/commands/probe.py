"""`zoo probe`: which input profile a model was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from evaluator.metrics.all_figures import Figures
    from evaluator.probe import Finding


def probe(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An entry of the zoo, or a model file.")
    ],
    bins: Annotated[
        list[str], typer.Option(metavar="NAME", help="The bin to try the profiles on.")
    ],
    data: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Where NAME.bin is looked for.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=20, help="How many pairs of the bin to use.")] = 200,
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
    batch_size: Annotated[
        int, typer.Option(min=1, max=4096, help="Images in one forward pass.")
    ] = 64,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code inside a model file run.")
    ] = False,
    registry: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another models.yaml.")
    ] = None,
) -> None:
    """Try every input profile, RGB and BGR, on a sample of pairs; say which one fits.

    zoo probe model.h5 --bins lfw
    """
    from evaluator.bins.verification_set import distinct_images, read_bin
    from evaluator.errors import InputError
    from evaluator.images.inputs import PROFILES
    from evaluator.isolation.process import open_model
    from evaluator.models.options import LoadOptions
    from evaluator.probe import FLIPS, probe_inputs, sample_pairs
    from zoo.commands.evaluate import image_size
    from zoo.entries.lookup import bin_folders, resolve_bins, resolve_models
    from zoo.entries.registry import read_registry, registry_path
    from zoo.evaluate.loading import say_of
    from zoo.evaluate.request import Request, checked_model
    from zoo.terminal.progress import Progress

    entries = read_registry(registry_path(registry))
    (choice,) = resolve_models([model], entries)
    names = [part for value in bins for part in value.split(",") if part]
    paths = resolve_bins(names, bin_folders(data or []), entries)
    if len(paths) != 1:
        raise InputError(f"--bins: expected one bin to probe on; got {len(paths)}")
    request = Request(
        models=[choice],
        bins=paths,
        profile="unit",  # every profile is tried; this keeps the loader from assuming one aloud
        size=image_size(size),
        output=output,
        custom=tuple(custom or ()),
        trust=trust,
    )
    _, options = checked_model(choice, request)
    sample = sample_pairs(read_bin(paths[0]), pairs)
    if sample.genuine.all() or not sample.genuine.any():
        raise InputError(f"{paths[0]}: probing needs genuine and impostor pairs; it has one kind")
    options = LoadOptions(
        profile=options.profile,
        size=options.size,
        output=options.output,
        custom=options.custom,
        trust=options.trust,
    )
    with open_model(choice.path, options) as embedder:
        say_of(choice, embedder, options)
        orders = 1 if embedder.input.channels == "gray" else 2
        total = len(distinct_images(sample.images)[0]) * len(PROFILES) * orders * len(FLIPS)
        with Progress(f"{choice.name}: probing", total) as progress:
            finding = probe_inputs(
                embedder, sample, batch_size=batch_size, on_progress=progress.advance
            )
    _print(finding, pairs=sample.pairs)


def _print(finding: Finding, *, pairs: int) -> None:
    from rich.console import Console

    console = Console()
    # In a pipe, one line a row however long.
    console = console if console.is_terminal else Console(width=200)
    console.print(_table(finding, boxed=console.is_terminal))
    for line in verdict(finding, pairs):
        print(line)


def _table(finding: Finding, *, boxed: bool) -> Table:
    from rich.table import Table

    table = Table(header_style="bold", box=Table().box if boxed else None)
    for name in ("input", "channels"):
        table.add_column(name)
    for name in ("AUC", "accuracy", "AUC, flip", "accuracy, flip"):
        table.add_column(name, justify="right")
    for trial in finding.trials:
        cells = [*_cells(trial.plain), *_cells(trial.flipped)]
        best = trial in finding.alike
        table.add_row(trial.profile, trial.channels, *cells, style="bold" if best else "")
    return table


def _cells(found: Figures | None) -> tuple[str, str]:
    if found is None:
        return "not finite", "-"
    area = "-" if found.auc is None else f"{found.auc:.4f}"
    return area, "-" if found.accuracy is None else f"{100 * found.accuracy:.2f}"


def verdict(finding: Finding, pairs: int) -> list[str]:
    """What a finding on so many pairs says, and the options to use."""
    if not finding.alike:
        return ["cannot tell: no profile gives finite embeddings"]
    best = finding.alike[0]
    lines = []
    if finding.clear:
        lines.append(f"clear winner on {pairs} pairs: {best.profile}, {best.channels}")
    elif len(finding.profiles) == 1:
        lines.append(
            f"clear winner on {pairs} pairs: {best.profile}; cannot tell RGB from BGR, "
            f"{best.channels} is a little ahead (more --pairs may tell)"
        )
    else:
        alike = ", ".join(f"{trial.profile} {trial.channels}" for trial in finding.alike)
        return [
            f"cannot tell on {pairs} pairs: {alike} are too close to part; "
            "more --pairs may tell, or the model does not mind"
        ]
    if best.profile in ("symmetric", "insightface"):
        lines.append("symmetric and insightface differ by 0.4 % in scale only: either will do")
    lines.append(f"use: --input {best.profile} --channels {best.channels}")
    if best.channels != "gray":
        lines.append(
            f"or in models.yaml: input: {{profile: {best.profile}, channels: {best.channels}}}"
        )
    return [line.replace(" --channels gray", "") for line in lines]
