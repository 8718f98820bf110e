"""`zoo demo`: the whole loop on small real faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the demo's files go.")
    ] = Path("demo"),
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Without the network: half a minute less.")
    ] = False,
) -> None:
    """Train a network and fit two classic models on real faces, evaluate, rank, compare, report.

    Olivetti faces of 30 people train all three; the other 10 people are the bin.

    It takes no GPU, and two minutes; the second time less.
    """
    from zoo.commands.leaderboard import leaderboard
    from zoo.commands.report import report
    from zoo.demo.faces_and_models import next_commands, prepare
    from zoo.entries.lookup import resolve_models
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.outcome import finished
    from zoo.evaluate.request import Request

    made = prepare(output)
    models = [str(path) for path in made.models]
    run = None
    if not no_train:
        from zoo.demo.network import trained_network

        run = trained_network(output, made.training).path
        models.append(str(run))
    results = output / "results"
    request = Request(
        models=resolve_models(models, {}), bins=[made.bin], profile="unit", results=results
    )
    code = finished(run_request(request), request, None)
    # By path: the folder may hold results of other faces, too.
    bins = [str(made.bin)]
    _announce(f"zoo leaderboard --bins {bins[0]} --results {results}")
    leaderboard(bins=bins, results=[results])
    _compare(models[:2], results)
    _announce(f"zoo report -o {output / 'report.html'} --bins {bins[0]} --results {results}")
    report(output=output / "report.html", bins=bins, results=[results])
    if run is not None:
        _compare([str(run), models[0]], results)
    print(next_commands(made, run=run), end="")
    raise typer.Exit(code)


def _compare(models: list[str], results: Path) -> None:
    from zoo.commands.compare import compare

    _announce(f"zoo compare {' '.join(models)} --results {results}")
    compare(models=models, input="unit", flip="none", results=[results])


def _announce(command: str) -> None:
    print(f"\n$ {command}", flush=True)
