"""Runs: what is left in the folder, resuming after a kill, divergence, devices."""

import csv
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_samples import SIDE, write_faces, write_pairs
from PIL import Image

ROOT = Path(__file__).parents[2]
TINY = {
    "model": {"backbone": "mobilefacenet", "embedding_size": 8, "dropout": 0.1},
    "preprocess": {"size": SIDE},
    "batch": 4,
    "checkpoint_steps": 2,
    "data": {"validation": 0.2, "augment": {"flip": True, "crop_px": 2}},
    "center": {},
    "stages": [
        {"epochs": 1, "loss": "softmax", "optimizer": "adamax", "learning_rate": "seed"},
        {
            "epochs": 2,
            "loss": {"name": "margin", "preset": "seed"},
            "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0005},
            "learning_rate": {"name": "polynomial", "learning_rate": 0.01},
        },
    ],
}
RUN = """
import json, sys
from pathlib import Path
from test_fit import trained
sys.exit(trained(json.loads(sys.argv[1]), *map(Path, sys.argv[2:4]), sys.argv[4]))
"""


def trained(plain: dict[str, Any], faces: Path, folder: Path, bins: str = "") -> int:
    """Trains in this process, new or from the last checkpoint; prints what it says."""
    from evaluator.bins import read_bin
    from evaluator.inputs import InputSpec
    from training.data.faces import open_faces
    from training.data.pipeline import prepare_data
    from training.fit import Reporter, train
    from training.recipes import parse_recipe
    from training.runs import RunEntry, RunFolder, create_run

    recipe = parse_recipe(plain, lambda place, message: ValueError(f"{place}: {message}"))
    entry = RunEntry(folder.name, "tiny", "a test", "")
    found = open_faces(faces)
    run = RunFolder(folder)
    if not run.entry.exists():
        create_run(folder, entry, recipe, found)
    data = prepare_data(found, recipe.data, InputSpec(*recipe.preprocess.size), batch=recipe.batch)
    sets = [read_bin(Path(bins))] if bins else []
    report = Reporter(lambda line: print(line, flush=True), lambda step: None)
    train(recipe, data, run, entry=entry, sets=sets, report=report)
    return 0


def process(plain: dict[str, Any], *arguments: Path | str) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(plain), *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def arrays(checkpoint: Path) -> dict[str, np.ndarray]:
    with np.load(checkpoint) as file:
        return {name: file[name] for name in file.files if name != "state"}


