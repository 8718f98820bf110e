"""Runs: what is left in the folder, resuming after a kill, divergence, devices."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from face_samples import SIDE, write_faces, write_pairs

from tests.command import ROOT, WITHOUT_TENSORFLOW, ended, started
from tests.programs import COMPILES_QUICKLY, Programs

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
# JAX alone: it starts in half the time.
RUN = """
import json, sys
from pathlib import Path
from test_fit import trained
trained(json.loads(sys.argv[1]), *map(Path, sys.argv[2:4]), sys.argv[4])
"""


class Stopped(Exception):  # noqa: N818 - it is no error
    """What stands for a kill between two steps."""


def trained(
    plain: dict[str, Any],
    faces: Path,
    folder: Path,
    bins: Path | str = "",
    stop_at: int | None = None,
) -> list[str]:
    """Trains in this process, new or from the last checkpoint, up to a step; the lines it says."""
    from evaluator.bins.verification_set import read_bin
    from evaluator.images.inputs import InputSpec
    from training.data.batches.pipeline import prepare_data
    from training.data.sources.faces import open_faces
    from training.loop.fit import train
    from training.loop.session import Reporter, Step
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
    said: list[str] = []

    def step(at: Step) -> None:
        if at.done == stop_at:
            raise Stopped

    train(recipe, data, run, entry=entry, sets=sets, report=Reporter(said.append, step))
    return said


def process(
    plain: dict[str, Any], *arguments: Path | str | int, before: str = ""
) -> subprocess.Popen[str]:
    """The same on JAX, in a process of its own, after the lines ``before``."""
    return started(
        json.dumps(plain),
        *arguments,
        cwd=ROOT,
        code=WITHOUT_TENSORFLOW + before + RUN,
        path=Path(__file__).parent,
        KERAS_BACKEND="jax",
        **COMPILES_QUICKLY,
    )


def trained_by(
    programs: Programs, plain: dict[str, Any], faces: Path, folder: Path, bins: Path | str = ""
) -> None:
    """The same by programs of another backend."""
    code = "from pathlib import Path\nfrom test_fit import trained\n"
    code += "found = trained(plain, Path(faces), Path(folder), bins)"
    programs.found(code, plain=plain, faces=str(faces), folder=str(folder), bins=str(bins))


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
    said = trained(TINY, folder / "faces", folder / "whole", folder / "pairs.bin")
    (folder / "whole.out").write_text("\n".join(said))
    return folder


@pytest.mark.slow
def test_a_run_leaves_a_whole_folder(world: Path) -> None:
    run = world / "whole"
    names = {path.name for path in run.iterdir()}
    assert names == {
        "models.yaml",
        "data.json",
        "log.csv",
        "verification.jsonl",
        "curves.svg",
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
    ElementTree.parse(run / "curves.svg")


@pytest.mark.slow
def test_centers_are_left_as_the_seed_leaves_them_and_can_be_gone_on_from(
    world: Path, on_jax: Programs
) -> None:
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
    plain["model"] = {"backbone": "mlp", "pooling": "none", "embedding_size": 8, "dropout": 0}
    trained_by(on_jax, plain, world / "faces", world / "from centers")
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
    while running.poll() is None:
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
def test_a_run_stopped_within_both_stages_resumes_to_the_same_weights_bit_by_bit(
    world: Path,
) -> None:
    run = world / "stopped"
    arguments = (world / "faces", run, world / "pairs.bin")
    # Checkpoints are after every second step, and after the sixth, which ends the first epoch.
    for step in (3, 9):
        with pytest.raises(Stopped):
            trained(TINY, *arguments, stop_at=step)
    with np.load(run / "checkpoints" / "last.npz") as file:
        state = json.loads(bytes(file["state"]))
    assert (state["steps_done"], state["finished"]) == (8, False)
    trained(TINY, *arguments)
    assert_same_run(run, world / "whole")


@pytest.mark.slow
def test_on_jax_a_run_killed_at_any_moment_ends_with_the_same_bits(
    world: Path, on_jax: Programs
) -> None:
    # A head as large as makes a checkpoint take its time to write.
    model = {"backbone": "mlp", "pooling": "none", "embedding_size": 4096, "dropout": 0.1}
    plain = {**TINY, "model": model}
    whole, run = world / "whole on jax", world / "killed on jax"
    trained_by(on_jax, plain, world / "faces", whole, world / "pairs.bin")
    arguments = (world / "faces", run, world / "pairs.bin")
    for moment in ("writing", "checkpoint", "logged", "writing"):
        killed(process(plain, *arguments), run, moment)
    trained_by(on_jax, plain, *arguments)
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
import resource, signal, sys
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
    done = ended(process(plain, world / "faces", run, "", limit, before=LIMITED))
    assert done.code == 1
    assert "OSError" in done.err.splitlines()[-1], done.err
    folder = run / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["last.npz"]
    with np.load(folder / "last.npz") as file:
        assert json.loads(bytes(file["state"]))["epochs_done"] == 1
    assert all(np.isfinite(each).all() for each in arrays(folder / "last.npz").values())
