"""Comparisons as a Rich table, plain columns, CSV and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from evaluator.metrics.figure import Figure
from evaluator.statistics.comparison import KFOLD_DECISIONS, Comparison, Overall
from evaluator.statistics.duels import Duel, OnBin
from evaluator.statistics.pair_tests import SIGNIFICANCE
from evaluator.statistics.sides import Side, gathered
from evaluator.statistics.verdicts import p_text, ranking_digits, signed
from zoo.terminal.blocks import csv_rows
from zoo.terminal.table import headed_table, print_fitting, spaceless
from zoo.terminal.words import rich_terminal

#: The columns of a comparison.
HEADER = ("bin", "pairs", "A", "B", "A-B", "95%", "p", "only_A", "only_B", "pairs_needed")
_MAX_BIN_WIDTH = 16


def print_comparison(duels: Sequence[Duel]) -> None:
    """Prints duels on stdout: tables and verdicts on a terminal, plain columns in a pipe."""
    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_comparison(duels))
        return
    for duel in duels:
        _print_duel(duel, console)
    if len(duels) > 1:
        _print_summary(duels, console)
    console.print(footer(duels), style="dim", highlight=False)


def _print_duel(duel: Duel, console: Console) -> None:
    console.print(f"[bold]A[/bold]  {_heading(duel.a)}", highlight=False)
    console.print(f"[bold]B[/bold]  {_heading(duel.b)}", highlight=False)
    points = ", points" if ranking_digits(duel.figure).scale == 100 else ""
    table = headed_table()
    table.add_column("bin\n[dim]pairs[/dim]", overflow="fold", max_width=_MAX_BIN_WIDTH)
    for heading in (
        "A %\nB %" if duel.figure.digits.scale == 100 else "A\nB",
        f"A - B{points}\n[dim]95 % interval[/dim]",
        "p",
        "only A right\nonly B right",
        "pairs\nneeded",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in duel.bins:
        compared = each.comparison
        table.add_row(
            f"{escape(each.label)}\n[dim]{compared.pairs:,}[/dim]",
            f"{duel.figure.digits(compared.value_a)}\n{duel.figure.digits(compared.value_b)}",
            _difference_cell(compared, each.p_value, duel.figure),
            p_text(each.p_value),
            f"{len(compared.only_a):,}\n{len(compared.only_b):,}",
            _about(compared.pairs_needed, ","),
        )
    if len(duel.bins) > 1:
        table.add_section()
        overall = duel.overall
        table.add_row(
            f"mean of {overall.bins}\n[dim]{overall.pairs:,}[/dim]",
            "",
            _difference_cell(overall, duel.p_value, duel.figure),
            p_text(duel.p_value),
            "",
            "",
        )
    print_fitting(table, console)
    for name, words in verdicts_of(duel):
        _print_verdict(f"{name}: {words}", console)
    for note in gathered(duel.notes):
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)
    console.print()


def _about(pairs: int | None, thousands: str) -> str:
    """A number of pairs to the two digits that can be told, at best."""
    if pairs is None:
        return "-"
    rounded = round(pairs, 2 - len(str(pairs)))
    return f"~{rounded:{thousands}}"


def _difference_cell(compared: Comparison | Overall, p_value: float, figure: Figure) -> str:
    low, high = (signed(end, figure) for end in compared.interval)
    style = "bold" if p_value < SIGNIFICANCE else "not bold"
    return f"[{style}]{signed(compared.difference, figure)}[/{style}]\n[dim]{low} .. {high}[/dim]"


def _print_summary(duels: Sequence[Duel], console: Console) -> None:
    console.print("[bold]All pairs[/bold], mean of their bins")
    for duel in duels:
        sides = f"{duel.a.label} / {duel.b.label}"
        _print_verdict(f"{sides}: {duel.words}, p {p_text(duel.p_value)}", console)
    console.print()


def _print_verdict(line: str, console: Console) -> None:
    style = "" if "not separable" in line else "bold"
    console.print(line, style=style, highlight=False, markup=False)


def _heading(side: Side) -> str:
    words = side.key[2].words()
    hashed = f"[dim]{side.identity[:8]}[/dim]"
    return f"{escape(side.label)}  {hashed}" + (f"  [dim]{words}[/dim]" if words else "")


def verdicts_of(duel: Duel) -> list[tuple[str, str]]:
    """(bin, "overall" or "margin", sentence) for each bin, the mean of several, and the margin."""
    found = [(each.label, each.words) for each in duel.bins]
    if len(duel.bins) > 1:
        found.append(("overall", duel.words))
    if duel.margin_words:
        found.append(("margin", duel.margin_words))
    return found


def footer(duels: Sequence[Duel]) -> str:
    """What the figures, tests and intervals of comparisons are."""
    tests = sum(len(duel.bins) for duel in duels)
    corrected = f"; p corrected (Holm) for {tests} tests of bins" if tests > 1 else ""
    if len(duels) > 1:
        corrected += f" and {len(duels)} of means"
    return (
        f"{tested(duels[0])}; intervals are 95 % each{corrected}. "
        "Pairs needed: about, to find the observed difference in 4 of 5 cases. " + basis(duels)
    )


def basis(duels: Sequence[Duel]) -> str:
    """What pairs share: of each way to share, the bin where it matters most for all."""
    compared = [each.comparison for duel in duels for each in duel.bins]
    found = {c.method: c.basis for c in sorted(compared, key=lambda c: c.design_effect)}
    return "; ".join(found.values()).capitalize() + "."


def tested(duel: Duel) -> str:
    """What A and B are, and what their difference is of."""
    figure, at_best = duel.figure, "decisions at each model's best threshold on these pairs"
    shown = figure.words.partition(", %")[0]
    shown = shown[0].upper() + shown[1:]
    if duel.metric == KFOLD_DECISIONS:
        return f"{shown}, tested by its own decisions"
    if duel.metric == "accuracy":
        return f"Accuracy by {at_best}"
    if figure.fits_threshold:
        return f"A and B: {figure.label}; the difference and its test: {at_best}"
    if figure.searches:
        alone = "found by one alone" if figure.decisions else f"accuracy by {at_best}"
        return f"{shown} on the same searches, counted as pairs; only_A and only_B: {alone}"
    return f"{shown} on the same pairs; only_A and only_B: accuracy by {at_best}"


def rows_of(duel: Duel) -> list[list[str]]:
    """The texts of `HEADER`'s columns, a row a bin, and one of the mean of several."""
    rows = []
    for each in duel.bins:
        compared = each.comparison
        rows.append(
            [
                each.label,
                str(compared.pairs),
                duel.figure.digits(compared.value_a),
                duel.figure.digits(compared.value_b),
                *_difference_texts(compared, each.p_value, duel.figure),
                str(len(compared.only_a)),
                str(len(compared.only_b)),
                _about(compared.pairs_needed, ""),
            ]
        )
    if len(duel.bins) > 1:
        overall = duel.overall
        differences = _difference_texts(overall, duel.p_value, duel.figure)
        rows.append(["overall", str(overall.pairs), "-", "-", *differences, "-", "-", "-"])
    return rows


