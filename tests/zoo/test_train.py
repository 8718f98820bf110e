"""`zoo train`, from names to a run that `zoo eval` takes; and what it refuses, in one line."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import Zoo

from evaluator.bins.verification_set import write_bin

ROOT = Path(__file__).parents[2]
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

# Runs the command with TensorFlow made impossible to import.
WITHOUT_TENSORFLOW = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from zoo.cli import run
code = run(sys.argv[1:])
assert "tensorflow" not in sys.modules
sys.exit(code)
"""


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


def command(
    folder: Path, *arguments: str | Path, backend: str = "tensorflow", code: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "zoo"]), *map(str, arguments)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_an_entry_trains_into_a_run_that_is_an_entry(
    tmp_path: Path, faces: Path, pairs: Path
) -> None:
    asked = ["train", "centsoft", "--data", faces, *SMALL, "--bins", pairs, "--run", "runs/one"]
    done = command(tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    assert ">>>> pairs evaluation max accuracy: " in done.stderr
    assert "one" in done.stdout
    again = command(tmp_path, "eval", "runs/one", "--bins", pairs)
    assert again.returncode == 0, again.stderr
    assert "no --input given" not in again.stderr  # the run's entry says what pixels it takes
    assert again.stdout.splitlines()[1].split()[:2] == done.stdout.splitlines()[1].split()[:2]
    listed = command(tmp_path, "list", "--runs")
    header, row = listed.stdout.splitlines()
    assert dict(zip(header.split(), row.split(), strict=True))["state"] == "finished"
    refused = command(tmp_path, *asked)
    assert refused.returncode == 2
    assert "go on with --resume" in refused.stderr
    changed = command(
        tmp_path, "train", "centsoft", "--resume", "--run", "runs/one", "--set", "batch=8"
    )
    assert changed.returncode == 2
    assert "was started with batch = 4, not 8" in changed.stderr
    with np.load(tmp_path / "runs" / "one" / "checkpoints" / "last.npz") as file:
        arrays = dict(file)
    arrays["state"] = np.frombuffer(b"{}", np.uint8)
    np.savez(tmp_path / "runs" / "one" / "checkpoints" / "last.npz", **arrays)
    empty = command(tmp_path, *asked, "--resume")
    assert empty.returncode == 2
    assert "Traceback" not in empty.stderr
    assert "last.npz: not a checkpoint of a run (its state has no 'stage')" in empty.stderr
    listed = command(tmp_path, "list", "--runs")
    assert listed.stdout.splitlines()[1].split() == ["one", "-", "-", "-", "unreadable", "here"]
    again = command(tmp_path, "eval", "runs/one", "--bins", pairs, "--fresh")
    assert again.returncode == 0, again.stderr  # its model is whole


@pytest.mark.slow
def test_the_jax_backend_trains_and_verifies_without_tensorflow(
    tmp_path: Path, faces: Path, pairs: Path
) -> None:
    pytest.importorskip("jax")
    asked = ["train", "centsoft", "--data", faces, *SMALL, "--bins", pairs, "--run", "run"]
    done = command(tmp_path, *asked, backend="jax", code=WITHOUT_TENSORFLOW)
    assert done.returncode == 0, done.stderr
    assert ">>>> pairs evaluation max accuracy: " in done.stderr
    # What JAX trained, TensorFlow evaluates to the same accuracy.
    again = command(tmp_path, "eval", "run", "--bins", pairs, "--results", "others")
    assert again.stdout.splitlines()[1].split()[:2] == done.stdout.splitlines()[1].split()[:2]


@pytest.mark.slow
def test_the_plan_counts_what_training_would_take(tmp_path: Path, faces: Path) -> None:
    done = command(tmp_path, "train", "arc", "--data", faces, *SMALL, "--plan")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "12 images of 3 people to train on, 0 held back" in said
    assert "3 an epoch x 3 epochs = 9 (batch 4)" in said
    assert "+ 24 head" in said  # 8 x 3
    assert "1 epochs of margin seed, adamax, rate 0.001 (seed), embedding frozen" in said
    assert not (tmp_path / "runs").exists()


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
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, faces: Path) -> None:
    done = command(tmp_path, "train", "arc", "--data", faces, *SMALL, "--devices", "gpu:9")
    assert done.returncode == 2
    assert "--devices gpu:9: expected 9 GPUs, found" in done.stderr
    done = command(tmp_path, "train", "arc", "--data", faces, *SMALL, "--devices", "tpu")
    assert "expected auto, cpu, gpu" in done.stderr
    assert not (tmp_path / "runs").exists()


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
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_as_one(tmp_path: Path, faces: Path, backend: str) -> None:
    pytest.importorskip(backend)
    # Head and centers train on a frozen network: batch norm over half a batch is another thing.
    frozen = ["stages.0.freeze=embedding", "model.dropout=0", "preprocess.profile=raw"]
    checkpoints = []
    for devices in ("cpu", "cpu:2"):
        run = tmp_path / devices.replace(":", "")
        asked = ["train", "centsoft", "--data", faces, *SMALL, *frozen, "--run", run]
        done = command(tmp_path, *asked, "--devices", devices, backend=backend)
        assert done.returncode == 0, done.stderr
        with np.load(run / "checkpoints" / "last.npz") as file:
            checkpoints.append({name: file[name] for name in file.files if name != "state"})
    one, two = checkpoints
    assert one.keys() == two.keys()
    # The head's and the centers' shapes; both start elsewhere and have moved.
    trained = [name for name in one if one[name].shape in ((8, 3), (3, 8))]
    assert len(trained) >= 3
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-6)
