"""The cosine to ship a model with, from its stored scores, and what it gives on each bin."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.markup import escape

from evaluator.errors import InputError
from evaluator.metrics.deployment import (
    DeploymentThreshold,
    Rates,
    deployment_threshold,
    rates_at_threshold,
)
from evaluator.results.choice import labels
from evaluator.results.record import BinRecord
from evaluator.results.store import load_scores
from zoo.results.selection import Chosen
from zoo.terminal.table import headed_table, print_fitting, spaceless
from zoo.terminal.words import rich_terminal


@dataclass(frozen=True)
class OnBin:
    """The rates of the chosen threshold on one bin, and how many pairs had no score."""

    bin: BinRecord
    label: str
    rates: Rates
    dropped: int


@dataclass(frozen=True)
class Deployment:
    """The threshold from the impostors of all bins together, and its rates bin by bin.

    ``notes`` say which bins were left out.
    """

    model: Chosen
    pooled: DeploymentThreshold
    bins: tuple[OnBin, ...]
    notes: tuple[str, ...]


def choose_threshold(model: Chosen, far: float) -> Deployment:
    """The threshold at which at most ``far`` of the impostors of all the model's results pass.

    Raises InputError for no usable scores, TooFewImpostorsError where the impostors cannot tell,
    ResultError for scores that are not there, ValueError for a rate outside (0, 1).
    """
    usable = {sha: each for sha, each in model.results.items() if each.result.status == "ok"}
    notes = [
        f"{each.result.bin.name}: left out, its result is {each.result.status}"
        for sha, each in model.results.items()
        if sha not in usable
    ]
    if not usable:
        raise InputError(f"{model.asked}: no usable scores ({'; '.join(notes)})")
    of_bins = {}
    for sha256, stored in usable.items():
        scores = load_scores(stored.path, stored.result)
        kept = np.isfinite(scores.scores)
        of_bins[sha256] = (scores.scores[kept], scores.genuine[kept], int((~kept).sum()))
    scores_of_all = np.concatenate([scores for scores, _, _ in of_bins.values()])
    genuine_of_all = np.concatenate([genuine for _, genuine, _ in of_bins.values()])
    pooled = deployment_threshold(scores_of_all, genuine_of_all, far)
    named = labels([(sha, each.result.bin.name) for sha, each in usable.items()])
    bins = tuple(
        OnBin(
            usable[sha].result.bin,
            named[sha],
            rates_at_threshold(scores, genuine, pooled.threshold),
            dropped,
        )
        for sha, (scores, genuine, dropped) in of_bins.items()
    )
    return Deployment(model, pooled, bins, tuple(notes))


def print_deployment(found: Deployment) -> None:
    """Prints the threshold and the rates on stdout: Rich on a terminal, plain in a pipe."""
    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_deployment(found))
        return
    console.print(
        f"[bold]{escape(found.model.name)}: accept if the cosine is above "
        f"{found.pooled.threshold:.4f}[/bold]  {_interval(found)}",
        highlight=False,
    )
    table = headed_table()
    table.add_column("bin", overflow="fold", max_width=20)
    for heading in ("impostors", "FAR\n[dim]95 %[/dim]", "genuine", "FRR\n[dim]95 %[/dim]"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, rates in _rows(found):
        table.add_row(
            escape(label),
            f"{rates.impostors:,}",
            f"{_rate(rates.far)}\n[dim]{_ends(rates.far_ci95)}[/dim]",
            f"{rates.genuine:,}",
            f"{_rate(rates.frr)}\n[dim]{_ends(rates.frr_ci95)}[/dim]",
        )
    print_fitting(table, console)
    console.print(_caption(found), style="dim", highlight=False, markup=False)
    for note in _notes(found):
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)


def _rows(found: Deployment) -> list[tuple[str, Rates]]:
    rows = [(each.label, each.rates) for each in found.bins]
    return [*rows, ("all bins", found.pooled.rates)] if len(rows) > 1 else rows


def plain_deployment(found: Deployment) -> str:
    """The threshold alone on the first line that is no comment, then a line a bin."""
    lines = [
        f"# {found.model.name} {found.model.identity}",
        f"threshold {found.pooled.threshold!r} {_interval(found)}",
    ]
    rows = [["bin", "impostors", "FAR", "FAR_95%", "genuine", "FRR", "FRR_95%"]]
    for label, rates in _rows(found):
        far = [str(rates.impostors), _rate(rates.far), f"[{_ends(rates.far_ci95)}]"]
        frr = [str(rates.genuine), _rate(rates.frr), f"[{_ends(rates.frr_ci95)}]"]
        rows.append([label, *far, *frr])
    lines += [*spaceless(rows), *(f"# {text}" for text in (_caption(found), *_notes(found)))]
    return "\n".join(lines) + "\n"


def _interval(found: Deployment) -> str:
    low, high = found.pooled.interval
    return f"[{low:.4f}, {'unknown' if high is None else f'{high:.4f}'}]"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _ends(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2g} .. {interval[1]:.2g}"


def _caption(found: Deployment) -> str:
    pooled = found.pooled
    whose = (
        f"the impostors of all {len(found.bins)} bins together"
        if len(found.bins) > 1
        else (f"the impostors of {found.bins[0].label}")
    )
    return (
        f"Chosen so that at most {pooled.target_far:g} of {whose} pass "
        f"({pooled.rates.impostors:,} pairs, taken as independent). In brackets: 95 % intervals."
    )


def _notes(found: Deployment) -> list[str]:
    notes = list(found.notes)
    if found.pooled.interval[1] is None:
        notes.append(
            "the threshold may have to be higher, by how much these impostors cannot tell: that "
            f"takes {found.pooled.impostors_to_bound:,} impostor pairs"
        )
    notes += [
        f"{each.label}: {each.dropped:,} pairs without a score left out"
        for each in found.bins
        if each.dropped
    ]
    return notes


def json_deployment(found: Deployment) -> str:
    """Everything at full precision, with hashes, as one JSON object."""
    pooled = found.pooled
    model: dict[str, Any] = {"name": found.model.name, "sha256": found.model.identity}
    model["settings"] = None if found.model.variant is None else asdict(found.model.variant)
    value = {
        "schema": 1,
        "model": model,
        "target_far": pooled.target_far,
        "threshold": pooled.threshold,
        "interval95": list(pooled.interval),
        "impostors_to_bound": pooled.impostors_to_bound,
        "pooled": asdict(pooled.rates),
        "bins": [
            {
                "name": each.bin.name,
                "sha256": each.bin.sha256,
                "dropped_pairs": each.dropped,
                **asdict(each.rates),
            }
            for each in found.bins
        ],
        "notes": _notes(found),
    }
    return json.dumps(value, indent=2) + "\n"
