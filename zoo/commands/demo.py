"""`zoo demo`: the whole loop on small real faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the demo's files go.")
    ] = Path("demo"),
) -> None:
    """Fit two classic models on real faces, evaluate both, and print the table: no GPU, a minute.

    Olivetti faces of 30 people train eigenfaces and fisherfaces; the other 10 people are the bin.
    """
    from zoo.commands.evaluate import finish
    from zoo.demo import next_commands, prepare
    from zoo.evaluation import Request, run_request
    from zoo.lookup import ModelChoice

    made = prepare(output)
    request = Request(
        models=[ModelChoice(path.stem, path) for path in made.models],
        bins=[made.bin],
        profile="unit",
        results=output / "results",
    )
    code = finish(run_request(request), request, None)
    print(next_commands(made), end="")
    raise typer.Exit(code)
