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
    "model": {"backbone": "conv4", "embedding_size": 8, "dropout": 0.1},
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
# JAX without TensorFlow, which Keras would otherwise import: it starts in half the time.
RUN = """
import importlib.abc, json, os, sys
from pathlib import Path
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
if os.environ["KERAS_BACKEND"] == "jax":
    sys.meta_path.insert(0, Blocked())
from test_fit import trained
sys.exit(trained(json.loads(sys.argv[1]), *map(Path, sys.argv[2:4]), sys.argv[4]))
"""


def trained(plain: dict[str, Any], faces: Path, folder: Path, bins: str = "") -> int:
    """Trains in this process, new or from the last checkpoint; prints what it says."""
    from evaluator.bins.verification_set import read_bin
    from evaluator.images.inputs import InputSpec
    from training.data.batches.pipeline import prepare_data
    from training.data.sources.faces import open_faces
    from training.loop.fit import Reporter, train
    from training.recipes.recipe import parse_recipe
    from training.run.runs import RunEntry, RunFolder, create_run

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


def process(
    plain: dict[str, Any],
    *arguments: Path | str | int,
    backend: str = "tensorflow",
    code: str = RUN,
) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": backend,
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(plain), *map(str, arguments)],
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
        "centers.npy",
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
def test_centers_are_left_as_the_seed_leaves_them_and_can_be_gone_on_from(world: Path) -> None:
    centers = np.load(world / "whole" / "centers.npy")
    assert (centers.dtype, centers.shape) == (np.float32, (4, 8))
    kept = arrays(world / "whole" / "checkpoints" / "last.npz").values()
    assert any(np.array_equal(each, centers) for each in kept)
    # Seven steps of alpha 1e-6 move what was given by millionths only; from zero they would
    # stay there.
    given = np.random.default_rng(0).standard_normal((4, 8))
    np.save(world / "given.npy", given)  # float64, as the seed's are
    near = {"alpha": 1e-6, "start": str(world / "given.npy")}
    stage = {"epochs": 1, "loss": "softmax", "optimizer": "adamax", "learning_rate": 0.001}
    plain = {**TINY, "center": near, "stages": [stage], "data": {"validation": 0}}
    run = process(plain, world / "faces", world / "from centers", "", backend="jax")
    _, err = run.communicate()
    assert run.returncode == 0, err
    np.testing.assert_allclose(np.load(world / "from centers" / "centers.npy"), given, atol=1e-3)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (np.zeros((3, 8)), r"expected centers of shape \(4, 8\), found \(3, 8\)"),
        (np.full((4, 8), np.nan), "expected finite numbers as centers"),
        (np.full((4, 8), "x"), "expected finite numbers as centers"),
    ],
)
def test_centers_of_others_are_refused(tmp_path: Path, stored: np.ndarray, words: str) -> None:
    from evaluator.errors import InputError
    from training.network.centers import read_centers

    np.save(tmp_path / "centers.npy", stored)
    with pytest.raises(InputError, match=words):
        read_centers(tmp_path / "centers.npy", (4, 8))


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
    from evaluator.bins.verification_set import read_bin
    from evaluator.measure.embed import EmbedOptions
    from evaluator.measure.evaluation import evaluate_bins
    from evaluator.models.load import load_embedder
    from evaluator.models.options import LoadOptions

    model = world / "whole" / "basic_model.keras"
    embedder = load_embedder(model, LoadOptions(profile="unit"))
    (found,) = evaluate_bins(embedder, [read_bin(world / "pairs.bin")], options=EmbedOptions())
    best = max(float(row["pairs_accuracy"]) for row in log_rows(world / "whole"))
    assert found.figures is not None
    assert found.figures.accuracy == pytest.approx(best)


@pytest.mark.slow
def test_the_runs_entry_is_an_entry_of_the_zoo(world: Path) -> None:
    import hashlib

    from training.recipes.recipe import parse_recipe
    from zoo.entries.registry import read_registry

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


