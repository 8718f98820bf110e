"""Faults of the machine and of others: what `zoo` loses by them (nothing), and what it says.

Each test runs the installed command as a process. The long versions are `kill_many.py` and
`many_models.py` in this folder; docs/reliability.md has what they printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from inputs import environment, make_inputs, run_zoo, start_zoo
from kill_many import SCENES, kill_many
from many_models import growth, memory_of_run, write_models

from evaluator.results.store import load_result, load_scores, stored_results
from tests.command import zoo_after
from zoo import cli


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three tiny models and two bins, for tests that only read them."""
    folder = tmp_path_factory.mktemp("made")
    make_inputs(folder, models=3)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy of it to write in."""
    return Path(shutil.copytree(made, tmp_path / "here"))


def last_line(text: str) -> str:
    return (text.splitlines() or [""])[-1]


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a command in this process, which has TensorFlow already, in that folder."""

    def run(folder: Path, *arguments: str) -> None:
        with monkeypatch.context() as context:
            context.chdir(folder)
            assert cli.run(arguments) == 0

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("command", "size", "times"), [("eval", 3, 1), ("report", 2, 3)])
def test_kill_9_leaves_nothing_half_and_loses_nothing(
    tmp_path: Path, run_here: Callable[..., None], command: str, size: int, times: int
) -> None:
    scene = SCENES[command](tmp_path, size, run_here)
    counts = kill_many(scene, tmp_path, times=times, seed=5)
    assert counts.kills == times
    assert counts.faults == []


@pytest.mark.slow
def test_kill_9_of_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, run_here: Callable[..., None]
) -> None:
    scene = SCENES["train"](tmp_path, 1, run_here)
    counts = kill_many(scene, tmp_path, times=1, seed=5)
    assert counts.kills == 1
    assert counts.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_what_is_left_and_the_next_run_goes_on(
    here: Path, number: signal.Signals
) -> None:
    arguments = ["eval", *(f"model{i}.onnx" for i in range(3)), "--input", "unit"]
    arguments += ["--bins", "bin0.bin", "bin1.bin"]
    process = start_zoo(here, arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while not list(stored_results(here / "results")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    out, said = process.communicate()
    stored = len(list(stored_results(here / "results")))
    assert (process.returncode, out) == (128 + number, "")
    assert "Traceback" not in said
    line = last_line(said)
    assert line.startswith("zoo: interrupted; ")
    assert line.endswith(
        f"{stored} of 6 results are stored in results/, {6 - stored} left: the same command goes "
        "on with the rest"
    )
    assert f"{stored} of 6 results answered from the store" in run_zoo(here, *arguments).stderr


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_keeps_what_was_stored(
    here: Path, run_here: Callable[..., None]
) -> None:
    run_here(here, "eval", "model0.onnx", "--input", "unit", "--bins", "bin0.bin", "-q")
    command = "eval model0.onnx model1.onnx --input unit --bins bin0.bin --results disk/results"
    script = (
        "mkdir disk && mount -t tmpfs -o size=32k none disk && cp -r results disk/ && "
        "head -c 1M /dev/zero > disk/filler; find disk/results -type f | sort > before; "
        f"{sys.executable} -m zoo {command}; code=$?; "
        "find disk/results -type f | sort | diff before - >&2; exit $code"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script],
        cwd=here, env=environment(), text=True, capture_output=True, check=False,
    )  # fmt: skip
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("zoo: error: ")]
    assert errors[0].startswith("zoo: error: disk/results")
    assert errors[0].endswith("No space left on device")
    assert "\n<" not in done.stderr  # nothing lost, in diff's words
    assert "\n>" not in done.stderr  # and nothing half left behind
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_write_that_is_cut_short_leaves_no_file(here: Path) -> None:
    lines = "".join(f"{i / 100},{i % 2}\n" for i in range(100))
    (here / "model1.csv").write_text(lines)
    # Python ignores the signal, so that a write past the limit fails as on a full disk.
    limited = zoo_after("import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (600, 600))")
    done = subprocess.run(
        [*limited, "eval", "--scores", "model1.csv"],
        cwd=here, env=environment(), text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert last_line(done.stderr).startswith("zoo: error: results/model1-")
    assert "File too large" in last_line(done.stderr)
    assert "Traceback" not in done.stderr
    assert [path for path in (here / "results").rglob("*") if path.is_file()] == []


def test_read_only_results_are_refused_before_the_work(here: Path) -> None:
    script = (
        "mkdir results && mount --bind results results && mount -o remount,ro,bind results && "
        f"{sys.executable} -m zoo eval model0.onnx --input unit --bins bin0.bin"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script],
        cwd=here, env=environment(), text=True, capture_output=True, check=False,
    )  # fmt: skip
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == ["zoo: error: results: Read-only file system"]


