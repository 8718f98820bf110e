"""`zoo cost`: what models cost, counted and timed."""

from __future__ import annotations

from typing import Annotated

import typer

from evaluator.errors import InputError
from zoo.terminal import options


def cost(
    models: options.Models,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=4096,
            metavar="N...",
            help="Images in one forward pass; takes every value up to the next option. "
            "Default: 1 and 64.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, metavar="N", help="Threads that compute. Default: all processors."
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=5, max=10_000, metavar="N", help="How many batches are timed.")
    ] = 20,
    engine: options.Engine = "native",
    precision: options.Precision = "float32",
    size: options.Size = None,
    output: options.Output = None,
    custom: options.Custom = None,
    results: options.Results = options.RESULTS,
    format: options.TableFormat = "table",
    json: options.JsonAlone = False,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """Count parameters and MACs, time forward passes, and keep both beside the results.

    zoo cost small.onnx large.h5 --batch-size 1 64 --threads 4
    """
    from zoo.entries.lookup import resolve_models
    from zoo.entries.registry import read_registry, registry_path

    if json and format not in ("table", "json"):
        raise InputError(f"--json and --format {format}: give one of them")
    chosen = resolve_models(models, read_registry(registry_path(registry)))
    from evaluator.errors import ModelError
    from evaluator.results.cost import save_costs
    from evaluator.results.store import check_writable
    from zoo.evaluate.cost import measured_costs, usable_threads
    from zoo.evaluate.request import Request
    from zoo.results.cost_text import print_costs
    from zoo.terminal.words import warn

    request = Request(
        models=chosen,
        bins=[],
        size=options.image_size(size),
        output=output,
        custom=tuple(custom or ()),
        engine=engine,
        precision=precision,
        results=results,
        trust=trust,
    )
    check_writable(results)
    found, failures = [], []
    for choice in chosen:
        try:
            own = measured_costs(
                choice,
                request,
                batches=batch_size or [1, 64],
                threads=threads or usable_threads(),
                repeats=repeats,
            )
        except ModelError as error:
            failures.append(str(error))
            continue
        save_costs(results, own)
        found += own
    if found:
        print_costs(found, "json" if json else format)
    for line in failures:
        warn(f"zoo: error: {line}")
    if failures:
        raise typer.Exit(2)
