"""`zoo verify`: published figures derived again."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.terminal import options
from zoo.terminal.words import warn


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ENTRY", help="Entries with published figures.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every entry that has some, as far as it is here.")
    ] = False,
    format: options.TableFormat = "table",
    data: options.Data = None,
    batch_size: options.BatchSize = 64,
    results: options.Results = options.RESULTS,
    fresh: options.Fresh = False,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """Derive published figures again, from stored results or by measuring what is missing.

    Exit code 1 unless all that was measured agrees: the published figure lies in the 95 % interval
    of ours, and ours is on a bin that may be the published one's.

    zoo verify arc_8 --data datasets

    zoo verify --all --format markdown
    """
    from evaluator.bins.named import available_bins
    from evaluator.errors import InputError
    from evaluator.results.stored import read_store
    from zoo.entries.lookup import bin_folders
    from zoo.entries.registry import entry_named, read_registry, registry_path
    from zoo.terminal.blocks import print_as

    if bool(names) == every:
        raise InputError("verify: give entries, or --all")
    path = registry_path(registry)
    entries = read_registry(path)
    chosen = [entry_named(name, entries) for name in dict.fromkeys(names or ())]
    chosen = chosen or [entry for entry in entries.values() if entry.published]
    if not chosen:
        raise InputError(f"{path}: no entry has published figures")
    there = available_bins(bin_folders(data or []))
    from zoo.evaluate.request import Request
    from zoo.results.verification import (
        AGREES,
        NOT_MEASURED,
        blocks_of,
        checks_of,
        csv_checks,
        json_checks,
    )

    store = read_store(results)
    how = Request([], [], batch_size=batch_size, results=results, fresh=fresh, trust=trust)
    checks, failures = [], []
    for entry in chosen:
        found, failed = checks_of(entry, how, store, there, needed=not every)
        checks += found
        failures += failed
    print_as(format, checks, blocks_of, csv=csv_checks, json=json_checks)
    for failure in failures:
        warn(f"zoo: error: {failure}")
    words = {each.word for each in checks} - {NOT_MEASURED}
    raise typer.Exit(2 if failures else 0 if words == {AGREES} else 1)