@pytest.mark.slow
def test_two_evaluations_of_one_model_at_once_leave_whole_results(here: Path) -> None:
    arguments = ["eval", "model0.onnx", "--input", "unit", "--bins", "bin0.bin", "bin1.bin"]
    both = [start_zoo(here, arguments, stdout=-1, stderr=-1) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    paths = list(stored_results(here / "results"))
    assert len(paths) == 2
    for path in paths:
        result = load_result(path)
        assert len(load_scores(path, result).scores) == result.bin.pairs
    # Beside each result its own scores and nothing else.
    assert len(list((here / "results").glob("*/*.h5"))) == 2


@pytest.mark.slow
def test_a_bin_from_a_slow_pipe_is_as_one_from_a_file(here: Path) -> None:
    os.mkfifo(here / "slow.bin")
    content = (here / "bin0.bin").read_bytes()

    def write_slowly() -> None:
        with (here / "slow.bin").open("wb", buffering=0) as pipe:
            for start in range(0, len(content), 1500):
                pipe.write(content[start : start + 1500])
                time.sleep(0.02)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    done = run_zoo(
        here, "eval", "model0.onnx", "--input", "unit", "--bins", "slow.bin", "bin0.bin",
        "--json", "-",
    )  # fmt: skip
    writer.join()
    piped, read = json.loads(done.stdout)
    assert piped["figures"] == read["figures"]
    assert piped["bin"]["sha256"] == hashlib.sha256(content).hexdigest()
    # Nobody writes to the pipe by now: a report that opened it would wait for ever.
    assert run_zoo(here, "report", "-o", "r.html").returncode == 0


@pytest.mark.slow
def test_many_models_in_one_call_need_no_more_memory_than_few(tmp_path: Path) -> None:
    bins = make_inputs(tmp_path, models=0, bins=1)[1]
    names = write_models(tmp_path, 24, units=4096)  # 3 MiB of weights each
    memory = memory_of_run(tmp_path, names, bins)
    assert len(memory) == 24
    assert growth(memory) < 1536  # KiB a model: half of its weights


def test_a_training_whose_start_was_killed_begins_again(tmp_path: Path) -> None:
    from training.run.runs import RunError, check_new_run

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "data.json").write_text("{}")
    for name in ("models.yaml.partial", ".models.yaml.0123abcd.part.yaml"):
        (tmp_path / name).write_text("mod")
    check_new_run(tmp_path)
    (tmp_path / "notes.txt").write_text("not a run's")
    with pytest.raises(RunError, match="it is no run"):
        check_new_run(tmp_path)


def test_leftovers_of_a_killed_training_are_removed_by_the_next(tmp_path: Path) -> None:
    from training.run.runs import RunFolder, clear_leftovers

    (tmp_path / "checkpoints").mkdir()
    dead = [".4711.basic_model.keras", ".4711.curves.png", "checkpoints/.last.npz.abcd_123",
            "checkpoints/.best.npz.4711", "data.json.partial", ".centers.npy.0123abcd.part",
            ".basic_model.keras.0123abcd.part.keras", "checkpoints/.last.npz.0123abcd.part.npz"
            ]  # fmt: skip
    kept = ["models.yaml", ".git", "log.csv", "checkpoints/last.npz", "checkpoints/best.npz"]
    for name in (*dead, *kept):
        (tmp_path / name).write_text("")
    clear_leftovers(RunFolder(tmp_path))
    assert [name for name in (*dead, *kept) if (tmp_path / name).exists()] == kept
