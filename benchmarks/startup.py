"""Commands that load no model, beside importing TensorFlow.

    python benchmarks/startup.py [--quick]

Each is a process from start to end; processes take turns. The leaderboard is asked for twice: first
with nothing remembered of the results, then again.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from leaderboard import fill
from rows import Row, finish, parsed, parser, say
from timing import ratio, run_seconds
from zoo.standing import NAME as MEMORY


def main() -> None:
    """Prints two rows a command: beside TensorFlow's import, and in seconds."""
    options = parsed(parser(__doc__))
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), 30)
        leaderboard = [sys.executable, "-m", "zoo", "leaderboard", "--results", name]
        commands = {
            "import tensorflow": [sys.executable, "-c", "import tensorflow"],
            "zoo --help": [sys.executable, "-m", "zoo", "--help"],
            "zoo leaderboard, first": leaderboard,
            "zoo leaderboard": leaderboard,
        }
        for command in commands.values():
            run_seconds(command)  # from now on the files are in memory
        rounds = []
        for _ in range(options.rounds):
            (Path(name) / MEMORY).unlink()
            rounds.append({key: run_seconds(command) for key, command in commands.items()})
    rows = []
    for key in list(commands)[1:]:
        seconds = statistics.median(each[key].wall for each in rounds)
        slow = statistics.median(each["import tensorflow"].wall for each in rounds)
        times = ratio(rounds, "import tensorflow", key)
        cpu = ratio(rounds, "import tensorflow", key, clock="cpu")
        say(f"{key}: {seconds:.3f} s; of processor time a {cpu:.1f}th of TensorFlow's import")
        name = key.replace("zoo ", "").strip("-").replace(", ", "-")
        rows += [
            Row(
                f"startup-{name}", key, 'python -c "import tensorflow"', times, "x",
                None if name.endswith("first") else 15,
                rounds=options.rounds, detail=f"{slow:.2f} s against {seconds:.2f} s",
                quick=options.quick,
            ),
            Row(
                f"startup-{name}-seconds", key, "-", seconds, "s", 0.5, at_most=True,
                rounds=options.rounds, detail="30 results stored", quick=options.quick,
            ),
        ]  # fmt: skip
    finish(rows, options)


if __name__ == "__main__":
    main()
