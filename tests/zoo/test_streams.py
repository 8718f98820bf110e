"""Closed streams, narrow alphabets, full disks under a log, and signals: through the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stores import three_models

from tests.command import HEED_SIGNALS, ROOT, zoo_after


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    three_models(folder / "results")
    return folder


def shell(folder: Path, line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell in which `zoo` is this tree's, its own streams redirected as it says."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_")}
    return subprocess.run(
        ["bash", "-c", line.replace("zoo ", f"{sys.executable} -m zoo ")],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_good_as_dev_null(here: Path, closed: str) -> None:
    done = shell(here, f"zoo leaderboard {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rank") == (closed == "2>&-")
    wrong = shell(here, f"zoo nosuch {closed}")
    assert wrong.returncode == 2
    assert wrong.stdout == ""  # an error never goes to stdout, whose reader wants a table


def test_no_file_gets_the_number_of_a_closed_stream(here: Path) -> None:
    code = "import os; from zoo.terminal import streams; streams.prepare_streams(); "
    code += "print(os.pipe()[0] > 2)"
    done = shell(here, f"{sys.executable} -c '{code}' <&- 2>&-")
    assert done.stdout == "True\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_sign_that_the_encoding_lacks_is_spelled(here: Path, encoding: str) -> None:
    code = "from zoo.terminal.streams import prepare_streams as p; p(); print('1 ± 2 → 准')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    expected = {
        "ascii": b"1 +- 2 -> \\u51c6",
        "latin-1": b"1 \xb1 2 -> \\u51c6",
        "utf-8": "1 ± 2 → 准".encode(),
    }
    assert done.stdout.strip() == expected[encoding]


def test_results_on_a_full_disk_are_one_line(here: Path) -> None:
    done = shell(here, "zoo leaderboard > /dev/full")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "No space left on device" in done.stderr


def test_a_log_on_a_full_disk_does_not_end_the_work(here: Path) -> None:
    done = shell(here, "zoo report -o full.html 2> /dev/full")
    assert done.returncode == 0
    assert (here / "full.html").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_in_one_line(here: Path, number: signal.Signals) -> None:
    pipe = here / f"slow-{number.name}.bin"  # nobody writes to it, so the command waits
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*zoo_after(HEED_SIGNALS), "bins", "info", pipe.name],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pipe.open("wb"):  # returns once the command has opened its end
        time.sleep(0.2)
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (128 + number, "")
    assert err == "zoo: interrupted; what was finished is kept\n"


def test_ctrl_c_comes_again_where_python_would_drop_it(here: Path) -> None:
    # As in what it calls after a fork: a command whose workers just start would go on.
    code = HEED_SIGNALS + "import os, time\n"
    code += "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), s.SIGINT))\n"
    code += "from zoo.terminal.streams import stop_on_signals; stop_on_signals()\n"
    code += "try:\n    os.fork() or os._exit(0)\n    time.sleep(60)\n"
    code += "except KeyboardInterrupt:\n    print('stopped')\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("stopped\n", "")
