"""`zoo compare`: which of two or more models is better, and is the difference real."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evaluator.errors import InputError
from zoo.terminal import options

_PANEL = "Plan, before there are pairs"

# What is not asked of a plan.
_USUAL = {"accuracy": None, "difference": None, "correlation": 0.7, "power": 0.8, "reuse": 1.0}


@dataclass(frozen=True, kw_only=True)
class PlanAsked:
    """The options of a plan; None: not said."""

    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            rich_help_panel=_PANEL,
            help="Compare nothing: say how many pairs and people a comparison will need.",
        ),
    ] = False
    accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=_PANEL,
            help="What the better model has of it, as 0.99.",
        ),
    ] = None
    difference: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            rich_help_panel=_PANEL,
            help="How much less the other has, to be found.",
        ),
    ] = None
    correlation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=_PANEL,
            help="That of both models' scores among pairs of a kind. Default: 0.7.",
        ),
    ] = None
    power: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=_PANEL,
            help="How often the question is to be answered. Default: 0.8.",
        ),
    ] = None
    reuse: Annotated[
        float | None,
        typer.Option(
            metavar="TIMES",
            rich_help_panel=_PANEL,
            help="How many times shared images and people multiply the variance: design_effect in "
            "the JSON of a comparison. Default: 1.",
        ),
    ] = None


@options.spread
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
    junit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write JUnit XML: a test case a bin, failed where a model is worse than A.",
        ),
    ] = None,
    pairs: Annotated[
        Literal["matrix", "all"],
        typer.Option(help="Of more than two models: who beats whom in a table, or all in full."),
    ] = "matrix",
    format: Annotated[
        Literal["table", "json", "markdown", "csv", "latex"], options.FORMAT
    ] = "table",
    *,
    asked: options.Asked,
    planned: PlanAsked,
) -> None:
    """Compare models on the same pairs: difference, 95 % interval, p-value, verdict.

    The first model is the baseline, A. Stored scores are compared; a model named by its file or
    entry is evaluated where they lack.

    zoo compare arcface centerface --bins lfw cfp_fp

    zoo compare old new --margin 0.1 --fail-if-worse

    zoo compare --plan --accuracy 0.99 --difference 0.2
    """
    models = models or []
    if _answered(planned, models, format, {"metric": metric, "margin": margin}):
        return
    from evaluator.results.names import is_pattern
    from zoo.results.selection import models_asked
    from zoo.terminal.output import check_file_target

    if len(models) < 2 and not any(map(is_pattern, models)):
        only = f"only {models[0]!r}" if models else "none"
        raise InputError(f"expected two models or more to compare; got {only}")
    if junit is not None:
        check_file_target("--junit", junit, begins=b"<?xml")
    chosen = models_asked(models, asked)
    from zoo.results.duels import compare_models, failures
    from zoo.results.duels_paper import MATRICES, TEXTS
    from zoo.results.duels_text import json_comparison, print_comparison
    from zoo.results.matrix import matrix_of, print_matrix

    duels = compare_models(chosen, metric=metric, margin=margin)
    many = len(duels) > 1 and pairs == "matrix"
    if format == "json":
        sys.stdout.write(json_comparison(duels, margin=margin))
    elif format != "table":
        sys.stdout.write((MATRICES if many else TEXTS)[format](duels))
    elif many:
        print_matrix(matrix_of(duels))
    else:
        print_comparison(duels)
    if junit is not None:
        from evaluator.files import write_whole
        from zoo.results.duels import junit as as_junit

        write_whole(junit, as_junit(duels))
    failed = failures(duels) if fail_if_worse else []
    if failed:
        print("; ".join(failed), file=sys.stderr)
        raise typer.Exit(1)


def _answered(
    planned: PlanAsked,
    models: list[str],
    form: Literal["table", "json", "markdown", "csv", "latex"],
    question: dict[str, Any],
) -> bool:
    """Whether a plan was wanted, and is printed. ``question`` is what a comparison takes, too.

    InputError for models beside it, for its options without it, and as `print_plan` has it.
    """
    given = {name: value for name, value in vars(planned).items() if value is not None}
    if not given.pop("plan"):
        for name in given:
            raise InputError(f"--{name}: only with --plan")
        return False
    if models:
        raise InputError(f"--plan: expected no models; got {models[0]!r}")
    if form == "csv" or form == "latex":
        raise InputError(f"--plan --format {form}: a plan is a table, markdown or json")
    from zoo.results.plan import Wanted, print_plan

    print_plan(Wanted(**{**question, **_USUAL, **given}), form)
    return True
