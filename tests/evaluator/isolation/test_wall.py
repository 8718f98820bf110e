"""The wall around a process: what it stops, what it leaves, and that it stands in CI."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.isolation.wall import landlock_version, missing_part

ROOT = Path(__file__).parents[3]

walled_only = pytest.mark.skipif(missing_part() is not None, reason=str(missing_part()))

# Each act by name, tried before and behind the wall; what is printed is who succeeded.
ACTS = """
import ctypes, json, os, resource, signal, socket, subprocess, sys
from pathlib import Path
from evaluator.isolation.wall import put_up_wall

inside, outside, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
threads = len(os.listdir("/proc/self/task"))
heavy = sorted({"numpy", "h5py", "tensorflow"} & set(sys.modules))
shell = ["/bin/sh", "-c", f"echo x > {outside}/by-shell"]

def succeeds(act):
    try:
        return act() in (None, True)
    except OSError:
        return False

def tcp(act):
    with socket.socket() as found:
        act(found)

def call(name, *arguments):
    found = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), name)
    return found

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(name + ":"))

acts = {
    "read": lambda: (outside / "kept").read_text() == "kept",
    "start a program": lambda: subprocess.run(["/bin/true"]).returncode == 0,
    "write inside": lambda: (inside / "new").write_text("x") == 1,
    "rename inside": lambda: (inside / "new").rename(inside / "newer") is not None,
    "write to /dev/null": lambda: Path("/dev/null").write_text("x") == 1,
    "write": lambda: (outside / "new").write_text("x") == 1,
    "append": lambda: (outside / "kept").open("a").close(),
    "truncate": lambda: os.truncate(outside / "kept", 4),
    "remove": lambda: (outside / "spare").unlink(),
    "rename": lambda: (outside / "kept").rename(outside / "moved"),
    "bring in": lambda: os.link(outside / "kept", inside / "kept"),
    "take out": lambda: os.rename(inside / "newer", outside / "newer"),
    "make a folder": lambda: (outside / "folder").mkdir(),
    "make a pipe": lambda: os.mkfifo(outside / "pipe"),
    "make a link": lambda: (outside / "link").symlink_to("kept"),
    "write by a program": lambda: subprocess.run(shell, stderr=-3).returncode == 0,
    "connect": lambda: tcp(lambda s: s.connect(("127.0.0.1", port))),
    "listen": lambda: tcp(lambda s: s.bind(("127.0.0.1", 0))),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "send UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
    "multipath TCP": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close(),
    "a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "a pair of sockets": lambda: [each.close() for each in socket.socketpair()] == [None, None],
    "leave its session": lambda: os.setsid() > 0,
    "leave its group": lambda: os.setpgid(0, 0),
    "limit itself": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "limit the parent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE) is not None,
    "leave shared memory": lambda: call("shmget", 0, 4096, 0o1600) >= 0,
    "own the machine": lambda: int(status("CapEff"), 16) & ~4 > 0,
    "write the parent's memory": lambda: Path(f"/proc/{os.getppid()}/mem").open("r+b").close(),
}
version = put_up_wall([inside])
found = [name for name, act in acts.items() if succeeds(act)]
print(json.dumps({"version": version, "threads": threads, "heavy": heavy, "succeed": found}))
"""


def behind_a_wall(folder: Path, port: int) -> dict[str, object]:
    inside, outside = folder / "inside", folder / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (outside / "spare").write_text("spare")
    done = subprocess.run(
        [sys.executable, "-c", ACTS, str(inside), str(outside), str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


@walled_only
def test_behind_the_wall_nothing_is_written_elsewhere_and_no_socket_is_opened(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = behind_a_wall(tmp_path, server.getsockname()[1])
    free = {"read", "start a program", "write inside", "rename inside", "write to /dev/null"}
    free |= {"a pair of sockets", "limit itself"}
    if landlock_version() < 6:  # signals are free there
        free.add("signal the parent")
    assert set(found["succeed"]) == free
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["kept", "spare"]
    assert (tmp_path / "outside" / "kept").read_text() == "kept"


@walled_only
def test_the_wall_stands_before_anything_begins_a_thread(tmp_path: Path) -> None:
    found = behind_a_wall(tmp_path, 9)
    assert found["version"] == landlock_version()
    assert (found["threads"], found["heavy"]) == (1, [])


def test_what_runs_before_the_wall_is_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import evaluator.isolation.child; "
        "print(*sorted({n.partition('.')[0] for n in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["evaluator"]


@pytest.mark.skipif(not os.environ.get("CI"), reason="CI has to have a wall; a machine may not")
def test_the_wall_stands_whole_in_ci() -> None:
    assert missing_part() is None
