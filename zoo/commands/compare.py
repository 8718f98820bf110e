"""`zoo compare`: which of two or more models is better, and is the difference real."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from evaluator.errors import InputError
from zoo.commands import compare_plan
from zoo.terminal import options


def compare(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Two or more: name of a stored one, or a pattern of names, start of its SHA-256, "
            "path of a model, entry of the zoo, or path of a stored result.",
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Figure to compare: accuracy (each model at its best threshold), kfold, auc, eer, "
            "tar@1e-3 ..., of template sets tpir@0.01, rank1 ...; kfold-decisions tests 10-fold "
            "accuracy by its own decisions.",
        ),
    ] = "accuracy",
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Ask whether B is as good as A but for so many percentage points; with --plan, "
            "what that takes.",
        ),
    ] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse",
            help="Exit 1 if a model is worse than the first; with --margin, unless each is shown "
            "not to be worse by more.",
        ),
    ] = False,
    bins: options.StoredBins = None,
    data: options.Data = None,
    format: Annotated[Literal["table", "json", "markdown"], options.FORMAT] = "table",
    flip: options.OnlyFlip = None,
    input: options.OnlyProfile = None,
    channels: options.OnlyChannels = None,
    decoder: options.OnlyDecoder = None,
    precision: options.OnlyPrecision = None,
    engine: options.OnlyEngine = None,
    norm: options.OnlyNorm = None,
    detector_score: options.OnlyDetectorScore = None,
    results: options.Results = options.RESULTS,
    trust: options.Trust = False,
    registry: options.Registry = None,
    plan: compare_plan.Plan = False,
    accuracy: compare_plan.Accuracy = None,
    difference: compare_plan.Difference = None,
    correlation: compare_plan.Correlation = None,
    power: compare_plan.Power = None,
    reuse: compare_plan.Reuse = None,
) -> None:
    """Compare models on the same pairs: difference, 95 % interval, p-value, verdict.

    The first model is the baseline, A. Stored scores are compared; a model named by its file or
    entry is evaluated where they lack.

    zoo compare arcface centerface --bins lfw cfp_fp

    zoo compare old new --margin 0.1 --fail-if-worse

    zoo compare --plan --accuracy 0.99 --difference 0.2
    """
    models = models or []
    if compare_plan.answered(
        plan, models, format, {"metric": metric, "margin": margin},
        accuracy=accuracy, difference=difference, correlation=correlation, power=power, reuse=reuse,
    ):  # fmt: skip
        return
    from evaluator.results.choice import is_pattern
    from zoo.results.selection import Selection, choose_models

    if len(models) < 2 and not any(map(is_pattern, models)):
        only = f"only {models[0]!r}" if models else "none"
        raise InputError(f"expected two models or more to compare; got {only}")
    selection = Selection(
        results=results,
        bins=tuple(options.listed(bins)),
        data=tuple(data or ()),
        flip=flip,
        decoder=decoder,
        precision=precision,
        engine=engine,
        norm=norm,
        detector_score=detector_score,
        profile=input,
        channels=channels,
        trust=trust,
    )
    from zoo.entries.registry import read_registry, registry_path

    chosen = choose_models(models, selection, read_registry(registry_path(registry)))

    from zoo.results.duels import compare_models, failures
    from zoo.results.duels_text import json_comparison, markdown_comparison, print_comparison

    duels = compare_models(chosen, metric=metric, margin=margin)
    if format == "table":
        print_comparison(duels)
    elif format == "markdown":
        sys.stdout.write(markdown_comparison(duels))
    else:
        sys.stdout.write(json_comparison(duels, margin=margin))
    failed = failures(duels) if fail_if_worse else []
    if failed:
        print("; ".join(failed), file=sys.stderr)
        raise typer.Exit(1)
