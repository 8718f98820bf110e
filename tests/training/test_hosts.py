"""Several processes and several devices on JAX: the same run as one process with one device."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from face_samples import write_faces, write_pairs

from tests import command
from tests.programs import COMPILES_QUICKLY, Programs
from training.processes.hosts import Hosts, HostsError, parse_hosts
from training.processes.parent import cause_of_abort
from training.run.checkpoints import read_state

# Three people on two devices: the head's last column and the last center are padding. Two stages,
# so that head and centers go on; dropout and flips, so that randomness has to be in step.
REGISTRY = """
models:
  tiny:
    file: tiny.keras
    input: {profile: unit, size: 32}
    embedding_size: 8
    source: a test
    recipe:
      model: {backbone: mlp, pooling: none, embedding_size: 8, dropout: 0.1}
      preprocess: {size: 32}
      batch: 4
      checkpoint_steps: 2
      data: {validation: 0.3}
      center: {}
      stages:
        - {epochs: 2, loss: softmax, optimizer: adamax, learning_rate: 0.0001}
        - epochs: 1
          loss: {name: margin, preset: arcface}
          optimizer: {name: sgd, momentum: 0.9, weight_decay: 0.0005}
          learning_rate: {name: polynomial, learning_rate: 0.0001}
"""
FIGURES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "pairs_auc")


def words_of(run: str, *options: str) -> list[str]:
    """The words of `zoo train tiny` on the CPU."""
    words = ["train", "tiny", "--registry", "tiny.yaml", "--run", run, *options]
    words += ["--bins", "pairs.bin"]
    return words if "--resume" in options else [*words, "--data", "faces"]


def started(folder: Path, run: str, *options: str) -> subprocess.Popen[str]:
    """`zoo train tiny` in a process of its own."""
    code = command.WITHOUT_TENSORFLOW + command.ZOO
    words = words_of(run, *options)
    return command.started(*words, cwd=folder, code=code, KERAS_BACKEND="jax", **COMPILES_QUICKLY)


def two_processes(folder: Path, run: str, *options: str) -> list[subprocess.Popen[str]]:
    """The same in two processes of one device each, which find each other in both ways."""
    port = free_port("127.0.0.1")
    return [
        started(folder, run, *options, "--devices", "cpu", *hosts)
        for hosts in (
            ("--hosts", f"127.0.0.1:{port},localhost", "--process", "0"),
            ("--hosts", f"127.0.0.1:{port}", "--processes", "2", "--process", "1"),
        )
    ]


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def child_of(process: subprocess.Popen[str]) -> int:
    """The process that trains, of which a `zoo train` with --hosts is the parent."""
    own = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(own[0])


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def figures(run: Path) -> list[list[float]]:
    with (run / "log.csv").open(newline="") as file:
        return [[float(row[name]) for name in FIGURES] for row in csv.DictReader(file)]


def as_alone(world: Path) -> object:
    """The figures of the run `one`, to seven digits or five decimals."""
    return pytest.approx(np.array(figures(world / "one")), rel=1e-6, abs=1e-5)


def wait_for_checkpoint(path: Path, process: subprocess.Popen[str]) -> None:
    """Returns when there is another checkpoint than now."""
    before = path.stat().st_ino if path.exists() else None
    while process.poll() is None:
        if path.exists() and path.stat().st_ino != before:
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate()[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, on_jax: Programs) -> Path:
    """Faces, a bin, and the run of one process with one device in `one`."""
    folder = tmp_path_factory.mktemp("world")
    write_faces(folder / "faces", people=3)
    write_pairs(folder / "pairs.bin")
    (folder / "tiny.yaml").write_text(REGISTRY)
    done = on_jax.zoo(folder, *words_of("one", "--devices", "cpu"))
    assert done.code == 0, done.err
    return folder


@pytest.mark.slow
def test_two_processes_train_as_one_device_does(world: Path) -> None:
    lead, other = map(ended, two_processes(world, "two"))
    assert lead[0] == other[0] == 0, lead[2] + other[2]
    assert figures(world / "two") == as_alone(world)
    assert lead[2].count(">>>> pairs evaluation max accuracy: ") == 3
    assert "two" in lead[1]
    # Process 0 speaks for both.
    assert other[1:] == ("", "")
    assert {path.name for path in (world / "two" / "checkpoints").iterdir()} == {
        "last.npz",
        "best.npz",
    }


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_after_any_end(world: Path, on_jax: Programs) -> None:
    last = world / "chain" / "checkpoints" / "last.npz"
    alone = started(world, "chain", "--devices", "cpu")
    wait_for_checkpoint(last, alone)
    alone.send_signal(signal.SIGKILL)
    alone.communicate()
    lead, other = two_processes(world, "chain", "--resume", "--shard-head")
    wait_for_checkpoint(last, lead)
    os.kill(child_of(other), signal.SIGKILL)
    assert ended(other)[0] == 128 + signal.SIGKILL
    code, _, err = ended(lead)
    assert code == 2, err
    assert err.splitlines()[-1] == (
        "zoo: error: process 1: is gone, or stands still; this process ends too"
    )
    shutil.copytree(world / "chain", world / "shared out")
    devices = (("chain", "--devices", "cpu"), ("shared out", "--devices", "cpu:2", "--shard-head"))
    for run, *options in devices:
        done = on_jax.zoo(world, *words_of(run, "--resume", *options))
        assert done.code == 0, done.err
        assert figures(world / run) == as_alone(world)
    # Whole arrays, of three people, however many devices held them.
    with np.load(last) as one, np.load(world / "shared out/checkpoints/last.npz") as two:
        names = [name for name in one.files if name != "state"]
        assert {one[name].shape for name in names} >= {(8, 3), (3, 8)}
        for name in names:
            assert two[name] == pytest.approx(one[name], abs=1e-5)


@pytest.mark.slow
def test_a_process_with_other_faces_ends_all_in_one_line(world: Path, tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", people=2)
    for name in ("pairs.bin", "tiny.yaml"):
        shutil.copy(world / name, tmp_path / name)
    port = free_port("127.0.0.1")
    hosts = ("--hosts", f"127.0.0.1:{port}", "--processes", "2", "--process")
    lead, other = started(world, "odd", *hosts, "0"), started(tmp_path, "odd", *hosts, "1")
    for code, _, err in (ended(lead), ended(other)):
        assert code == 2
        assert len(err.splitlines()) == 1
        assert "process 1: has other training faces than process 0" in err
    assert not (world / "odd").exists()


@pytest.mark.slow
def test_sigterm_to_one_process_stops_all_after_the_same_step(world: Path) -> None:
    last = world / "term" / "checkpoints" / "last.npz"
    lead, other = two_processes(world, "term", "--set", "stages.0.epochs=400")
    wait_for_checkpoint(last, lead)
    other.send_signal(signal.SIGTERM)
    for code, _, err in (ended(lead), ended(other)):
        assert code == 128 + signal.SIGTERM, err
    steps = read_state(last)["steps_done"]
    assert 0 < steps < 1600
    lead, other = two_processes(world, "term", "--resume")
    wait_for_checkpoint(last, lead)
    assert read_state(last)["steps_done"] > steps
    frozen = child_of(other)
    os.kill(frozen, signal.SIGSTOP)
    code, _, err = ended(lead)
    assert code == 2, err
    assert err.splitlines()[-1].startswith("zoo: error: process 1: is gone, or stands still")
    other.kill()  # its child, frozen as it is, ends with it
    other.communicate()
    deadline = time.monotonic() + 60  # a killed process still gives its memory back
    while Path(f"/proc/{frozen}").exists() and "Z" not in Path(f"/proc/{frozen}/stat").read_text():
        assert time.monotonic() < deadline, "the frozen child goes on"
        time.sleep(0.1)


@pytest.mark.slow
def test_processes_that_do_not_meet_say_so(world: Path) -> None:
    port = free_port("127.0.0.1")
    hosts = ("--wait", "4", "--hosts", f"127.0.0.1:{port}", "--process")
    alone = started(world, "few", *hosts, "0", "--processes", "2")
    third = started(world, "few", *hosts, "2", "--processes", "3")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        busy = started(world, "few", "--hosts", where, "--process", "0", "--processes", "2")
        said = [ended(each) for each in (alone, third, busy)]
    assert [code for code, _, _ in said] == [2, 2, 2]
    assert "zoo: error: --hosts: waited 4 s for the other processes" in said[0][2]
    assert "zoo: error: process 2: process 0 expects fewer processes" in said[1][2]
    assert f"zoo: error: --hosts {where}: cannot listen there" in said[2][2]
    assert all(len(err.splitlines()) == 1 for _, _, err in said)


# What jax 0.10.2 wrote as it ended a process.
ENDED = "F1126 14:12:15.222509 29237 client.h:80] Terminating process because the JAX distributed "
ENDED += "service detected fatal errors. absl::Status: "


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n3\n1\n"
         "The tasks have crashed.", "process 3, 1: is gone, or stands still"),
        ("INVALID_ARGUMENT: Unexpected task registered with task=2\n\nRPC: /xla.coordination."
         "CoordinationService/RegisterTask", "process 2: process 0 expects fewer processes"),
        ("DEADLINE_EXCEEDED: Deadline Exceeded\n\nRPC: /xla.coordination.CoordinationService/"
         "RegisterTask", "waited 7 s for the other processes"),
        ("UNAVAILABLE: Failed to send RPC to coordination service.", "process 0: is gone"),
        ("INTERNAL: something new", "JAX ended this process: F1126"),
    ],
)  # fmt: skip
def test_what_jax_ends_a_process_for_is_a_sentence(words: str, said: str) -> None:
    assert cause_of_abort(f"{ENDED}{words}\n*** Check failure stack trace: ***\n", 7).startswith(
        said if said[0] != "w" else f"--hosts: {said}"
    )


def test_hosts_come_from_options_and_from_what_launchers_set() -> None:
    def hosts(*given: object, **environment: str) -> Hosts | None:
        return parse_hosts(*given, environment=environment)  # type: ignore[arg-type]

    assert hosts(None, None, None) is None
    assert hosts("a:1234,b,c", 2, None) == Hosts("a", 1234, 2, 3)
    assert hosts("a:1234", 1, 2) == Hosts("a", 1234, 1, 2)
    # What Slurm and Open MPI say is JAX's to read.
    assert hosts("a:1234", None, None) == Hosts("a", 1234, None, None)
    assert hosts("auto", None, None) == Hosts(None, 0, None, None)
    keras = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:1234,10.0.0.2:2345",
        "KERAS_DISTRIBUTION_PROCESS_ID": "1",
        "SLURM_PROCID": "7",
    }
    assert hosts(None, None, None, **keras) == Hosts("10.0.0.1", 1234, 1, 2)
    assert hosts("[::1]:1234", 0, 2) == Hosts("::1", 1234, 0, 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("a", 0, 2), "expected HOST:PORT of process 0"),
        (("a:70000", 0, 2), "expected HOST:PORT of process 0"),
        (("a:1234,b", 2, None), "expected process 0 to 1, found 2"),
        (("a:1234,b", 0, 3), "names 2 processes, --processes 3"),
        ((None, 1, None), "--process 1: expected --hosts"),
    ],
)
def test_hosts_that_cannot_be_meant_are_refused(given: tuple, words: str) -> None:
    with pytest.raises(HostsError, match=words):
        parse_hosts(*given, environment={})
