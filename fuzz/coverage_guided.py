"""Inputs chosen by coverage: atheris (libFuzzer) around the targets of `targets.py`."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import atheris

from fuzz.mutation import LONGEST_INPUT, SECONDS_AN_INPUT, place_of
from fuzz.targets import Target, execute


def fuzz_by_coverage(target: Target, runs: int, seed: int, *, folder: Path) -> NoReturn:
    """Feeds ``runs`` inputs to the target and ends the process; see `worker.main` for its files."""
    corpus, counts, known = folder / "corpus", {"executed": 0, "accepted": 0}, set()
    corpus.mkdir()
    if target.prepare:
        target.prepare(folder)
    for number, data in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(data)
    words = folder / "tokens"
    words.write_text(
        "".join(f'"{_escaped(token)}"\n' for token in target.tokens if len(token) < 64)
    )

    def one(data: bytes) -> None:
        counts["executed"] += 1
        try:
            counts["accepted"] += execute(target, folder, data)
        except Exception as error:  # noqa: BLE001 - every escape is what is looked for
            kind = place_of(error)
            if kind not in known:
                name = f"finding-{len(known)}"
                known.add(kind)
                (folder / name).write_bytes(data)
                (folder / f"{name}.txt").write_text(traceback.format_exc())
        if counts["executed"] % 500 == 0 or counts["executed"] >= runs:
            (folder / "tally.json").write_text(json.dumps(counts))

    atheris.Setup(
        [
            sys.argv[0],
            f"-runs={runs}",
            f"-seed={seed + 1}",
            f"-max_len={LONGEST_INPUT // 8}",
            f"-timeout={SECONDS_AN_INPUT}",
            "-rss_limit_mb=0",
            f"-dict={words}",
            f"-artifact_prefix={folder}/",
            str(corpus),
        ],
        one,
    )
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)
