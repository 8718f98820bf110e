"""The founding MLP on digits, and runs of triplets: lines, resume, errors, alarms."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from face_samples import SIDE, write_faces
from sklearn.datasets import load_digits

from evaluator.errors import InputError
from evaluator.images.decode import decode_image
from tests.command import Zoo
from training.data.sources.digits import digit_faces


def test_digits_are_scikit_learns():
    faces, expected = digit_faces("digits"), load_digits()
    assert len(faces) == 1797
    assert np.array_equal(faces.labels, expected.target)
    for number in (0, 17, 1796):
        pixels = decode_image(faces.read(number))
        assert np.array_equal(np.round(pixels[..., 0] * (16 / 255)), expected.images[number])
    with pytest.raises(InputError, match="expected one of digits, mnist; found 'letters'"):
        digit_faces("letters")


@pytest.mark.slow
def test_digits_reach_the_documents_line(zoo: Zoo, tmp_path: Path):
    done = zoo("train", "digits_triplet", "--run", tmp_path / "run")
    assert done.code == 0, done.err
    found = re.findall(
        r"^Epoch: (\d+), Triplet Loss: (\d\.\d+)\n准确率: (\d\.\d{4}) \((\d+) / (\d+)\)$",
        done.err,
        re.MULTILINE,
    )
    assert [int(each[0]) for each in found] == list(range(10))
    assert all(f"{int(right) / int(of):.4f}" == shown for _, _, shown, right, of in found)
    rates = [float(each[2]) for each in found]
    # MNIST in the document: 0.9052 after one epoch, 0.9606 after ten.
    assert rates[0] >= 0.9052
    assert rates[-1] >= 0.9606
    witness = accuracy_of_random_triplets(tmp_path / "run" / "basic_model.keras")
    assert rates[-1] == pytest.approx(witness, abs=0.02)


def accuracy_of_random_triplets(model: Path) -> float:
    """The share of 20,000 triplets of held-back digits, drawn here, whose positive is nearer."""
    import keras

    from training.data.batches.pipeline import split_images

    digits = load_digits()
    _, held_back = split_images(digits.target, 0.25, 0)
    pixels = np.round(digits.images[held_back] * (255 / 16)).astype(np.float32) / 255
    embeddings = keras.models.load_model(model).predict(pixels[..., None], verbose=0)
    labels = digits.target[held_back]
    anchor, positive, negative = np.random.default_rng(99).integers(0, len(labels), (3, 400_000))
    same, other = labels[anchor] == labels[positive], labels[anchor] != labels[negative]
    drawn = np.flatnonzero(same & other & (anchor != positive))[:20_000]
    assert len(drawn) == 20_000
    a, p, n = (embeddings[each[drawn]] for each in (anchor, positive, negative))
    return float(np.mean(np.linalg.norm(a - p, axis=1) < np.linalg.norm(a - n, axis=1)))


MINED = {
    "model": {"backbone": "mlp", "pooling": "none", "embedding_size": 8, "dropout": 0},
    "preprocess": {"size": SIDE},
    "batch": 12,
    "checkpoint_steps": 3,
    "data": {"validation": 0, "augment": {"flip": True}},
    "stages": [
        {
            "epochs": 2,
            "head": "none",
            "loss": {"name": "triplet", "margin_cosine": 0.3},
            "triplets": {"sampler": "mined", "people": 4, "images": 5, "alpha_cosine": 0.3},
            "optimizer": "adamax",
            "learning_rate": 0.001,
        }
    ],
}


class Stopped(Exception):  # noqa: N818 - it is no error
    """What stands for a kill in the middle of an epoch."""


def trained(plain: dict, faces: Path, folder: Path, stop_at: int | None = None) -> list[str]:
    """Trains, new or from the last checkpoint; the lines it says."""
    from evaluator.images.inputs import InputSpec
    from training.data.batches.pipeline import prepare_data
    from training.data.sources.faces import open_faces
    from training.loop.fit import train
    from training.loop.session import Reporter
    from training.recipes.recipe import parse_recipe
    from training.run.runs import RunEntry, RunFolder, create_run

    recipe = parse_recipe(plain, lambda place, message: InputError(f"{place}: {message}"))
    entry = RunEntry(folder.name, "tiny", "a test", "")
    found = open_faces(faces)
    if not (folder / "models.yaml").exists():
        create_run(folder, entry, recipe, found)
    data = prepare_data(found, recipe.data, InputSpec(SIDE, SIDE), batch=recipe.batch)
    said: list[str] = []

    def step(at: object) -> None:
        if stop_at is not None and at.done == stop_at:
            raise Stopped

    report = Reporter(said.append, step)
    train(recipe, data, RunFolder(folder), entry=entry, sets=[], report=report)
    return said


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "checkpoints" / "last.npz") as file:
        return {name: file[name] for name in file.files if name != "state"}


@pytest.mark.slow
def test_a_run_stopped_amid_mined_triplets_goes_on_with_the_same_ones(tmp_path):
    faces = write_faces(tmp_path / "faces")
    said = trained(MINED, faces, tmp_path / "whole")
    assert sum("triplets found among 40 pairs of 4 people" in line for line in said) == 2
    assert sum(line.startswith("triplets: ") for line in said) == 2
    # After the checkpoint of step 3, in the first epoch: its triplets are read, not mined again.
    with pytest.raises(Stopped):
        trained(MINED, faces, tmp_path / "stopped", stop_at=5)
    again = trained(MINED, faces, tmp_path / "stopped")
    assert sum("triplets found" in line for line in again) == 1
    whole, resumed = arrays(tmp_path / "whole"), arrays(tmp_path / "stopped")
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["triplet_semihard", "triplet_batch_hard", "triplet_batch_all"])
def test_online_triplets_of_balanced_batches_learn(loss, tmp_path):
    stage = {
        **MINED["stages"][0],
        "epochs": 4,
        "loss": {"name": loss, "margin_euclidean": 0.5},
        "triplets": {"sampler": "balanced", "people": 3, "images": 4},
        "optimizer": "adam",
    }
    faces = write_faces(tmp_path / "faces")
    trained({**MINED, "stages": [stage]}, faces, tmp_path / "run")
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    column = rows[0].split(",").index("accuracy")
    values = [float(row.split(",")[column]) for row in rows[1:]]
    assert values[-1] > max(values[0], 0.7)


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another(tmp_path):
    import keras

    faces = write_faces(tmp_path / "faces")
    trained({**MINED, "stages": [{**MINED["stages"][0], "epochs": 1}]}, faces, tmp_path / "one")
    still = {**MINED["stages"][0], "epochs": 1, "freeze": "embedding", "learning_rate": 1e-30}
    model = {**MINED["model"], "start": str(tmp_path / "one")}
    del still["freeze"]
    trained({**MINED, "model": model, "stages": [still]}, faces, tmp_path / "two")
    names = ("one", "two")
    one, two = (keras.models.load_model(tmp_path / name / "basic_model.keras") for name in names)
    for mine, theirs in zip(two.trainable_weights, one.trainable_weights, strict=True):
        assert np.allclose(mine.numpy(), theirs.numpy(), atol=1e-6)
    other = {**model, "embedding_size": 9}
    with pytest.raises(InputError, match=r"basic_model.keras: expected the layers of .* weight"):
        trained({**MINED, "model": other, "stages": [still]}, faces, tmp_path / "three")


TINY = (
    "model.backbone=mlp", "model.pooling=none", "model.weights=none", "preprocess.size=32",
    "model.embedding_size=8", "batch=12", "stages.0.epochs=1",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("people", "settings", "message"),
    [
        (1, (), "found only 'person 0'"),
        (3, ("stages.0.triplets.images=1",), "a pair takes 2 images of a person or more; found 1"),
        (3, ("batch=16",), "expected a multiple of 3; found 16"),
        (
            3,
            ("stages.0.triplets.alpha_cosine=1e-6", "stages.0.triplets.choice=semi_hard"),
            "no violating triplet: each of ",
        ),
    ],
)
def test_what_cannot_be_mined_is_one_line(people, settings, message, zoo: Zoo, tmp_path):
    faces = write_faces(tmp_path / "faces", people=people)
    done = zoo(
        "train", "triplet_offline", "--data", faces, "--run", tmp_path / "run",
        "--set", *TINY, *settings,
    )  # fmt: skip
    assert done.code == 2, done.err
    (error,) = done.error_lines
    assert message in error


def test_alarms_name_what_went_wrong():
    from training.triplets.stage import collapse_alarm

    def alarm(*losses: float, spread: float = 0.8, active: float = 0.5) -> str | None:
        return collapse_alarm(losses, margin=0.2, spread=spread, active=active)

    assert alarm(0.25, 0.2, 0.15) is None
    assert alarm(0.2, 0.2) is None
    assert "stood at the margin, 0.2, for 3 epochs" in alarm(0.9, 0.199, 0.2, 0.203)
    assert "collapsed (variance 0.001 of 1)" in alarm(0.1, spread=0.001)
    assert "0.50% of the triplets are active" in alarm(0.1, active=0.005)


def test_recipes_of_triplets_are_checked():
    from training.recipes.recipe import parse_recipe

    def complaint(**stage: object) -> str:
        plain = {**MINED, "stages": [{**MINED["stages"][0], **stage}]}
        with pytest.raises(InputError) as error:
            parse_recipe(plain, lambda place, message: InputError(f"{place}: {message}"))
        return str(error.value)

    assert "expected head none" in complaint(head="norm_dense")
    assert "found 0 of them" in complaint(loss="triplet")
    both = {"name": "triplet", "margin_cosine": 0.2, "margin_euclidean": 1}
    assert "found 2 of them" in complaint(loss=both)
    assert "sampler mined or sliding_window" in complaint(triplets={"sampler": "balanced"})
    assert "found 20" not in complaint(triplets=None)
    rate = {"name": "cosine", "learning_rate": 0.1}
    assert "expected a rate that changes by epoch" in complaint(learning_rate=rate)
    softmax = {"loss": "softmax", "head": "norm_dense"}
    assert "softmax takes no triplets" in complaint(**softmax)
    assert "takes no 'scale'" in complaint(loss={"name": "triplet", "scale": 3, **{}})
