"""Published figures beside ours as text, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from zoo.entries.public_bins import MOVES
from zoo.results.verification import Check
from zoo.terminal.blocks import Block, csv_rows

_HEADER = ("model", "bin", "published", "ours", "diff", "95 %", "word")


def blocks_of(checks: Sequence[Check]) -> list[Block]:
    """A row a published figure; under them why figures are missing, and what the bins are."""
    measured = [each for each in checks if each.sha256 is not None]
    lines = [(f"not measured, {each.why}", each.entry) for each in checks if each.why]
    lines += [
        (f"other bin, {each.bin.why}", f"{each.entry} on {each.name}")
        for each in measured
        if each.bin.same is False
    ]
    lines += [
        (each.bin.why, f"{each.name} ({(each.sha256 or '')[:8]})")
        for each in measured
        if each.bin.same is not False
    ]
    notes = _gathered(lines)
    if any(each.bin.same is not True for each in measured):
        notes.append(f"what another bin can do: {MOVES}")
    notes += _gathered((f"protocol {each.protocol}", each.entry) for each in checks)
    title = "published accuracy and ours, in %, with the 95 % interval of ours"
    return [Block(title, _HEADER, tuple(map(_cells, checks)), tuple(notes), words=2)]


def _gathered(lines: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each that is said, with all of whom it is said, each once."""
    found: dict[str, dict[str, None]] = {}
    for said, of in lines:
        found.setdefault(said, {})[of] = None
    return [f"{said}: {', '.join(of)}" for said, of in found.items() if said]


def _cells(each: Check) -> tuple[str, ...]:
    interval = (
        "-" if each.interval is None else "-".join(f"{100 * end:.2f}" for end in each.interval)
    )
    ours = "-" if each.measured is None else f"{100 * each.measured:.2f}"
    apart = "-" if each.difference is None else f"{100 * each.difference:+.2f}"
    return each.entry, each.name, f"{100 * each.published:.2f}", ours, apart, interval, each.word


def _values(each: Check) -> dict[str, object]:
    low, high = each.interval or (None, None)
    return {
        "model": each.entry,
        "bin": each.name,
        "protocol": each.protocol,
        "published": each.published,
        "ours": each.measured,
        "difference": each.difference,
        "low95": low,
        "high95": high,
        "word": each.word,
        "why": each.why or each.bin.why or None,
        "bin_sha256": each.sha256,
    }


def csv_checks(checks: Sequence[Check]) -> str:
    """A row a published figure, with every digit."""
    rows = [_values(each) for each in checks]
    return csv_rows(list(rows[0]), [list(row.values()) for row in rows])


def json_checks(checks: Sequence[Check]) -> str:
    """A JSON object with ``checks``, an object a published figure; null is unknown."""
    found = {"schema": 1, "checks": [_values(each) for each in checks]}
    return json.dumps(found, indent=2, allow_nan=False) + "\n"
