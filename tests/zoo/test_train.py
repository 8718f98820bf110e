"""`zoo train`, from names to a run that `zoo eval` takes; and what it refuses, in one line."""

import re
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.bins.verification_set import write_bin
from tests.command import ROOT, Zoo
from tests.programs import Programs

SMALL = [
    "--set",
    "model.backbone=conv4",
    "model.weights=none",
    "model.embedding_size=8",
    "preprocess.size=32",
    "batch=4",
    "data.validation=0",
    "stages.*.epochs=1",
]


def png(person: int, number: int) -> bytes:
    random = np.random.default_rng([person, number])
    colour = np.random.default_rng(person).integers(40, 215, 3)
    pixels = (colour + random.integers(-40, 40, (32, 32, 3))).clip(0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    for person in range(3):
        (root / f"p{person}").mkdir(parents=True)
        for number in range(4):
            (root / f"p{person}" / f"{number}.png").write_bytes(png(person, number))
    return root


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    images, genuine = [], []
    for pair in range(10):
        images += [png(pair, 90), png(pair + 50 * (pair % 2), 91)]
        genuine.append(pair % 2 == 0)
    write_bin(tmp_path / "pairs.bin", images, genuine)
    return tmp_path / "pairs.bin"


@pytest.mark.slow
def test_an_entry_trains_into_a_run_that_is_an_entry(
    zoo: Zoo, tmp_path: Path, faces: Path, pairs: Path, same_process: None
) -> None:
    asked = ["train", "centsoft", "--data", faces, *SMALL, "--bins", pairs, "--run", "runs/one"]
    done = zoo(*asked)
    assert done.code == 0, done.err
    assert ">>>> pairs evaluation max accuracy: " in done.err
    assert "one" in done.out
    again = zoo("eval", "runs/one", "--bins", pairs)
    assert again.code == 0, again.err
    assert "no --input given" not in again.err  # the run's entry says what pixels it takes
    assert again.out.splitlines()[1].split()[:2] == done.out.splitlines()[1].split()[:2]
    listed = zoo("list", "--runs")
    header, row = listed.out.splitlines()
    assert dict(zip(header.split(), row.split(), strict=True))["state"] == "finished"
    refused = zoo(*asked)
    assert refused.code == 2
    assert "go on with --resume" in refused.err
    changed = zoo("train", "centsoft", "--resume", "--run", "runs/one", "--set", "batch=8")
    assert changed.code == 2
    assert "was started with batch = 4, not 8" in changed.err
    with np.load(tmp_path / "runs" / "one" / "checkpoints" / "last.npz") as file:
        arrays = dict(file)
    arrays["state"] = np.frombuffer(b"{}", np.uint8)
    np.savez(tmp_path / "runs" / "one" / "checkpoints" / "last.npz", **arrays)
    empty = zoo(*asked, "--resume")
    assert empty.code == 2
    assert "Traceback" not in empty.err
    assert "last.npz: not a checkpoint of a run (its state has no 'stage')" in empty.err
    listed = zoo("list", "--runs")
    assert listed.out.splitlines()[1].split() == ["one", "-", "-", "-", "unreadable", "here"]
    again = zoo("eval", "runs/one", "--bins", pairs, "--fresh")
    assert again.code == 0, again.err  # its model is whole


@pytest.mark.slow
def test_the_jax_backend_trains_and_verifies_without_tensorflow(
    zoo: Zoo, tmp_path: Path, faces: Path, pairs: Path, same_process: None, on_jax: Programs
) -> None:
    asked = ["train", "centsoft", "--data", faces, *SMALL, "--bins", pairs, "--run", "run"]
    done = on_jax.zoo(tmp_path, *asked)
    assert done.code == 0, done.err
    assert ">>>> pairs evaluation max accuracy: " in done.err
    # What JAX trained, TensorFlow evaluates to the same accuracy.
    again = zoo("eval", "run", "--bins", pairs, "--results", "others")
    assert again.out.splitlines()[1].split()[:2] == done.out.splitlines()[1].split()[:2]


@pytest.mark.slow
def test_the_plan_counts_what_training_would_take(zoo: Zoo, tmp_path: Path, faces: Path) -> None:
    done = zoo("train", "arc", "--data", faces, *SMALL, "--plan")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "12 images of 3 people to train on, 0 held back" in said
    assert "3 an epoch x 3 epochs = 9 (batch 4)" in said
    assert "+ 24 head" in said  # 8 x 3
    assert "1 epochs of margin seed, adamax, rate 0.001 (seed), embedding frozen" in said
    assert not (tmp_path / "runs").exists()


TOLD = """
from zoo.cli import run
assert run(words) == 0
found = open("/proc/self/status").read()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the most memory a process had, of Linux")
@pytest.mark.parametrize("backend", ["on_tensorflow", "on_jax"])
def test_the_plan_says_the_memory_that_a_run_takes(
    tmp_path: Path, faces: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    programs: Programs = request.getfixturevalue(backend)
    # Large enough for model and steps to be half of it.
    wide = ["model.backbone=mlp", "model.pooling=none", "model.embedding_size=4096"]
    wide += ["preprocess.size=112", "batch=12"]
    asked = ["train", "centsoft", "--data", faces, *SMALL, *wide, "--run", tmp_path / "run"]
    asked += ["--devices", "cpu"]
    planned = programs.zoo(tmp_path, *asked, "--plan")
    assert planned.code == 0, planned.err
    total, unit = re.search(r"in all ([\d.]+) (MB|GB): ", planned.out).groups()
    status = programs.found(TOLD, words=[*map(str, asked)])
    measured = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
    assert float(total) * {"MB": 1e6, "GB": 1e9}[unit] == pytest.approx(measured, rel=0.25)


def refused(zoo: Zoo, *arguments: str | Path) -> str:
    done = zoo("train", *map(str, arguments))
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert not Path("runs").exists()
    return done.err


def test_an_unknown_entry_gets_the_nearest_name(zoo: Zoo, faces: Path) -> None:
    assert "did you mean 'centsoft'" in refused(zoo, "cantsoft", "--data", faces)


def test_data_that_is_missing_or_empty_or_one_person_is_refused(
    zoo: Zoo, tmp_path: Path, faces: Path
) -> None:
    assert "--data" in refused(zoo, "arc")
    (tmp_path / "empty").mkdir()
    assert "found no folder at all" in refused(zoo, "arc", "--data", tmp_path / "empty")
    (tmp_path / "alone").mkdir()
    (faces / "p0").rename(tmp_path / "alone" / "p0")
    assert "at least 2 people" in refused(zoo, "arc", "--data", tmp_path / "alone")
    assert "missing" in refused(zoo, "arc", "--data", tmp_path / "missing")


def test_a_misspelled_setting_is_named(zoo: Zoo, faces: Path) -> None:
    said = refused(zoo, "arc", "--data", faces, "--set", "stages.1.los.preset=arcface")
    assert "--set stages.1.los.preset=arcface: unknown key 'los'; did you mean 'loss'?" in said
    assert "expected key=value" in refused(zoo, "arc", "--data", faces, "--set", "batch")


def test_a_misspelled_recipe_key_is_named_with_its_line(
    zoo: Zoo, tmp_path: Path, faces: Path
) -> None:
    text = (ROOT / "models.yaml").read_text()
    wrong = text.replace("preset: seed}", "presett: seed}", 1)
    (tmp_path / "models.yaml").write_text(wrong)
    line = wrong[: wrong.index("presett")].count("\n") + 1
    said = refused(zoo, "arc", "--data", faces, "--registry", tmp_path / "models.yaml")
    assert f"models.yaml:{line}: recipe.stages.1.loss.presett: unknown key 'presett'" in said


def test_a_bin_that_is_asked_for_must_be_there(zoo: Zoo, faces: Path) -> None:
    assert "no bin 'unheard'" in refused(zoo, "arc", "--data", faces, "--bins", "unheard")


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_refused(zoo: Zoo, faces: Path) -> None:
    asked = ("arc", "--data", faces, *SMALL, "--devices")
    for devices, said in (
        ("gpu:9", "--devices gpu:9: expected 9 GPUs, found"),
        ("tpu", "expected auto, cpu, gpu"),
    ):
        done = zoo("train", *asked, devices)
        assert done.code == 2
        assert said in done.err.splitlines()[-1]
        assert not Path("runs").exists()


@pytest.mark.slow
def test_a_disk_too_small_for_the_run_is_refused(
    zoo: Zoo, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    said = zoo("train", "arc", "--data", str(faces), *SMALL)
    assert said.code == 2
    assert "its disk has 1 MB" in said.err
    assert not Path("runs").exists()


def test_a_resume_without_a_run_is_refused(zoo: Zoo) -> None:
    done = zoo("train", "arc", "--resume", "--run", "nowhere")
    assert done.code == 2
    assert "no run to resume" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["on_tensorflow", "on_jax"])
def test_two_devices_train_as_one(
    tmp_path: Path, faces: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    programs: Programs = request.getfixturevalue(backend)
    # Head and centers train on a frozen network without batch norm, which over half a batch is
    # another thing; raw pixels leave it alive.
    frozen = ["stages.0.freeze=embedding", "model.dropout=0", "preprocess.profile=raw"]
    frozen += ["model.backbone=mlp", "model.pooling=none"]
    checkpoints = []
    for devices in ("cpu", "cpu:2"):
        run = tmp_path / devices.replace(":", "")
        asked = ["train", "centsoft", "--data", faces, *SMALL, *frozen, "--run", run]
        done = programs.zoo(tmp_path, *asked, "--devices", devices)
        assert done.code == 0, done.err
        with np.load(run / "checkpoints" / "last.npz") as file:
            checkpoints.append({name: file[name] for name in file.files if name != "state"})
    one, two = checkpoints
    assert one.keys() == two.keys()
    # The head's and the centers' shapes; both start elsewhere and have moved.
    trained = [name for name in one if one[name].shape in ((8, 3), (3, 8))]
    assert len(trained) >= 3
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-6)