def killed(running: subprocess.Popen[str], run: Path, moment: str) -> None:
    """Kills a run's process, without warning, at a moment: while a checkpoint is being written,
    between an epoch's row in the log and its checkpoint, or at once after a checkpoint.
    """

    def state() -> object:
        last = run / "checkpoints" / "last.npz"
        if moment == "writing":
            return frozenset(last.parent.glob(".last.npz.*"))
        watched = run / "log.csv" if moment == "logged" else last
        return watched.exists() and (watched.stat().st_ino, watched.stat().st_size)

    before = state()
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and running.poll() is None:
        if state() != before and state():
            break
        time.sleep(0.001)
    assert running.poll() is None, running.communicate()[1]
    running.send_signal(signal.SIGKILL)
    running.communicate()


def assert_same_run(run: Path, whole: Path) -> None:
    """The same bits in the last checkpoint, the same figures in log and verification."""
    ours, wanted = (arrays(each / "checkpoints/last.npz") for each in (run, whole))
    assert ours.keys() == wanted.keys()
    different = [name for name in wanted if wanted[name].tobytes() != ours[name].tobytes()]
    assert different == []
    assert log_rows(run) == log_rows(whole)
    assert _lines(run) == _lines(whole)
    # Nothing is left of what was being written.
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.npz", "best.npz"}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights_bit_by_bit(world: Path) -> None:
    run = world / "killed"
    arguments = (world / "faces", run, world / "pairs.bin")
    for moment in ("checkpoint", "logged"):
        killed(process(TINY, *arguments), run, moment)
    with np.load(run / "checkpoints" / "last.npz") as file:
        assert not json.loads(bytes(file["state"]))["finished"]
    resumed = process(TINY, *arguments)
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert_same_run(run, world / "whole")


@pytest.mark.slow
def test_on_jax_too_a_run_killed_at_any_moment_ends_with_the_same_bits(world: Path) -> None:
    pytest.importorskip("jax")
    model = {"backbone": "mlp", "pooling": "none", "embedding_size": 8, "dropout": 0.1}
    # A head as large as makes a checkpoint take its time to write.
    plain = {**TINY, "model": {**model, "embedding_size": 4096}}
    whole, run = world / "whole on jax", world / "killed on jax"
    for folder in (whole, run):
        arguments = (world / "faces", folder, world / "pairs.bin")
        moments = ("writing", "checkpoint", "logged", "writing") if folder == run else ()
        for moment in moments:
            killed(process(plain, *arguments, backend="jax"), run, moment)
        running = process(plain, *arguments, backend="jax")
        _, err = running.communicate()
        assert running.returncode == 0, err
    assert_same_run(run, whole)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_weights(
    world: Path,
) -> None:
    from training.loop.callbacks import DivergedError

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


# The same with no file over so many bytes, which the system refuses as it refuses a full disk.
LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), resource.RLIM_INFINITY))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no RLIMIT_FSIZE")
def test_a_run_that_cannot_write_a_checkpoint_keeps_the_one_before(world: Path) -> None:
    pytest.importorskip("jax")
    model = {"backbone": "mlp", "pooling": "none", "embedding_size": 64, "dropout": 0}
    # Adamax keeps two arrays a weight, SGD without momentum none: the second stage's is larger.
    small = {"epochs": 1, "loss": "softmax", "optimizer": "sgd", "learning_rate": 1e-3}
    plain = {**TINY, "model": model, "stages": [small, {**small, "optimizer": "adamax"}]}
    run = world / "full"
    limit = 4 * (32 * 32 * 3 * 256 + 256 * 65) * 3 // 2
    code = RUN.replace("from test_fit", LIMITED + "from test_fit")
    running = process(plain, world / "faces", run, "", limit, backend="jax", code=code)
    _, err = running.communicate()
    assert running.returncode == 1
    assert "OSError" in err.splitlines()[-1], err
    folder = run / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["last.npz"]
    with np.load(folder / "last.npz") as file:
        assert json.loads(bytes(file["state"]))["epochs_done"] == 1
    assert all(np.isfinite(each).all() for each in arrays(folder / "last.npz").values())


def test_crc32c_is_the_published_one() -> None:
    from training.run.events import _masked_crc

    # RFC 3720, B.4: 32 zero bytes give 8A9136AA; the mask is TensorFlow's.
    (masked,) = struct.unpack("<I", _masked_crc(bytes(32)))
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated << 15 | rotated >> 17) & 0xFFFFFFFF == 0x8A9136AA
