"""`zoo probe`: which input profile a model was trained with."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.errors import InputError
from evaluator.metrics.text import cosine, percent
from zoo.terminal import options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluator.probe import Finding
    from zoo.evaluate.request import Request


# Inputs that cannot be told apart, named in a line; the table has all.
_NAMED = 4


def probe(
    model: options.Model,
    bins: Annotated[
        list[str], typer.Option(metavar="NAME", help="The bin to try the profiles on.")
    ],
    data: options.Data = None,
    pairs: Annotated[
        int,
        typer.Option(
            min=20, metavar="N", help="How many pairs of the bin to begin with; more if need be."
        ),
    ] = 200,
    most: Annotated[
        int | None,
        typer.Option(min=20, metavar="N", help="How many pairs to end with. Default: all."),
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="PROFILE",
            callback=options.canonical_profile,
            help="Try this too; its crop and what it feeds go with every one that is tried.",
        ),
    ] = None,
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
    from zoo.entries.lookup import bin_folders, only_bin, resolve_model
    from zoo.entries.registry import read_registry, registry_path
    from zoo.evaluate.request import Request

    entries = read_registry(registry_path(registry))
    choice = resolve_model(model, entries)
    path = only_bin(options.listed(bins), bin_folders(data or []), entries)
    stated = choice.entry.profile if choice.entry else "unit"
    request = Request(
        models=[choice],
        bins=[path],
        profile=input or stated,  # all are tried; this keeps the loader from assuming one aloud
        size=options.image_size(size),
        output=output,
        custom=tuple(custom or ()),
        batch_size=batch_size,
        trust=trust,
    )
    finding = _probed(request, pairs, most)
    _print_trials(finding)
    for line in verdict(finding):
        print(line)
    if finding.recommended is None:
        raise typer.Exit(1)
    given = {
        "--data": [str(each) for each in data or ()],
        "--size": [size] if size else [],
        "--output": [output] if output else [],
        "--custom": custom or [],
        "--registry": [str(registry)] if registry else [],
    }
    words = [
        model,
        "--bins",
        *bins,
        *(word for key, own in given.items() for value in own for word in (key, value)),
    ]
    print(_command([*words, *(["--trust"] if trust else [])], finding))


def _probed(request: Request, pairs: int, most: int | None) -> Finding:
    """What fits the request's one model on its bin."""
    from evaluator.bins.verification_set import read_bin
    from evaluator.isolation.process import open_model
    from evaluator.probe import probe_inputs
    from zoo.evaluate.loading import say_of
    from zoo.evaluate.request import checked_model
    from zoo.terminal.progress import Progress

    (choice,), (path,) = request.models, request.bins
    _, load = checked_model(choice, request)
    whole = read_bin(path)
    if whole.genuine.all() or not whole.genuine.any():
        raise InputError(f"{path}: probing needs genuine and impostor pairs; it has one kind")

    @contextmanager
    def on_round(number: int, inputs: int, images: int) -> Iterator[Callable[[int], None]]:
        title = f"{choice.name}: {inputs} input{'s' * (inputs > 1)} on {number:,} pairs"
        with Progress(title, images) as progress:
            yield progress.advance

    load = replace(load, channels="rgb")  # an entry's own order is one of those that are tried
    with open_model(choice.path, load) as embedder:
        say_of(choice, embedder, load)
        return probe_inputs(
            embedder,
            whole,
            pairs=pairs,
            most=most,
            batch_size=request.batch_size,
            on_round=on_round,
        )


def _print_trials(finding: Finding) -> None:
    from zoo.terminal.table import headed_table, spaceless
    from zoo.terminal.words import rich_terminal

    header = ["input", "channels", "pairs", "AUC", "accuracy", "AUC flip", "accuracy flip"]
    rows = []
    for trial in finding.trials:
        rows.append([trial.profile, trial.channels, f"{trial.pairs:,}"])
        for scores in (trial.plain, trial.flipped):
            rows[-1] += _cells(scores, trial.genuine)
    console = rich_terminal()
    if console is None:
        print("\n".join(spaceless([header, *rows])))
        return
    table = headed_table()
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < 2 else "right")
    for trial, row in zip(finding.trials, rows, strict=True):
        table.add_row(*row, style="bold" if trial in finding.alike else "")
    console.print(table)


def _cells(scores: NDArray[np.float64] | None, genuine: NDArray[np.bool_]) -> tuple[str, str]:
    """AUC and best accuracy."""
    from evaluator.metrics.figures.auc import auc
    from evaluator.metrics.sweep import best_accuracy, sweep

    if scores is None:
        return "not finite", "-"
    found = sweep(scores, genuine)
    best = best_accuracy(found)
    return cosine(auc(found)), percent(best.accuracy if best else None)


def verdict(finding: Finding) -> list[str]:
    """What a finding says, and what to write in models.yaml."""
    best = finding.recommended
    on = f"{finding.pairs:,} pairs{', all of the bin' if finding.all_pairs else ''}"
    if best is None:
        return _no_input(finding, on)
    named = ", ".join(f"{each.profile} {each.channels}" for each in finding.alike[:_NAMED])
    if (more := len(finding.alike) - _NAMED) > 0:
        named += f" and {more} more"
    if finding.clear:
        lines = [f"clear winner on {on}: {best.profile}, {best.channels}"]
    elif finding.same:
        lines = [f"cannot tell: {named} give the same cosines, so any of them will do"]
    elif len(finding.profiles) == 1:
        lines = [
            f"clear winner on {on}: {best.profile}; RGB and BGR are not separable, and "
            f"{best.channels.upper()} is the usual one"
        ]
    else:
        advice = "the model may not mind, or a larger bin may tell"
        if not finding.all_pairs:
            advice = "more pairs may tell"
        lines = [f"cannot tell: not separable on {on}: {named}; {advice}"]
    if len({each.profile for each in finding.alike}) > len(finding.profiles):
        lines.append("symmetric and insightface differ by 0.4 % in scale only: either will do")
    stated = f"profile: {best.profile}"
    if best.channels != "gray":
        stated += f", channels: {best.channels}"
    return [*lines, f"in models.yaml: input: {{{stated}}}"]


def _no_input(finding: Finding, on: str) -> list[str]:
    best = finding.trials[0]
    if not finding.alike:
        return ["cannot tell: no input gives finite embeddings"]
    lines = [f"no input works: the best AUC is {cosine(best.auc)} on {on}, where 0.5 is chance"]
    if finding.collapsed:
        lines.append("impostors' cosines are almost all alike, whatever goes in")
    return [
        *lines,
        "the network is untrained or damaged, its output is no embedding (--output), or its "
        "input is none of these",
    ]


def _command(words: Sequence[str], finding: Finding) -> str:
    """What evaluates the model with what is recommended."""
    best = finding.recommended
    if best is None:
        raise ValueError("nothing is recommended")
    channels = [] if best.channels == "gray" else ["--channels", best.channels]
    return shlex.join(["zoo", "eval", *words, "--input", best.profile, *channels])
