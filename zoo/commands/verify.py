"""`zoo verify`: an entry's file against the figures published for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.terminal import options
from zoo.terminal.words import note, warn

if TYPE_CHECKING:
    from evaluator.results.record import Result
    from zoo.entries.registry import Entry


@dataclass(frozen=True)
class Check:
    """A published accuracy beside the measured one, with its 95 % interval; None: not measured."""

    entry: str
    bin: str
    protocol: str
    published: float
    measured: float | None
    interval: tuple[float, float] | None

    @property
    def within(self) -> bool:
        """Whether the published figure lies in the interval of the measured one."""
        if self.interval is None:
            return False
        return self.interval[0] <= self.published <= self.interval[1]


def verify(
    names: Annotated[
        list[str], typer.Argument(metavar="ENTRY", help="Entries with published figures.")
    ],
    data: options.Data = None,
    batch_size: options.BatchSize = 64,
    results: options.Results = options.RESULTS,
    fresh: options.Fresh = False,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """Evaluate entries under their published protocol and compare; exit 1 where they differ.

    zoo verify arc_8 --data datasets
    """
    from zoo.entries.lookup import all_bins, bin_folders, resolve_models
    from zoo.entries.registry import entry_named, read_registry, registry_path
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.request import Request

    entries = read_registry(registry_path(registry))
    there = {path.stem: path for path in all_bins(bin_folders(data or []))}
    checks = []
    failures = []
    for name in dict.fromkeys(names):
        entry = entry_named(name, entries)
        bins = _published_bins(entry, there)
        request = Request(
            models=resolve_models([name], {name: entry}),
            bins=list(bins.values()),
            flip=entry.flip,
            batch_size=batch_size,
            results=results,
            fresh=fresh,
            trust=trust,
        )
        found, failed = run_request(request)
        failures += failed
        checks += [checked(entry, result, results) for result in found]
    if checks:
        _print(checks)
    for failure in failures:
        warn(f"zoo: error: {failure}")
    raise typer.Exit(2 if failures else 0 if all(check.within for check in checks) else 1)


def _published_bins(entry: Entry, there: Mapping[str, Path]) -> dict[str, Path]:
    """The bins that an entry has published figures on, and that are here."""
    from evaluator.errors import InputError

    if not entry.published:
        raise InputError(f"entry {entry.name!r} has no published figures to compare with")
    found = {name: there[name] for name in entry.published if name in there}
    missing = [name for name in entry.published if name not in there]
    if not found:
        raise InputError(
            f"entry {entry.name!r} has figures on {', '.join(missing)}, and none of these bins is "
            "here; name their folder with --data DIR"
        )
    if missing:
        note(f"{entry.name}: not here, left out: {', '.join(missing)}")
    return found


def checked(entry: Entry, result: Result, store: Path) -> Check:
    """A result beside what is published for its bin. Raises ResultError."""
    measured, interval = _accuracy(entry, result, store)
    return Check(
        entry=entry.name,
        bin=result.bin.name,
        protocol=(entry.protocol or "seed") + (", flip sum" if entry.flip == "sum" else ""),
        published=entry.published[result.bin.name].accuracy,
        measured=measured,
        interval=interval,
    )


def _accuracy(
    entry: Entry, result: Result, store: Path
) -> tuple[float | None, tuple[float, float] | None]:
    """The accuracy under the entry's protocol and its 95 % interval; None if undefined or not
    finite.
    """
    from evaluator.metrics.all_figures import all_figures
    from evaluator.metrics.figures.accuracy import interval_of
    from evaluator.metrics.protocols import seed300
    from evaluator.results.measured import path_of
    from evaluator.results.store import load_scores
    from evaluator.statistics.shared_pairs import Scored

    if result.figures is None:
        return None, None
    scored = Scored(result, load_scores(path_of(result, store), result))
    if entry.protocol == "seed300":  # the one protocol that is no figure of results
        best = seed300(scored.sorted.pairs.scores, scored.sorted.pairs.is_genuine)
        ends = None if best is None else interval_of(best, scored.sorted, scored.sharing)
        return None if best is None else best.accuracy, ends
    protocol = entry.protocol if entry.protocol in ("kfold", "insightface") else "accuracy"
    figure = all_figures()[protocol]
    return figure.read(result.figures), scored.interval_of(figure)


def _print(checks: list[Check]) -> None:
    from zoo.terminal.table import open_table

    figures = ("published", "measured", "difference", "95 % interval")
    console, table = open_table(("entry", "bin", "protocol"), figures)
    table.add_column("within")
    for check in checks:
        measured, difference, interval = "not finite", "-", "-"
        if check.measured is not None and check.interval is not None:
            measured = f"{100 * check.measured:.2f}"
            difference = f"{100 * (check.measured - check.published):+.2f}"
            interval = f"{100 * check.interval[0]:.2f}-{100 * check.interval[1]:.2f}"
        table.add_row(
            check.entry,
            check.bin,
            check.protocol,
            f"{100 * check.published:.2f}",
            measured,
            difference,
            interval,
            "yes" if check.within else "NO",
        )
    console.print(table)
