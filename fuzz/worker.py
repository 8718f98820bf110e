"""One target in this process, which the inputs may end: `python -m fuzz.worker` for `__main__`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(name: str, runs: str, seed: str, engine: str, folder: str) -> None:
    """Leaves ``tally.json`` in the folder, and each finding's input and traceback."""
    place = Path(folder)
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
    for number, (data, text) in enumerate(tally.findings):
        (place / f"finding-{number}").write_bytes(data)
        (place / f"finding-{number}.txt").write_text(text)
    counts = {"executed": tally.executed, "accepted": tally.accepted}
    (place / "tally.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
