"""Scans against loads: what a scan passes is loaded, and must do nothing but compute.

A format draws files by its grammar. Each is scanned as loading would scan it, which passes it or
raises an InputError of one printable line. Of what passes a part is loaded by `fuzz.loader`, spread
over the whole run: a trip, or an exception that is not declared, is a finding. That a file crashes
or hangs its process is counted, and none: the process is there for that.
"""

from __future__ import annotations

import random
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from evaluator.errors import InputError
from fuzz.loader import Outcome
from fuzz.mutation import MOST_FINDINGS, place_of, time_limit
from fuzz.targets import check_message

_RAISED = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt)\b")
# Files that crashed or hung their process, kept to be looked at.
_MOST_ENDED = 10


@dataclass(frozen=True)
class Places:
    """Where a payload reads: ``canary`` is the absolute path of a file that nothing reads."""

    canary: str


class Format(Protocol):
    """A kind of file that comes from strangers, drawn by its grammar."""

    name: str

    def draw(self, draw: random.Random) -> Any:
        """A case: what one file says."""

    def scan(self, case: Any) -> None:
        """Raises InputError for a case that must not be loaded."""

    def write(self, case: Any) -> Path:
        """The file of a case, to be loaded."""

    def kept(self, case: Any) -> bytes:
        """A case as a finding is kept."""


@dataclass
class Tally:
    """What became of a format's cases, and the findings: input and text."""

    scanned: int = 0
    passed: int = 0
    tried: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    tripped: int = 0
    findings: list[tuple[bytes, str]] = field(default_factory=list)
    #: What ended its process: input and how.
    ended: list[tuple[bytes, str]] = field(default_factory=list)
    #: Why files that a scan passed were not loaded: the first words, and how often.
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def loaded(self) -> int:
        """Files that were loaded and run."""
        return self.outcomes.get("loaded", 0)


def compare(
    cases: Format,
    runs: int,
    loads: int,
    seed: int,
    *,
    load: Callable[[Path], Outcome] | None,
    seen: Callable[[], list[str]] | None = None,
    seconds_a_scan: int | None = None,
    scan: Callable[[Any], None] | None = None,
    report: Callable[[Tally], None] | None = None,
) -> Tally:
    """Scans ``runs`` cases, the same for the same seed, and has ``loads`` of them loaded.

    ``loads`` counts files that were really loaded; those that a library refuses are tried too, at
    most three times as many. ``seen`` tells what was touched that nothing has any business with.
    Stops after ``MOST_FINDINGS`` different findings. ``scan`` stands in for the format's own, which
    is for tests. ``report`` is called now and then.
    """
    draw, tally, known = random.Random(f"{cases.name} {seed}"), Tally(), set[str]()
    look = scan or cases.scan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, on what a grammar makes of their names
        while tally.scanned < runs and len(known) < MOST_FINDINGS:
            case = cases.draw(draw)
            tally.scanned += 1
            found = ""
            try:
                with time_limit(seconds_a_scan):
                    passed = _passes(look, case)
                if seen is not None and (opened := seen()):
                    tally.tripped += 1
                    found = f"tripped: the scan: {'; '.join(opened)}"
                elif passed:
                    tally.passed += 1
                    if load is not None and _is_due(tally, runs, loads):
                        outcome = load(cases.write(case))
                        found = _told(tally, outcome)
                        _keep_ended(tally, outcome, cases.kept(case))
            except Exception as error:  # noqa: BLE001 - every escape is what is looked for
                found = f"{place_of(error)}\n{traceback.format_exc()}"
            if found and (kind := found.splitlines()[0][:160]) not in known:
                known.add(kind)
                tally.findings.append((cases.kept(case), found))
            if report is not None and tally.scanned % 1000 == 0:
                report(tally)
    return tally


def _passes(look: Callable[[Any], None], case: Any) -> bool:
    """Whether a scan passes a case. Raises whatever is wrongly raised."""
    try:
        look(case)
    except InputError as error:
        check_message(str(error))
        return False
    return True


def _is_due(tally: Tally, runs: int, loads: int) -> bool:
    """Whether a passed case is loaded, so that loads are spread over the run."""
    share = tally.scanned / runs
    return tally.loaded < loads * share and tally.tried < 3 * loads * share + 1


def _told(tally: Tally, outcome: Outcome) -> str:
    """The finding that an outcome is, or an empty text. Raises FindingError for its message."""
    tally.tried += 1
    tally.outcomes[outcome.kind] = tally.outcomes.get(outcome.kind, 0) + 1
    if outcome.trips:
        tally.tripped += 1
        told = "\n".join(outcome.trips)
        return f"tripped: {outcome.trips[0][:120]}\n{told}\n{outcome.message}"
    if outcome.kind == "refused":
        check_message(outcome.message)
        words = outcome.message.partition(": ")[2].partition(": ")[2][:70]
        tally.reasons[words] = tally.reasons.get(words, 0) + 1
    elif outcome.kind == "escaped":
        lines = outcome.message.rstrip().splitlines()
        raised = next((each for each in reversed(lines) if _RAISED.match(each)), lines[-1])
        return f"undeclared: {raised.partition(':')[0][:80]}\n{outcome.message}"
    return ""


def _keep_ended(tally: Tally, outcome: Outcome, data: bytes) -> None:
    if outcome.kind in ("crashed", "hung") and len(tally.ended) < _MOST_ENDED:
        tally.ended.append((data, f"{outcome.kind}: {outcome.message}"))
