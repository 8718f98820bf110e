"""The options of `zoo compare --plan`, and the order of what it does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from evaluator.errors import InputError

_PANEL = "Plan, before there are pairs"

Plan = Annotated[
    bool,
    typer.Option(
        "--plan",
        rich_help_panel=_PANEL,
        help="Compare nothing: say how many pairs and people a comparison will need.",
    ),
]
Accuracy = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", rich_help_panel=_PANEL, help="What the better model has of it, as 0.99."
    ),
]
Difference = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS", rich_help_panel=_PANEL, help="How much less the other has, to be found."
    ),
]
Correlation = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        rich_help_panel=_PANEL,
        help="That of both models' scores among pairs of a kind. Default: 0.7.",
    ),
]
Power = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        rich_help_panel=_PANEL,
        help="How often the question is to be answered. Default: 0.8.",
    ),
]
Reuse = Annotated[
    float | None,
    typer.Option(
        metavar="TIMES",
        rich_help_panel=_PANEL,
        help="How many times shared images and people multiply the variance: design_effect in "
        "the JSON of a comparison. Default: 1.",
    ),
]


_USUAL = {"correlation": 0.7, "power": 0.8, "reuse": 1.0}
_NOTHING = dict.fromkeys(("accuracy", "difference"))


def answered(
    plan: bool,
    models: list[str],
    form: Literal["table", "json", "markdown", "csv", "latex"],
    question: dict[str, Any],
    **options: Any,
) -> bool:
    """Whether a plan was wanted, and is printed. ``question`` is what a comparison takes, too.

    InputError for models beside it, for its ``options`` without it, and as `print_plan` has it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not plan:
        for name in given:
            raise InputError(f"--{name}: only with --plan")
        return False
    if models:
        raise InputError(f"--plan: expected no models; got {models[0]!r}")
    if form == "csv" or form == "latex":
        raise InputError(f"--plan --format {form}: a plan is a table, markdown or json")
    from zoo.results.plan import Wanted, print_plan

    print_plan(Wanted(**{**question, **_NOTHING, **_USUAL, **given}), form)
    return True