def _difference_texts(compared: Comparison | Overall, p_value: float, figure: Figure) -> list[str]:
    low, high = (signed(end, figure) for end in compared.interval)
    return [signed(compared.difference, figure), f"[{low},{high}]", p_text(p_value)]


def plain_comparison(duels: Sequence[Duel]) -> str:
    """Fixed columns, a blank line between duels; the words after "#", for grep and awk."""
    blocks = []
    for duel in duels:
        lines = [f"# A {duel.a.label} {duel.a.identity}", f"# B {duel.b.label} {duel.b.identity}"]
        lines += spaceless([HEADER, *rows_of(duel)])
        lines += [f"# {name}: {words}" for name, words in verdicts_of(duel)]
        lines += [f"# note: {note}" for note in gathered(duel.notes)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks) + f"\n# {footer(duels)}\n"


def csv_comparison(duels: Sequence[Duel]) -> str:
    """A row a bin and one for the mean of several, at full precision, with their verdicts."""
    header = "a,b,bin,pairs,difference,low95,high95,p_holm,separable,verdict".split(",")
    found = []
    for duel in duels:
        rows: list[tuple[str, Comparison | Overall, float, str]] = [
            (each.label, each.comparison, each.p_value, each.words) for each in duel.bins
        ]
        if len(duel.bins) > 1:
            rows.append(("overall", duel.overall, duel.p_value, duel.words))
        for bin, compared, p, words in rows:
            figures = [compared.pairs, compared.difference, *compared.interval, p]
            separable = str(p < SIGNIFICANCE).lower()
            found.append([duel.a.label, duel.b.label, bin, *figures, separable, words])
    return csv_rows(header, found)


