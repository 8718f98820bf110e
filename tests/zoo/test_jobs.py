"""`zoo eval --jobs`, `--backend` and `--shard`: what many processes find is what one finds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Zoo, face, png, write_pairs

from evaluator.errors import InputError
from evaluator.results.store import load_result, load_scores
from evaluator.templates.searches import Searches
from tests import command
from tests.small_models import save_dark_is_nan, save_projection
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.jobs import models_of_shard, parsed_shard


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, one that fails, and two bins."""
    folder = tmp_path_factory.mktemp("jobs")
    for number in range(3):
        save_projection(folder / f"m{number}.onnx", seed=number)
    (folder / "broken.onnx").write_bytes((folder / "m0.onnx").read_bytes()[:-400])
    write_pairs(folder / "easy.bin")
    write_pairs(folder / "other.bin", people=6, first=20)
    return folder


WORDS = ("--input", "raw", "--bins", "easy.bin", "other.bin")
MODELS = ("m0.onnx", "m1.onnx", "m2.onnx")
# In the command line of one.
MODEL_PROCESS = "evaluator.isolation.child"


def measured(folder: Path, results: str, *options: str, models: tuple[str, ...] = MODELS) -> Any:
    process = command.started("eval", *models, *WORDS, "--results", results, *options, cwd=folder)
    out, err = process.communicate()
    return process.returncode, out, err


def measured_here(
    folder: Path, results: str, *options: str, models: tuple[str, ...] = MODELS
) -> Any:
    """The same in this process, where the models run too."""
    done = command.zoo_here(folder, "eval", *models, *WORDS, "--results", results, *options)
    return done.code, done.out, done.err


def store(folder: Path) -> dict[str, Any]:
    """What a folder of results says, without times and names of files."""
    found = {}
    for path in sorted(folder.glob("*/*.json")):
        result = load_result(path)
        scores = load_scores(path, result)
        found[str(path.relative_to(folder))] = (
            result.figures,
            result.settings,
            result.model,
            result.bin,
            result.non_finite,
            *(each.tobytes() for each in (scores.scores, scores.genuine)),
            *(arrays_of(each) for each in scores.searches),
        )
    return found


def arrays_of(searches: Searches) -> list[bytes]:
    return [np.asarray(getattr(searches, each.name)).tobytes() for each in fields(searches)]


@pytest.fixture(scope="module")
def one(world: Path) -> Any:
    """One process's exit code, table and words, and its store."""
    return *measured_here(world, "one"), store(world / "one")


@pytest.mark.slow
def test_two_processes_find_and_say_what_one_does(world: Path, one: Any) -> None:
    code, out, err = measured(world, "two", "--jobs", "2")
    assert (code, out, sorted(err.splitlines())) == (*one[:2], sorted(one[2].splitlines()))
    assert store(world / "two") == one[3]
    assert len(one[3]) == 6


def descendants(process: int, named: str) -> dict[int, int]:
    """The parents of those below a process whose command line has the words, by their numbers."""
    parents, words = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            pid = int(folder.name)
            parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words[pid] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()

    def is_below(pid: int) -> bool:
        return pid in parents and (parents[pid] == process or is_below(parents[pid]))

    return {pid: parents[pid] for pid in words if named in words[pid] and is_below(pid)}


def with_models(begin: Callable[[], subprocess.Popen[str]], count: int) -> Any:
    """A command at work, and so many processes of models below it, with their parents.

    Begun again where it was done before anybody saw these.
    """
    for _ in range(20):
        process = begin()
        while process.poll() is None:
            if len(models := descendants(process.pid, MODEL_PROCESS)) >= count:
                return process, models
        process.communicate()
    raise AssertionError(f"no {count} processes of models were seen in twenty tries")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "package"), [("joblib", "joblib"), ("ray", "ray"), ("dask", "distributed")]
)
def test_the_task_of_a_killed_process_is_done_again(
    world: Path, one: Any, backend: str, package: str
) -> None:
    pytest.importorskip(package)
    words = ("eval", *MODELS, *WORDS, "--results", backend, "--jobs", "2", "--backend", backend)

    def begun() -> subprocess.Popen[str]:
        return command.started(*words, "--fresh", cwd=world, RAY_USAGE_STATS_ENABLED="0")

    process, models = with_models(begun, 1)  # one that is at a task has a model's process
    worker = next(iter(models.values()))
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=1500)
    assert (process.returncode, out) == one[:2], err
    assert store(world / backend) == one[3]


