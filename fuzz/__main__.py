"""Runs the fuzzer: `python -m fuzz --runs 1000000`, `python -m fuzz models.yaml --seed 3`.

Each target runs in a process of its own with bounded memory, so that a crash inside a C library is
a finding like any other: its input is the file the process was reading. With `--engine atheris` the
inputs are chosen by coverage (needs atheris), else they are mutations of the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from fuzz.mutation import scratch_folder
from fuzz.targets import TARGETS


def main() -> int:
    """1 if anything was found, else 0; a line a target."""
    options = _options()
    names = options.targets or list(TARGETS)
    weights = {name: TARGETS[name].weight for name in names}
    findings = executed = 0
    for name, weight in weights.items():
        runs = -(-options.runs * weight // sum(weights.values()))
        start = time.monotonic()
        counts, found = run(name, runs, options)
        seconds = time.monotonic() - start
        executed += counts["executed"]
        findings += found
        print(
            f"{name:14} {counts['executed']:>9,} inputs, {counts['accepted']:>8,} accepted,"
            f" {found} findings, {seconds:6.0f} s",
            flush=True,
        )
    print(f"{'all':14} {executed:>9,} inputs, {findings} findings, engine {options.engine}")
    return 1 if findings else 0


def run(name: str, runs: int, options: argparse.Namespace) -> tuple[dict[str, int], int]:
    """How many inputs one target got and accepted, and how many findings were kept."""
    with scratch_folder() as scratch:
        folder = Path(scratch)
        command = [sys.executable, "-m", "fuzz.worker", name, str(runs), str(options.seed)]
        done = subprocess.run(
            [*command, options.engine, scratch], capture_output=True, text=True, check=False
        )
        if done.returncode:  # ended by a signal in C code, or by a mistake of the fuzzer's
            last = folder / TARGETS[name].file
            (folder / "finding-last").write_bytes(last.read_bytes() if last.exists() else b"")
            (folder / "finding-last.txt").write_text(
                f"{done.stderr[-4000:]}\nthe process ended with {done.returncode}"
            )
        found = sorted(folder.glob("finding-*.txt"))
        options.findings.mkdir(parents=True, exist_ok=True)
        for text in found:
            kept = options.findings / f"{name}-{options.seed}-{text.stem.removeprefix('finding-')}"
            kept.write_bytes(text.with_suffix("").read_bytes())
            kept.with_name(kept.name + ".txt").write_text(text.read_text())
            print(f"  {kept}: {text.read_text().rstrip().splitlines()[-1][:200]}")
        tally = folder / "tally.json"
        counts = json.loads(tally.read_text()) if tally.exists() else {}
        return {"executed": 0, "accepted": 0, **counts}, len(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=20_000, help="inputs over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutation", "atheris"), default="mutation")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there is: {', '.join(TARGETS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
