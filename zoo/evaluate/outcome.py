"""What `zoo eval` found, shown: table, JSON, a line for each failure, and the exit code.

TAR at any FAR and intervals are read off stored scores, and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluator.errors import InputError
from evaluator.metrics.all_figures import all_figures, figure_named
from evaluator.metrics.figure import Figure
from evaluator.results.measured import path_of
from evaluator.results.record import Result
from evaluator.results.store import load_scores
from evaluator.statistics.shared_pairs import Scored
from zoo.evaluate.request import Request
from zoo.terminal.bin_table import Reading, print_evaluation
from zoo.terminal.output import write_json
from zoo.terminal.set_table import print_sets
from zoo.terminal.words import rich_terminal, warn


def finished(outcome: tuple[list[Result], list[str]], request: Request, json: str | None) -> int:
    """Prints what ``run_request`` found, as JSON to a file or "-" too; the exit code."""
    results, failures = outcome
    read = [
        read_off(each, request.results, request.tars, intervals=request.intervals)
        for each in results
    ]
    found = [result for result, _ in read]
    if json is not None:
        write_json(found, json)
    if json != "-":
        _print(read, request)
    unusable = [result for result in found if result.status != "ok"]
    for result in unusable:
        warn(f"zoo: {_not_finite(result)}")
    for failure in failures:
        warn(f"zoo: error: {failure}")
    return 2 if failures else 1 if unusable else 0


def _print(read: Sequence[tuple[Result, Reading]], request: Request) -> None:
    """The table of bins, then those of template sets, and on a terminal where all is stored."""
    sets = [result for result, _ in read if result.bin.kind is not None]
    bins = [each for each in read if each[0].bin.kind is None]
    if bins:
        print_evaluation(
            [result for result, _ in bins],
            readings=[reading for _, reading in bins],
            tars=request.tars,
        )
    if bins and sets:
        print()
    if sets:
        print_sets(sets, intervals=request.intervals, sizes=request.gallery_sizes)
    if read and (console := rich_terminal()) is not None:
        console.print(f"results stored in {request.results}/", style="dim", highlight=False)


def _not_finite(result: Result) -> str:
    """Which images of a result cannot be scored, and what to do."""
    count, slots = result.non_finite["count"], result.non_finite["images"]
    if names := result.non_finite.get("names"):
        some = f"{', '.join(names)}{', ...' if count > len(names) else ''}"
        return (
            f"{result.model.name} on {result.bin.name}: {count:,} image{'s' if count > 1 else ''} "
            f"of no use to a template, so nothing is scored ({some}); --nan drop leaves them out, "
            "--nan miss counts what they are in as rejected"
        )
    named = ", ".join(str(slot) for slot in slots) + (", ..." if count > len(slots) else "")
    return (
        f"{result.model.name} on {result.bin.name}: {count:,} "
        f"image{'s' if count > 1 else ''} without a finite embedding of some length, so nothing "
        f"is scored (image {named}; pair = image // 2); --nan drop leaves their pairs out, "
        "--nan miss counts them as rejected"
    )


# ---- Besides stored figures ----------------------------------------------------------------------


# Below, no bin of any size could tell.
_LOWEST_FAR = 1e-12


def far_figures(values: Sequence[str]) -> tuple[Figure, ...]:
    """TAR at each of these FARs, once. Raises InputError for what is no rate."""
    found = {}
    for value in values:
        try:
            far = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            far = 0.0
        if not _LOWEST_FAR <= far < 1:
            raise InputError(
                f"--far {value}: expected rates from {_LOWEST_FAR:g} to below 1, as "
                "--far 1e-6,0.01%"
            )
        figure = figure_named("--far", f"tar@{far!r}", any_far=True)
        found[figure.name] = figure
    return tuple(found.values())


def read_off(
    result: Result, folder: Path, tars: Sequence[Figure], *, intervals: bool
) -> tuple[Result, Reading]:
    """A stored result with these TARs among its figures, and what else a table shows of it.

    Raises ResultError for scores that cannot be read, or OSError.
    """
    if result.figures is None or not (tars or intervals):
        return result, Reading()
    scored = Scored(result, load_scores(path_of(result, folder), result))
    pairs, own = scored.sorted, dict(result.figures)
    blocks = {each.name: each.block_of(pairs, scored.sharing) for each in tars}
    for block in blocks.values():
        own["tar_at_far"] = {**own["tar_at_far"], **block["tar_at_far"], **own["tar_at_far"]}
    counts = len(pairs.sweep.genuine), len(pairs.sweep.impostor)
    shown = [all_figures()[name] for name in ("accuracy", "kfold")] if intervals else []
    return replace(result, figures=own), Reading(
        ci95={each.name: scored.interval_of(each) for each in shown}
        | {each.name: each.read_ci95(blocks[each.name]) for each in tars},
        lacks={
            each.name: each.why_undefined(own, *counts) or "no pair has a score"
            for each in tars
            if each.read(own) is None
        },
    )
