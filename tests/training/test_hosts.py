"""Several processes and several devices on JAX: the same run as one process with one device."""

import csv
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from face_samples import write_faces, write_pairs

from tests import command
from training.processes.hosts import Hosts, HostsError, parse_hosts
from training.processes.links import TeamError, free_port
from training.processes.team import agree, joined, share, share_array

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


def started(folder: Path, run: str, *options: str) -> subprocess.Popen[str]:
    """`zoo train tiny` on the CPU, in a process of its own."""
    words = ["train", "tiny", "--registry", "tiny.yaml", "--run", run, *options]
    words += ["--bins", "pairs.bin"]
    if "--resume" not in options:
        words += ["--data", "faces"]
    return command.started(
        *words, cwd=folder, code=command.WITHOUT_TENSORFLOW + command.ZOO, KERAS_BACKEND="jax"
    )


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


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def figures(run: Path) -> list[list[float]]:
    with (run / "log.csv").open(newline="") as file:
        return [[float(row[name]) for name in FIGURES] for row in csv.DictReader(file)]


def wait_for_checkpoint(path: Path, process: subprocess.Popen[str]) -> None:
    """Returns when there is another checkpoint than now."""
    before = path.stat().st_ino if path.exists() else None
    while process.poll() is None:
        if path.exists() and path.stat().st_ino != before:
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate()[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces, a bin, and the run of one process with one device in `one`."""
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("world")
    write_faces(folder / "faces", people=3)
    write_pairs(folder / "pairs.bin")
    (folder / "tiny.yaml").write_text(REGISTRY)
    code, _, err = ended(started(folder, "one", "--devices", "cpu"))
    assert code == 0, err
    return folder


@pytest.mark.slow
def test_two_processes_train_as_one_device_does(world: Path) -> None:
    lead, other = map(ended, two_processes(world, "two"))
    assert lead[0] == other[0] == 0, lead[2] + other[2]
    assert figures(world / "two") == pytest.approx(np.array(figures(world / "one")), abs=1e-5)
    assert lead[2].count(">>>> pairs evaluation max accuracy: ") == 3
    assert "two" in lead[1]
    # Process 0 speaks for both.
    assert other[1:] == ("", "")
    assert {path.name for path in (world / "two" / "checkpoints").iterdir()} == {
        "last.npz",
        "best.npz",
    }


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_after_any_end(world: Path) -> None:
    last = world / "chain" / "checkpoints" / "last.npz"
    alone = started(world, "chain", "--devices", "cpu")
    wait_for_checkpoint(last, alone)
    alone.send_signal(signal.SIGKILL)
    alone.communicate()
    lead, other = two_processes(world, "chain", "--resume", "--shard-head")
    wait_for_checkpoint(last, lead)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    code, _, err = ended(lead)
    assert code == 2
    assert "zoo: error: process 1 (127.0.0.1): is gone" in err
    shutil.copytree(world / "chain", world / "shared out")
    devices = (("chain", "--devices", "cpu"), ("shared out", "--devices", "cpu:2", "--shard-head"))
    for run, *options in devices:
        code, _, err = ended(started(world, run, "--resume", *options))
        assert code == 0, err
        assert figures(world / run) == pytest.approx(np.array(figures(world / "one")), abs=1e-5)
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
        assert "process 1 (127.0.0.1): has other training faces than process 0" in err
    assert not (world / "odd").exists()


def pair(port: int, seconds: float = 20) -> list[Hosts]:
    return [Hosts("127.0.0.1", port, number, 2) for number in range(2)]


def test_a_team_shares_what_its_lead_says_and_finds_what_differs() -> None:
    first, second = pair(free_port("127.0.0.1"))
    heard: list[object] = []

    def other() -> None:
        with joined(second, 20) as team:
            heard.append(share(team, "not looked at"))
            heard.append(share_array(team, None))
            agree(team, "colour", "red")

    thread = threading.Thread(target=other)
    thread.start()
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    with joined(first, 20) as team:
        assert share(team, {"a": [1, None]}) == {"a": [1, None]}
        share_array(team, numbers)
        agree(team, "colour", "red")
    thread.join(20)
    assert heard[0] == {"a": [1, None]}
    assert np.array_equal(heard[1], numbers)


def test_a_process_that_never_comes_is_named() -> None:
    first, second = pair(free_port("127.0.0.1"))
    with pytest.raises(TeamError, match=r"waited 0\.3 s for process 1 of 2"), joined(first, 0.3):
        pass
    with pytest.raises(TeamError, match="process 0 could not be reached"), joined(second, 0.3):
        pass


def test_a_stranger_at_the_port_does_not_count_as_a_process() -> None:
    first, _ = pair(free_port("127.0.0.1"))
    caught: list[str] = []

    def lead() -> None:
        try:
            with joined(first, 2):
                pass
        except TeamError as error:
            caught.append(str(error))

    thread = threading.Thread(target=lead)
    thread.start()
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", first.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        thread.join(20)
    assert "for process 1 of 2" in caught[0]


def test_hosts_come_from_options_and_from_what_launchers_set() -> None:
    def hosts(*given: object, **environment: str) -> Hosts | None:
        return parse_hosts(*given, environment=environment)  # type: ignore[arg-type]

    assert hosts(None, None, None) is None
    assert hosts(None, None, None, SLURM_NTASKS="4", SLURM_PROCID="1") is None
    assert hosts("a:1234,b,c", 2, None) == Hosts("a", 1234, 2, 3)
    assert hosts("a:1234", 1, 2) == Hosts("a", 1234, 1, 2)
    assert hosts("a:1234", None, None, SLURM_NTASKS="4", SLURM_PROCID="3") == Hosts("a", 1234, 3, 4)
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
        (("a:1234", 0, None), "how many processes"),
        (("a:1234", None, 2), "which process is this"),
        (("a:1234,b", 2, None), "expected process 0 to 1, found 2"),
        (("a:1234,b", 0, 3), "names 2 processes, --processes 3"),
        ((None, 1, None), "--process 1: expected --hosts"),
    ],
)
def test_hosts_that_cannot_be_meant_are_refused(given: tuple, words: str) -> None:
    with pytest.raises(HostsError, match=words):
        parse_hosts(*given, environment={})
