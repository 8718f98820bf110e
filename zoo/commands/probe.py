"""`zoo probe`: which input profile a model was trained with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.errors import InputError
from evaluator.metrics.text import cosine, percent
from zoo.terminal import options

if TYPE_CHECKING:
    from evaluator.metrics.all_figures import Figures
    from evaluator.probe import Finding
    from zoo.evaluate.request import Request


def probe(
    model: options.Model,
    bins: Annotated[
        list[str], typer.Option(metavar="NAME", help="The bin to try the profiles on.")
    ],
    data: options.Data = None,
    pairs: Annotated[
        int, typer.Option(min=20, metavar="N", help="How many pairs of the bin to use.")
    ] = 200,
    size: options.Size = None,
    output: options.Output = None,
    custom: options.Custom = None,
    batch_size: options.BatchSize = 64,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """Try every input profile, RGB and BGR, on a sample of pairs; say which one fits.

    zoo probe model.h5 --bins lfw
    """
    from zoo.entries.lookup import bin_folders, only_bin, resolve_models
    from zoo.entries.registry import read_registry, registry_path
    from zoo.evaluate.request import Request

    entries = read_registry(registry_path(registry))
    choices = resolve_models([model], entries)
    path = only_bin(options.listed(bins), bin_folders(data or []), entries)
    request = Request(
        models=choices,
        bins=[path],
        profile="unit",  # every profile is tried; this keeps the loader from assuming one aloud
        size=options.image_size(size),
        output=output,
        custom=tuple(custom or ()),
        batch_size=batch_size,
        trust=trust,
    )
    finding, tried = _probed(request, pairs)
    _print(finding, pairs=tried)


def _probed(request: Request, pairs: int) -> tuple[Finding, int]:
    """What fits the request's one model on so many pairs of its bin, and how many there were."""
    from evaluator.bins.verification_set import distinct_images, read_bin
    from evaluator.images.inputs import PROFILES
    from evaluator.isolation.process import open_model
    from evaluator.probe import FLIPS, probe_inputs, sample_pairs
    from zoo.evaluate.loading import say_of
    from zoo.evaluate.request import checked_model
    from zoo.terminal.progress import Progress

    (choice,), (path,) = request.models, request.bins
    _, load = checked_model(choice, request)
    sample = sample_pairs(read_bin(path), pairs)
    if sample.genuine.all() or not sample.genuine.any():
        raise InputError(f"{path}: probing needs genuine and impostor pairs; it has one kind")
    load = replace(load, channels="rgb")  # an entry's own order is one of those that are tried
    with open_model(choice.path, load) as embedder:
        say_of(choice, embedder, load)
        orders = 1 if embedder.input.channels == "gray" else 2
        total = len(distinct_images(sample.images)[0]) * len(PROFILES) * orders * len(FLIPS)
        with Progress(f"{choice.name}: probing", total) as progress:
            finding = probe_inputs(
                embedder, sample, batch_size=request.batch_size, on_progress=progress.advance
            )
    return finding, sample.pairs


def _print(finding: Finding, *, pairs: int) -> None:
    from zoo.terminal.table import open_table

    figures = ("AUC", "accuracy", "AUC, flip", "accuracy, flip")
    console, table = open_table(("input", "channels"), figures)
    for trial in finding.trials:
        cells = [*_cells(trial.plain), *_cells(trial.flipped)]
        best = trial in finding.alike
        table.add_row(trial.profile, trial.channels, *cells, style="bold" if best else "")
    console.print(table)
    for line in verdict(finding, pairs):
        print(line)


def _cells(found: Figures | None) -> tuple[str, str]:
    if found is None:
        return "not finite", "-"
    return cosine(found.auc), percent(found.accuracy)


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