def json_comparison(duels: Sequence[Duel], *, margin: float | None = None) -> str:
    """Everything, at full precision, as one JSON object."""
    value = {
        "schema": 1,
        "figure": duels[0].figure.name,
        "metric": duels[0].metric,
        "margin": margin,
        "significance": SIGNIFICANCE,
        "comparisons": [_duel_json(duel) for duel in duels],
    }
    return json.dumps(value, indent=2) + "\n"


def _duel_json(duel: Duel) -> dict[str, Any]:
    overall = duel.overall
    return {
        "a": _model_json(duel.a),
        "b": _model_json(duel.b),
        "notes": list(duel.notes),
        "overall": {
            "bins": overall.bins,
            "pairs": overall.pairs,
            "difference": overall.difference,
            "interval95": list(overall.interval),
            "interval90": list(overall.interval90),
            "p_value": overall.p_value,
            "p_holm": duel.p_value,
            "separable": duel.separable,
            "verdict": duel.words,
            "margin": duel.by_margin and {"verdict": duel.by_margin, "words": duel.margin_words},
            "detectable_difference": overall.detectable_difference,
        },
        "bins": [_bin_json(each, duel) for each in duel.bins],
    }


def _model_json(side: Side) -> dict[str, Any]:
    name, identity, variant = side.key
    return {"label": side.label, "name": name, "sha256": identity, "settings": variant.json}


def _bin_json(each: OnBin, duel: Duel) -> dict[str, Any]:
    compared = each.comparison
    failed = [side.results[each.bin.sha256].failed for side in (duel.a, duel.b)]
    return {
        "bin": {"name": each.bin.name, "sha256": each.bin.sha256},
        "pairs": compared.pairs,
        "dropped_pairs": each.dropped,
        "missed_pairs": [own.pairs if own.how == "missed" else 0 for own in failed],
        "value_a": compared.value_a,
        "value_b": compared.value_b,
        "accuracy_a": compared.accuracy_a,
        "accuracy_b": compared.accuracy_b,
        "difference": compared.difference,
        "interval95": list(compared.interval),
        "interval90": list(compared.interval90),
        "p_value": compared.p_value,
        "p_holm": each.p_value,
        "separable": each.p_value < SIGNIFICANCE,
        "verdict": each.words,
        "only_a": compared.only_a.tolist(),
        "only_b": compared.only_b.tolist(),
        "mcnemar_p": compared.mcnemar_p,
        "auc_difference": compared.auc_difference,
        "auc_p_value": compared.auc_p_value,
        "detectable_difference": compared.detectable_difference,
        "pairs_needed": compared.pairs_needed,
        "method": compared.method,
        "basis": compared.basis,
        "design_effect": compared.design_effect,
        "threshold_luck": compared.threshold_luck,
    }
