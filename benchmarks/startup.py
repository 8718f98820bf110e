"""Commands that load no model, beside importing TensorFlow.

    python benchmarks/startup.py [--quick]

Each is a process from start to end; processes take turns.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from leaderboard import fill
from rows import Row, parsed, parser, say
from table import finish
from timing import interleaved, median, ratio, run_seconds

# Command -> the seconds that it may take; the leaderboard ranks 30 results.
LIMITS = {"zoo --help": 0.5, "zoo leaderboard": 0.6}


def main() -> None:
    """Prints a row a command: seconds, beside TensorFlow's import."""
    options = parsed(parser(__doc__))
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), 30)
        leaderboard = [sys.executable, "-m", "zoo", "leaderboard", "--results", name]
        commands = {
            "import tensorflow": [sys.executable, "-c", "import tensorflow"],
            "zoo --help": [sys.executable, "-m", "zoo", "--help"],
            "zoo leaderboard": leaderboard,
        }
        # After the first time the files are in memory.
        warm_up = not options.quick
        rounds = interleaved(commands, options.rounds, warm_up=warm_up, measure=run_seconds)
    slow = median(rounds, "import tensorflow")
    rows = []
    for key, limit in LIMITS.items():
        seconds = median(rounds, key)
        times = ratio(rounds, "import tensorflow", key)
        cpu = ratio(rounds, "import tensorflow", key, clock="cpu")
        say(f"{key}: {seconds:.3f} s; of processor time a {cpu:.1f}th of TensorFlow's import")
        rows.append(
            Row(
                f"startup-{key.split()[-1].strip('-')}-seconds", key,
                'python -c "import tensorflow"', seconds, "s", limit, at_most=True,
                rounds=options.rounds, detail=f"{slow:.2f} s, {times:.1f} times as long",
            )
        )  # fmt: skip
    finish(rows, options)


if __name__ == "__main__":
    main()
