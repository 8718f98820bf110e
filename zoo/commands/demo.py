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
    """Fit two classic models on real faces, evaluate, rank, compare and report: no GPU, a minute.

    Olivetti faces of 30 people train eigenfaces and fisherfaces; the other 10 people are the bin.
    """
    from zoo.commands.compare import compare
    from zoo.commands.evaluate import finish
    from zoo.commands.leaderboard import leaderboard
    from zoo.commands.report import report
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
    names = [path.stem for path in made.models]
    _announce(f"zoo leaderboard --results {request.results}")
    leaderboard(results=request.results)
    _announce(f"zoo compare {' '.join(names)} --results {request.results}")
    compare(names, input="unit", flip="none", results=request.results)
    _announce(f"zoo report -o {output / 'report.html'} --results {request.results}")
    report(output / "report.html", results=request.results)
    print(next_commands(made), end="")
    raise typer.Exit(code)


def _announce(command: str) -> None:
    print(f"\n$ {command}", flush=True)
