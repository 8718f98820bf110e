"""One row of the benchmarks' table: what every script hands over, alone or to ``make bench``.

A script makes its parser with `parser`, its rows with `Row`, and ends with `finish(rows, options)`
of `table`. What else it has to say goes through `say` to stderr. ``from rows import Row, parser,
say`` works for ``python benchmarks/NAME.py``, where Python puts this folder on its path.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One comparison.

    ``value`` is in ``unit``: "x" (times as fast, or as little), "%" (of a limit), "s", "MB" or ""
    (a plain number). ``wanted`` is the bound, at least or, with ``at_most``, at most; None where
    nothing is asked and the row only informs. ``rounds`` is how many interleaved rounds the median
    is of, ``detail`` both sides' own figures. ``quick`` rows are of small sizes: never judged.
    """

    key: str
    what: str
    against: str
    value: float
    unit: str
    wanted: float | None
    at_most: bool = False
    rounds: int = ROUNDS
    detail: str = ""
    quick: bool = False

    @property
    def verdict(self) -> str:
        """ok, miss, or - where nothing is judged."""
        if self.wanted is None or self.quick:
            return "-"
        met = self.value <= self.wanted if self.at_most else self.value >= self.wanted
        return "ok" if met else "miss"


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every script has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="small sizes, in seconds; not judged")
    made.add_argument("--json", action="store_true", help="the rows as one JSON list on stdout")
    made.add_argument("--rounds", type=int, help=f"rounds a row (default {ROUNDS}, quick 1)")
    made.add_argument("--shared", type=Path, default=None, help="the folder of real faces and bins")
    return made


def parsed(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with ``rounds`` and ``shared`` filled in: $ZOO_SHARED, else ../shared."""
    options = made.parse_args()
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    options.shared = options.shared or Path(os.environ.get("ZOO_SHARED", "../shared"))
    return options


def say(text: str) -> None:
    """A line for a person, on stderr: stdout is the rows'."""
    print(text, file=sys.stderr, flush=True)


def agree(what: str, difference: float, allowed: float) -> None:
    """Ends the script with exit code 1 where both sides of a comparison do not find the same."""
    if not difference <= allowed:
        sys.exit(f"{what} differ by {difference:.3g}; at most {allowed:g} was expected")


def rows_from_json(text: str) -> list[Row]:
    """The rows that `table.finish` printed."""
    found = json.loads(text)
    return [Row(**{key: each[key] for key in each if key != "verdict"}) for each in found]


def in_words(row: Row) -> tuple[str, str]:
    """Value and bound as they are printed: ("2.61x", ">= 2.5x")."""
    value = shown(row.value, row.unit)
    if row.wanted is None:
        return value, ""
    return value, f"{'<=' if row.at_most else '>='} {row.wanted:g}{spaced(row.unit)}"


def shown(value: float, unit: str) -> str:
    """A value with its unit, in three digits or so."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{spaced(unit)}"


def spaced(unit: str) -> str:
    """The unit as it follows a number: "x" and "%" closely, others after a space."""
    return unit if unit in ("x", "%", "") else f" {unit}"