def write_set(root: Path) -> None:
    """Faces of people and strangers, one of them thrice, and one black, of two people."""
    faces = [(f"{part}/p{who}/{shot}.png", face(who, shot)) for who in range(9) for part, shot in (
        ("gallery", 0), ("gallery", 1), ("probe", 2), ("probe", 3)
    )]  # fmt: skip
    faces += [(f"unknown/u{who}/0.png", face(30 + who, 0)) for who in range(9)]
    faces += [(f"probe/p{who}/9.png", faces[0][1]) for who in (3, 5)]
    faces += [(f"probe/p{who}/dark.png", np.zeros_like(faces[0][1])) for who in (2, 4)]
    for name, pixels in faces:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))


@pytest.mark.slow
def test_one_model_in_several_processes_finds_what_it_does_in_one(world: Path) -> None:
    save_dark_is_nan(world / "dark.onnx")
    write_set(world / "set")
    words = ("--bins", *WORDS[3:], "set", "--batch-size", "4", "--flip", "sum", "--nan", "drop")
    alone = measured_here(world, "single", *words, models=("dark.onnx",))
    asked = ("eval", "dark.onnx", *WORDS, *words, "--results", "several", "--jobs", "3", "--fresh")
    process, models = with_models(lambda: command.started(*asked, cwd=world), 3)
    assert set(models.values()) == {process.pid}
    os.kill(max(models), signal.SIGKILL)
    out, err = process.communicate(timeout=1500)
    assert (process.returncode, out, err) == alone
    assert store(world / "several") == store(world / "single")
    several, single = (next((world / each).glob("*/*.npy")) for each in ("several", "single"))
    assert several.read_bytes() == single.read_bytes()
    found = load_result(next((world / "several").glob("*/set*.json")))
    assert found.non_finite is not None
    assert found.non_finite["count"] == 2


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_says_what_is_left(world: Path) -> None:
    process = command.started(
        "eval", *MODELS, *WORDS, "--results", "stopped", "--jobs", "2", cwd=world
    )
    while not (workers := descendants(process.pid, "popen_loky_posix")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 6 results are stored in stopped/" in err
    assert "Traceback" not in err
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{each}").exists() for each in workers):
        assert time.monotonic() < deadline, "a worker goes on"
        time.sleep(0.1)


@pytest.mark.slow
def test_shards_together_find_what_one_process_does(world: Path, one: Any) -> None:
    codes = [measured_here(world, "shards", "--shard", f"{part}/2")[0] for part in (1, 2)]
    assert codes == [0, 0]
    assert store(world / "shards") == one[3]


@pytest.mark.slow
def test_a_model_that_fails_fails_alone(world: Path, one: Any) -> None:
    models = ("m0.onnx", "broken.onnx", "m1.onnx")
    alone = measured_here(world, "apart", models=models)
    beside = measured(world, "beside", "--jobs", "3", models=models)
    assert beside == alone
    assert alone[0] == 2


def choices(folder: Path, sizes: list[int]) -> list[ModelChoice]:
    found = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.onnx"
        path.write_bytes(bytes(size))
        found.append(ModelChoice(name=str(number), path=path, entry=None))
    return found


def test_shards_share_every_model_once_and_by_size(tmp_path: Path) -> None:
    sizes = [40_000_000, 1, 1, 20_000_000, 20_000_000, 1]
    models = choices(tmp_path, sizes)
    parts = [models_of_shard(models, (part, 3)) for part in (1, 2, 3)]
    assert sorted(each.name for part in parts for each in part) == list("012345")
    loads = [sum(sizes[int(each.name)] for each in part) for part in parts]
    assert max(loads) <= 40_000_002
    assert [each.name for each in models_of_shard(models[:1], (2, 3))] == []


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--shard .*: expected I/N"):
        parsed_shard(text)


def test_no_model_for_a_shard_is_no_error(zoo: Zoo, world: Path) -> None:
    done = zoo("eval", world / "m0.onnx", "--bins", world / "easy.bin", "--shard", "2/2")
    assert (done.code, done.out) == (0, "")
    assert "fewer models than parts" in done.err


def test_cores_are_divided_among_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.evaluate.jobs import threads_of_a_job

    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [threads_of_a_job(jobs, "joblib") for jobs in (1, 3, 8, 20)] == [8, 2, 1, 1]
    assert threads_of_a_job(2, "ray") == 1
