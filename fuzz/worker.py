"""One target in this process, which the inputs may end: `python -m fuzz.worker` for `__main__`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz.differential import Tally


def main(
    name: str,
    runs: str,
    seed: str,
    engine: str,
    folder: str,
    loads: str = "0",
    trust: str = "False",
) -> None:
    """Leaves ``tally.json`` in the folder, and each finding's input and traceback."""
    place = Path(folder)
    from fuzz.formats import FORMATS

    if name in FORMATS:
        compare_scans(name, int(runs), int(loads), int(seed), place, trust=trust == "True")
        return
    if engine == "atheris":
        import atheris

        # Only what is imported in here is measured; so our readers are imported here first.
        with atheris.instrument_imports(include=["evaluator", "training", "zoo"]):
            from fuzz.targets import TARGETS
        from fuzz.coverage_guided import fuzz_by_coverage

        fuzz_by_coverage(TARGETS[name], int(runs), int(seed), folder=place)  # ends the process
    from fuzz.mutation import SECONDS_AN_INPUT, fuzz, limit_memory
    from fuzz.targets import TARGETS

    limit_memory()
    tally = fuzz(
        TARGETS[name], int(runs), int(seed), folder=place, seconds_an_input=SECONDS_AN_INPUT
    )
    _keep(place, "finding", tally.findings)
    counts = {"executed": tally.executed, "accepted": tally.accepted}
    (place / "tally.json").write_text(json.dumps(counts))


def compare_scans(name: str, runs: int, loads: int, seed: int, place: Path, *, trust: bool) -> None:
    """Scans files of a format that is drawn by grammar, and loads a part of what passes."""
    from fuzz.formats import bench
    from fuzz.mutation import SECONDS_AN_INPUT

    def write(tally: Tally) -> None:
        counts = {
            "executed": tally.scanned,
            "accepted": tally.passed,
            "tried": tally.tried,
            "tripped": tally.tripped,
            **tally.outcomes,
        }
        (place / "tally.json").write_text(json.dumps(counts))
        (place / "reasons.json").write_text(json.dumps(tally.reasons, indent=1))
        _keep(place, "finding", tally.findings)
        _keep(place, "ended", tally.ended)

    inner = place / "bench"
    inner.mkdir()
    with bench(inner, trust=trust) as made:
        cases = made.format(name)
        seconds = SECONDS_AN_INPUT
        write(made.compare(cases, runs, loads, seed, seconds_a_scan=seconds, report=write))


def _keep(place: Path, kind: str, found: list[tuple[bytes, str]]) -> None:
    for number, (data, text) in enumerate(found):
        (place / f"{kind}-{number}").write_bytes(data)
        (place / f"{kind}-{number}.txt").write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
