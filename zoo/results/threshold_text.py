"""A deployment threshold as text and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from evaluator.metrics.deployment import DeploymentThreshold
from evaluator.metrics.rates import Rates
from zoo.results.threshold import Deployment, OnBin
from zoo.terminal.table import headed_table, print_fitting, spaceless
from zoo.terminal.words import rich_terminal

if TYPE_CHECKING:
    from rich.console import Console

# With more bins, of each bin's threshold only where it is most lenient is shown.
_FULL_MATRIX = 4


def print_deployment(found: Deployment) -> None:
    """Prints the threshold and the rates on stdout: Rich on a terminal, plain in a pipe."""
    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_deployment(found))
        return
    console.print(
        f"[bold]{escape(found.model.name)}: accept if the cosine is above "
        f"{cosine_text(found.rates.threshold)}[/bold]  {_interval(found)}",
        highlight=False,
    )
    _print_rates(console, ("bin",), [((label,), rates) for label, rates in _rows(found)])
    if rows := _elsewhere(found):
        console.print("Each bin's own threshold on the others", highlight=False)
        _print_rates(console, ("threshold of", "cosine", "on"), rows, counts=False)
    for line in _caption(found):
        console.print(line, style="dim", highlight=False, markup=False)
    for note in _notes(found):
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)


def _print_rates(
    console: Console,
    words: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Rates]],
    *,
    counts: bool = True,
) -> None:
    table = headed_table()
    for word in words:
        table.add_column(word, overflow="fold", max_width=20 if counts else 16)
    of_rates = ("impostors", "FAR\n[dim]95 %[/dim]", "genuine", "FRR\n[dim]95 %[/dim]")
    for heading in of_rates if counts else of_rates[1::2]:
        table.add_column(heading, justify="right", no_wrap=True)
    for names, rates in rows:
        far = f"{_rate(rates.far)}\n[dim]{_ends(rates.far_ci95)}[/dim]"
        frr = f"{_rate(rates.frr)}\n[dim]{_ends(rates.frr_ci95)}[/dim]"
        full = (f"{rates.impostors:,}", far, f"{rates.genuine:,}", frr)
        table.add_row(*map(escape, names), *(full if counts else full[1::2]))
    print_fitting(table, console)


def _rows(found: Deployment) -> list[tuple[str, Rates]]:
    rows = [(each.label, each.rates) for each in found.bins]
    return [*rows, ("all bins", found.rates)] if len(rows) > 1 else rows


def _elsewhere(found: Deployment) -> list[tuple[tuple[str, str, str], Rates]]:
    """The bin whose threshold it is, that threshold, and the other bin, with the rates there."""
    shown = found.elsewhere
    if len(found.bins) > _FULL_MATRIX:
        worst: dict[str, tuple[OnBin, OnBin]] = {}
        for own, other in found.elsewhere:
            before = worst.get(own.bin.sha256)
            if before is None or (other.rates.far or 0) > (before[1].rates.far or 0):
                worst[own.bin.sha256] = own, other
        shown = tuple(worst.values())
    return [
        ((own.label, cosine_text(own.rates.threshold), other.label), other.rates)
        for own, other in shown
    ]


def plain_deployment(found: Deployment) -> str:
    """The threshold alone on the first line that is no comment, then a line a bin."""
    lines = [
        f"# {found.model.name} {found.model.identity}",
        f"threshold {cosine_text(found.rates.threshold)} {_interval(found)}".rstrip(),
    ]
    rows = [["bin", "impostors", "FAR", "FAR_95%", "genuine", "FRR", "FRR_95%"]]
    for label, rates in _rows(found):
        far, far_95, frr, frr_95 = _cells(rates)
        rows.append([label, str(rates.impostors), far, far_95, str(rates.genuine), frr, frr_95])
    lines += spaceless(rows)
    if others := _elsewhere(found):
        heads = ["threshold_of", "cosine", "on", "FAR", "FAR_95%", "FRR", "FRR_95%"]
        lines.append("# each bin's own threshold on the others")
        lines += spaceless([heads, *([*names, *_cells(rates)] for names, rates in others)])
    lines += [f"# {text}" for text in (*_caption(found), *_notes(found))]
    return "\n".join(lines) + "\n"


def _cells(rates: Rates) -> list[str]:
    far, frr = f"[{_ends(rates.far_ci95)}]", f"[{_ends(rates.frr_ci95)}]"
    return [_rate(rates.far), far, _rate(rates.frr), frr]


def cosine_text(value: float) -> str:
    """A threshold with four digits where these are all of it, else with every digit it has."""
    short = f"{value:.4f}"
    return short if float(short) == value else repr(value)


def _interval(found: Deployment) -> str:
    if found.chosen is None:
        return ""
    low, high = found.chosen.interval
    return f"[{low:.4f}, {'unknown' if high is None else f'{high:.4f}'}]"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _ends(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2g} .. {interval[1]:.2g}"


def _caption(found: Deployment) -> list[str]:
    last = "In brackets: 95 % intervals."
    if found.chosen is None:
        return [last]
    return [*_promise(found.chosen, found.bins), last]


def _promise(chosen: DeploymentThreshold, bins: Sequence[OnBin]) -> list[str]:
    whose = f"all {len(bins)} bins together" if len(bins) > 1 else bins[0].label
    pairs, plain = chosen.rates.impostors, chosen.empirical
    worth = (
        "taken as independent"
        if chosen.effect == 1
        else f"worth {pairs / chosen.effect:,.0f} independent ones"
    )
    lines = [
        f"Chosen so that at {100 * chosen.confidence:g} % confidence at most "
        f"{chosen.target_far:g} of fresh strangers pass, people like the impostors of {whose} "
        f"({pairs:,} pairs, {worth})."
    ]
    if plain.frr is not None:
        above = math.ceil(plain.threshold * 1e4) / 1e4
        lines.append(
            f"At {above:.4f}, where at most {chosen.target_far:g} of these very pairs pass, FRR is "
            f"{_rate(plain.frr)} [{_ends(plain.frr_ci95)}]; of fresh strangers often more pass."
        )
    return lines


# What became of pairs that have no score -> what rates make of them.
_TAKEN = {"dropped": "left out", "missed": "accepted at no threshold"}


def _notes(found: Deployment) -> list[str]:
    notes = list(found.notes)
    if len(found.bins) > _FULL_MATRIX and found.elsewhere:
        notes.append(
            "of each bin's own threshold, where its FAR is highest; all are in --format json"
        )
    return notes + [
        f"{each.label}: {each.failed.words}, {_TAKEN[each.failed.how]}"
        for each in found.bins
        if each.failed.pairs
    ]


def json_deployment(found: Deployment) -> str:
    """Everything at full precision, with hashes, as one JSON object."""
    model: dict[str, Any] = {"name": found.model.name, "sha256": found.model.identity}
    model["settings"] = None if found.model.variant is None else asdict(found.model.variant)
    value: dict[str, Any] = {"schema": 1, "model": model}
    chosen = found.chosen
    if chosen is not None:
        value |= {"target_far": chosen.target_far, "confidence": chosen.confidence}
    value["threshold"] = found.rates.threshold
    if chosen is not None:
        value |= {
            "interval95": list(chosen.interval),
            "impostors_to_bound": chosen.impostors_to_bound,
            "design_effect": chosen.effect,
            "empirical": asdict(chosen.empirical),
        }
    value |= {"pooled": asdict(found.rates), "bins": [_json_bin(each) for each in found.bins]}
    if chosen is not None:
        value["elsewhere"] = [
            {"threshold_of": {"name": own.bin.name, "sha256": own.bin.sha256}, **_json_bin(other)}
            for own, other in found.elsewhere
        ]
    return json.dumps(value | {"notes": _notes(found)}, indent=2) + "\n"


def _json_bin(on: OnBin) -> dict[str, Any]:
    failed = {how: on.failed.pairs if on.failed.how == how else 0 for how in _TAKEN}
    named = {"name": on.bin.name, "sha256": on.bin.sha256}
    return named | {f"{how}_pairs": count for how, count in failed.items()} | asdict(on.rates)
