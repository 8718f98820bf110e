"""Runs the fuzzer: `python -m fuzz --runs 1000000`, `python -m fuzz models.yaml --seed 3`.

Each target runs in a process of its own with bounded memory, so that a crash inside a C library is
a finding like any other: its input is the file the process was reading. With `--engine atheris` the
inputs are chosen by coverage (needs atheris), else they are mutations of the seeds.

The formats (keras, savedmodel, onnx, openvino, frozen, tflite, results) are drawn by grammar
instead and scanned, and what a scan passes is loaded behind the wall with a tripwire:
`python -m fuzz keras --scans 100000 --loads 2000`. Without a name all readers are fuzzed and no
format; `formats` names them all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from fuzz.formats import FORMATS
from fuzz.mutation import scratch_folder
from fuzz.targets import TARGETS

_NAMES = (*TARGETS, *FORMATS, "formats")


def main() -> int:
    """1 if anything was found, else 0; a line a target."""
    options = _options()
    names = [name for name in options.targets or TARGETS if name in TARGETS]
    formats = [name for name in FORMATS if {name, "formats"} & set(options.targets)]
    found = sum(_format_line(name, options) for name in formats)
    if not names:
        return 1 if found else 0
    return 1 if _readers(names, options) + found else 0


def _format_line(name: str, options: argparse.Namespace) -> int:
    """How many findings a format gave; prints its counts."""
    start = time.monotonic()
    counts, found = run(name, options.scans, options)
    ended = counts.get("crashed", 0) + counts.get("hung", 0)
    print(
        f"{name:14} {counts['executed']:>9,} scans, {counts['accepted']:>8,} passed,"
        f" {counts.get('tried', 0):,} tried: {counts.get('loaded', 0):,} loaded,"
        f" {counts.get('refused', 0):,} refused, {ended:,} ended their process,"
        f" {counts.get('tripped', 0):,} tripped; {found} findings,"
        f" {time.monotonic() - start:6.0f} s",
        flush=True,
    )
    return found


def _readers(names: list[str], options: argparse.Namespace) -> int:
    """How many findings the readers gave; prints a line for each."""
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
    return findings


def run(name: str, runs: int, options: argparse.Namespace) -> tuple[dict[str, int], int]:
    """How many inputs one target got and accepted, and how many findings were kept."""
    with scratch_folder() as scratch:
        folder = Path(scratch)
        command = [sys.executable, "-m", "fuzz.worker", name, str(runs), str(options.seed)]
        done = subprocess.run(
            [*command, options.engine, scratch, str(options.loads), str(options.trust)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:  # ended by a signal in C code, or by a mistake of the fuzzer's
            last = _last_input(name, folder)
            (folder / "finding-last").write_bytes(last.read_bytes() if last else b"")
            (folder / "finding-last.txt").write_text(
                f"{done.stderr[-4000:]}\nthe process ended with {done.returncode}"
            )
        found = sorted(folder.glob("finding-*.txt"))
        options.findings.mkdir(parents=True, exist_ok=True)
        _keep_notes(name, folder, options)
        for text in found:
            kept = options.findings / f"{name}-{options.seed}-{text.stem.removeprefix('finding-')}"
            kept.write_bytes(text.with_suffix("").read_bytes())
            kept.with_name(kept.name + ".txt").write_text(text.read_text())
            print(f"  {kept}: {text.read_text().rstrip().splitlines()[-1][:200]}")
        tally = folder / "tally.json"
        counts = json.loads(tally.read_text()) if tally.exists() else {}
        return {"executed": 0, "accepted": 0, **counts}, len(found)


def _last_input(name: str, folder: Path) -> Path | None:
    """The file that a process was reading when it ended."""
    if name in TARGETS:
        last = folder / TARGETS[name].file
        return last if last.exists() else None
    files = [path for path in folder.glob("bench/models-*/**/*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_mtime_ns, default=None)


def _keep_notes(name: str, folder: Path, options: argparse.Namespace) -> None:
    """Keeps what ended its process, and why files were not loaded: to be looked at."""
    for path in (*folder.glob("ended-*"), *folder.glob("reasons.json")):
        (options.findings / f"{name}-{options.seed}-{path.name}").write_bytes(path.read_bytes())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(_NAMES))
    parser.add_argument("--runs", type=int, default=20_000, help="inputs over all targets")
    parser.add_argument("--scans", type=int, default=100_000, help="files of each format")
    parser.add_argument("--loads", type=int, default=2_000, help="files of each format loaded")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="load what a scan passed without the libraries' own safe mode, behind the wall",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutation", "atheris"), default="mutation")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    options = parser.parse_args()
    unknown = [name for name in options.targets if name not in _NAMES]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there is: {', '.join(_NAMES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
