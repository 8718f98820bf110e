"""Every script of this folder, one after the other, and one table of what they found.

    python benchmarks                  what `make bench` runs: about 20 minutes, two cores
    python benchmarks --quick          small sizes, a minute or two; nothing is judged
    python benchmarks --json           the rows as JSON
    python benchmarks --markdown FILE  the table as Markdown too: docs/performance-table.md
    python benchmarks --only figures   that script alone (repeatable)

Each script runs in a process of its own: peaks of memory and start-up are each its own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from rows import Row, parsed, parser, rows_from_json, say
from table import finish, markdown

HERE = Path(__file__).parent

# In the order of the table. gpu.py is not here: it has nothing to say without a GPU.
SCRIPTS = (
    "evaluation",
    "command",
    "figures",
    "startup",
    "alignment",
    "compare",
    "leaderboard",
    "report",
    "triplets",
    "losses",
    "sampled_head",
    "pipeline",
    "steps",
    "records",
    "set_lists",
    "engines",
    "scaling",
    "processes",
    "isolation",
    "templates",
)


def main() -> None:
    """Runs the scripts; exit code 1 where one failed, whatever ratios were reached."""
    made = parser(__doc__)
    made.add_argument("--only", action="append", choices=SCRIPTS, help="that script (repeatable)")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    options = parsed(made)
    rows: list[Row] = []
    failed = []
    begin = time.perf_counter()
    for name in options.only or SCRIPTS:
        start = time.perf_counter()
        found = run_script(name, options)
        say(f"{name}: {time.perf_counter() - start:.0f} s")
        if found is None:
            failed.append(name)
        else:
            rows += found
    if options.markdown is not None:
        title = "# What `make bench` measured\n\n"
        note = "What each row means stands in [performance.md](performance.md).\n\n"
        text = f"{title}{machine()} {note}{markdown(rows)}"
        options.markdown.write_text(text, encoding="utf-8")
    finish(rows, options)
    say(f"in {(time.perf_counter() - begin) / 60:.1f} minutes")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def machine() -> str:
    """What the table was measured on, in a sentence or two."""
    packages = ("tensorflow", "keras", "numpy", "scipy")
    versions = ", ".join(f"{each} {importlib.metadata.version(each)}" for each in packages)
    model = "an unnamed processor"
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next(
            (line.split(": ")[1] for line in text.splitlines() if line.startswith("model name")),
            model,
        )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}; the "
        f"load at the end was {load:.1f}."
    )


def run_script(name: str, options: argparse.Namespace) -> list[Row] | None:
    """The rows of one script, or None where it failed; its words go to stderr as they come."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
    command += ["--shared", str(options.shared)]
    command += ["--quick"] if options.quick else []
    if not options.quick:
        command += ["--rounds", str(options.rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        say(f"{name}: exit code {done.returncode}")
        return None
    return rows_from_json(done.stdout)


if __name__ == "__main__":
    main()