def _lines(folder: Path) -> list[str]:
    return (folder / "verification.jsonl").read_text().splitlines()


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["images_per_second"]
    return rows


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces, a bin, and a whole run of the tiny recipe in `whole`."""
    folder = tmp_path_factory.mktemp("world")
    write_faces(folder / "faces")
    write_pairs(folder / "pairs.bin")
    whole = process(TINY, folder / "faces", folder / "whole", folder / "pairs.bin")
    out, err = whole.communicate()
    assert whole.returncode == 0, err
    (folder / "whole.out").write_text(out)
    return folder


@pytest.mark.slow
def test_a_run_leaves_a_whole_folder(world: Path) -> None:
    run = world / "whole"
    names = {path.name for path in run.iterdir() if not path.name.startswith("events")}
    assert names == {
        "models.yaml",
        "data.json",
        "log.csv",
        "verification.jsonl",
        "curves.png",
        "checkpoints",
        "basic_model.keras",
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.npz", "best.npz"}
    rows = log_rows(run)
    # 28 images, a fifth held back: 22 in batches of 4 are 6 steps an epoch.
    assert [row["step"] for row in rows] == ["6", "12", "18"]
    assert [float(row["learning_rate"]) for row in rows[:2]] == pytest.approx(
        [0.001, 0.01 * (7 / 12) ** 2], rel=1e-3
    )
    Image.open(run / "curves.png").verify()


@pytest.mark.slow
def test_verification_is_said_in_the_seeds_line_and_kept(world: Path) -> None:
    lines = [line for line in (world / "whole.out").read_text().splitlines() if ">>>>" in line]
    kept = [json.loads(line) for line in _lines(world / "whole")]
    rows = log_rows(world / "whole")
    assert len(lines) == len(kept) == len(rows) == 3
    for line, record, row in zip(lines, kept, rows, strict=True):
        figures = record["figures"]
        assert (
            f"max accuracy: {figures['accuracy']:.6f}, thresh: {figures['threshold']:.6f}" in line
        )
        assert float(row["pairs_accuracy"]) == pytest.approx(figures["accuracy"])
        assert float(row["pairs_auc"]) == pytest.approx(figures["auc"])


@pytest.mark.slow
def test_the_exported_model_gives_the_best_verification_again(world: Path) -> None:
    from evaluator.bins import read_bin
    from evaluator.embed import EmbedOptions
    from evaluator.evaluation import evaluate_bins
    from evaluator.models import LoadOptions, load_embedder

    model = world / "whole" / "basic_model.keras"
    embedder = load_embedder(model, LoadOptions(profile="unit"))
    (found,) = evaluate_bins(embedder, [read_bin(world / "pairs.bin")], options=EmbedOptions())
    best = max(float(row["pairs_accuracy"]) for row in log_rows(world / "whole"))
    assert found.figures is not None
    assert found.figures.accuracy == pytest.approx(best)


@pytest.mark.slow
def test_the_runs_entry_is_an_entry_of_the_zoo(world: Path) -> None:
    import hashlib

    from training.recipes import parse_recipe
    from zoo.registry import read_registry

    (entry,) = read_registry(world / "whole" / "models.yaml").values()
    model = world / "whole" / "basic_model.keras"
    assert entry.file == model
    assert entry.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert entry.recipe == parse_recipe(TINY, lambda place, message: ValueError(message))


@pytest.mark.slow
def test_tensorflow_reads_the_event_file(world: Path) -> None:
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    (path,) = (world / "whole").glob("events.out.tfevents.*")
    raw = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())  # checks every checksum
    events = [event_pb2.Event.FromString(each) for each in raw]
    assert events[0].file_version == "brain.Event:2"
    losses = [
        (event.step, value.simple_value)
        for event in events
        for value in event.summary.value
        if value.tag == "loss"
    ]
    rows = log_rows(world / "whole")
    assert losses == [
        (int(row["step"]), pytest.approx(float(row["loss"]), rel=1e-5)) for row in rows
    ]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights_bit_by_bit(world: Path) -> None:
    run = world / "killed"
    arguments = (world / "faces", run, world / "pairs.bin")
    last = run / "checkpoints" / "last.npz"
    kills = 0
    while kills < 2:
        before = last.stat().st_ino if last.exists() else None
        running = process(TINY, *arguments)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and running.poll() is None:
            if last.exists() and last.stat().st_ino != before:
                break
            time.sleep(0.01)
        assert running.poll() is None, running.communicate()[1]
        running.send_signal(signal.SIGKILL)
        running.communicate()
        kills += 1
    with np.load(last) as file:
        assert not json.loads(bytes(file["state"]))["finished"]
    resumed = process(TINY, *arguments)
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    whole, again = (arrays(world / name / "checkpoints/last.npz") for name in ("whole", "killed"))
    assert whole.keys() == again.keys()
    different = [name for name in whole if whole[name].tobytes() != again[name].tobytes()]
    assert different == []
    assert log_rows(run) == log_rows(world / "whole")
    assert (run / "verification.jsonl").read_text() == (
        world / "whole/verification.jsonl"
    ).read_text()


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_weights(
    world: Path,
) -> None:
    from training.callbacks import DivergedError

    stage = {**TINY["stages"][0], "optimizer": "sgd", "learning_rate": 1e30}
    plain = {**TINY, "stages": [stage], "checkpoint_steps": 1, "center": None}
    with pytest.raises(DivergedError, match=r"step \d+: .* no finite number") as caught:
        trained(plain, world / "faces", world / "diverged")
    last = world / "diverged" / "checkpoints" / "last.npz"
    if last.exists():
        assert all(np.isfinite(each).all() for each in arrays(last).values())
        assert f"{last} holds the weights of step" in str(caught.value)
    else:
        assert "there is no checkpoint before it" in str(caught.value)


@pytest.mark.slow
def test_a_run_whose_disk_is_full_keeps_its_last_checkpoint(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from training import checkpoints

    real, calls = np.savez, []

    def full(file: Any, **values: Any) -> None:
        calls.append(1)
        if len(calls) > 2:
            file.write(b"half a checkpoint")
            raise OSError(errno.ENOSPC, "No space left on device", "last.npz")
        real(file, **values)

    monkeypatch.setattr(checkpoints.np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        trained(TINY, world / "faces", world / "full")
    folder = world / "full" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["last.npz"]
    assert all(np.isfinite(each).all() for each in arrays(folder / "last.npz").values())


def test_crc32c_is_the_published_one() -> None:
    from training.events import _masked_crc

    # RFC 3720, B.4: 32 zero bytes give 8A9136AA; the mask is TensorFlow's.
    (masked,) = struct.unpack("<I", _masked_crc(bytes(32)))
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated << 15 | rotated >> 17) & 0xFFFFFFFF == 0x8A9136AA
