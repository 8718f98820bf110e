"""`zoo leaderboard`: stored results, ranked as far as they can be told apart."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from evaluator.errors import InputError
from evaluator.metrics.all_figures import NAMES, SEARCH_NAMES
from zoo.terminal import options


def leaderboard(
    metric: Annotated[
        str,
        typer.Option(
            metavar="FIGURE",
            help=f"{', '.join(NAMES)}; of template sets {', '.join(SEARCH_NAMES)}.",
            autocompletion=lambda: [*NAMES, *SEARCH_NAMES],
        ),
    ] = "kfold",
    format: options.TableFormat = "table",
    models: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN...", help="Only models of these names; * is any text."),
    ] = None,
    bins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN...",
            help="Only bins of these names, all as columns. Default: those that most models share.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, metavar="N", help="Show this many rows, the best first.")
    ] = 20,
    intervals: Annotated[
        bool,
        typer.Option("--intervals", help="Show each figure's 95 % interval."),
    ] = False,
    cost: Annotated[
        bool,
        typer.Option("--cost", help="Show what models cost, as zoo cost measured it."),
    ] = False,
    results: options.StoredIn = None,
    registry: options.Registry = None,
) -> None:
    """Rank the stored results, as far as models can be told apart: rank 1-3 is first to third.

    Published figures of models.yaml stand below, unranked, where their protocol is the metric's.

    zoo leaderboard --metric tar@1e-3 --bins lfw 'cfp_*'
    """
    from evaluator.metrics.all_figures import figure_named
    from evaluator.results.stored import no_collection, no_results, read_store
    from zoo.entries.registry import read_registry, registry_path
    from zoo.results.leaderboard import build_leaderboard, with_costs
    from zoo.results.leaderboard_text import TEXTS, print_leaderboard
    from zoo.terminal.words import warn

    figure = figure_named("--metric", metric)
    entries = read_registry(registry_path(registry))
    folders = options.stores(results)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"--results {folder}: no such folder; zoo eval stores results there")
    with no_collection():
        store = read_store(*folders)
        if not (store.results or store.outdated or store.damaged):
            raise InputError(no_results(*folders))
        board = build_leaderboard(
            store,
            figure,
            entries=entries,
            models=tuple(options.listed(models)),
            bins=tuple(options.listed(bins)),
            top=top,
            intervals=intervals,
        )
        if cost:
            board = with_costs(board, folders)
    if format == "table":
        print_leaderboard(board)
        return
    sys.stdout.write(TEXTS[format](board))
    if format == "csv":  # the one that has no place for what is left out
        for row in board.incomplete:
            place = row.place
            warn(
                f"incomplete: {row.model.label}: rank {place.text} of {place.models:,} on the bins "
                "that it has"
            )
        if board.costs is not None:
            warn(board.costs.caption)
        for each in board.outdated:
            warn(f"outdated: {each.line}")
        for line in board.damaged:
            warn(f"unreadable: {line}")
