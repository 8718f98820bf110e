"""What a table of results shows besides their own figures, read off stored scores: TAR at any FAR,
and intervals. Nothing of it is stored.
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
from zoo.terminal.bin_table import Reading

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
