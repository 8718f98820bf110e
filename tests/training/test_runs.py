"""Runs from Python: trained, read, their kept epochs loaded and evaluated, gone on from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_samples import SIDE, write_faces, write_pairs

from tests.command import Zoo
from tests.programs import Programs

RECIPE = {
    "model": {"backbone": "conv4", "embedding_size": 8, "dropout": 0.1},
    "preprocess": {"size": SIDE, "profile": "symmetric"},
    "batch": 4,
    "data": {"validation": 0.2},
    "center": {},
    "keep": "epochs",
    "keep_whole": True,
    "export": "last",
    "stages": [
        {
            "epochs": 3,
            "loss": "softmax",
            "optimizer": {"name": "adam", "ema": 0.9},
            "learning_rate": 0.001,
        }
    ],
}


def checked(world: Path, name: str) -> dict[str, Any]:
    """A run of the recipe, and what was found of it."""
    import evaluator
    import training

    bins = world / "pairs.bin"
    run = training.train(RECIPE, world / "faces", world / name, bins=bins, verbose=0)
    places = [(each.epoch, each.step) for each in run.checkpoints]
    last = run.checkpoints[-1]
    found = last.evaluate(bins)
    whole = last.load_whole()
    basic = last.load()
    head, center = whole.get_layer("head"), whole.get_layer("center")
    inner = next(each for each in whole.layers if each.name == basic.name)
    averages = dict(
        zip(
            (each.path for each in whole.trainable_variables),
            (np.asarray(each) for each in whole.optimizer._model_variables_moving_average),
            strict=True,
        )
    )
    own = [averages.get(each.path) for each in inner.trainable_weights]
    wanted = [np.asarray(each) for each in basic.trainable_weights]
    second = evaluator.evaluate(run.checkpoints[1].load(), bins, input="symmetric")
    return {
        "places": places,
        "name": found.model.name,
        "evaluated": [found.figures.accuracy, second.figures.accuracy],
        "logged": [run.log[-1]["pairs_accuracy"], run.log[1]["pairs_accuracy"]],
        "epochs": [row["epoch"] for row in run.log],
        "averaged": all(np.array_equal(a, b) for a, b in zip(own, wanted, strict=True)),
        "shapes": [list(each.shape) for each in (head.weights[0], center.centers)],
        "iterations": int(np.asarray(whole.optimizer._iterations)),
        "centers": bool(
            np.array_equal(np.asarray(center.centers), np.load(run.path / "centers.npy"))
        ),
        "recipe": run.recipe["stages"][0]["optimizer"]["ema"],
        "model": list(run.model().output_shape),
    }


CHECK = """
from pathlib import Path
from test_runs import checked
found = checked(Path(world), "jax")
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces, a bin, and a run of the recipe in `run`."""
    folder = tmp_path_factory.mktemp("world")
    write_faces(folder / "faces")
    write_pairs(folder / "pairs.bin")
    (folder / "found.json").write_text(json.dumps(checked(folder, "run")))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_every_epoch_of_a_run_is_there_in_order_with_head_and_optimizer(
    world: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    found = json.loads((world / "found.json").read_text())
    if backend == "jax":
        programs: Programs = request.getfixturevalue("on_jax")
        found = programs.found(CHECK, world=str(world))
    # 28 images, 22 of them trained on: 6 steps an epoch.
    assert found["places"] == [[epoch, 6 * epoch] for epoch in range(1, 4)]
    assert found["name"] == ("jax" if backend == "jax" else "run") + "-epoch-0003"
    assert found["evaluated"] == pytest.approx(found["logged"])
    assert found["epochs"] == list(range(3))
    assert found["shapes"] == [[8, 4], [4, 8]]
    assert found["iterations"] == 18
    assert (found["centers"], found["averaged"]) == (True, True)
    assert (found["recipe"], found["model"]) == (0.9, [None, 8])


@pytest.mark.slow
def test_a_run_is_resumed_from_python_with_its_own_recipe_alone(world: Path) -> None:
    import training

    run = world / "run"
    before = (run / "basic_model.keras").read_bytes()
    again = training.train(run, world / "faces", run, resume=True, verbose=0)
    assert (again.path, (run / "basic_model.keras").read_bytes()) == (run, before)
    other = {**RECIPE, "batch": 8}
    with pytest.raises(training.RunError, match="was started with batch = 4, not 8"):
        training.train(other, world / "faces", run, resume=True)
    with pytest.raises(training.RunError, match="not empty"):
        training.train(RECIPE, world / "faces", run)


@pytest.mark.slow
def test_the_command_line_evaluates_shows_and_exports_what_a_run_has(
    zoo: Zoo, world: Path, same_process: None
) -> None:
    run, bins = world / "run", world / "pairs.bin"
    done = zoo("eval", run, "--epochs", "--bins", bins)
    assert done.code == 0, done.err
    names = [line.split()[0] for line in done.out.splitlines() if line.startswith("run-epoch")]
    assert names == [f"run-epoch-{epoch:04d}" for epoch in range(1, 4)]
    shown = zoo("show", run)
    assert shown.code == 0, shown.err
    rows = [line.split() for line in shown.out.splitlines()[-4:]]
    assert rows[0] == ["epoch", "step", "loss", "accuracy", "val", "pairs", "kept"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
    assert rows[-1][-1] == "epoch-0003.keras"
    # The last checkpoint is that of the third epoch.
    done = zoo("export", run / "checkpoints" / "last.npz", "--out", world / "out.keras")
    assert done.code == 0, done.err
    import keras

    images = np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 3)).astype(np.float32)
    ours, kept = (
        np.asarray(keras.models.load_model(path).predict_on_batch(images))
        for path in (world / "out.keras", run / "checkpoints" / "epoch-0003.keras")
    )
    np.testing.assert_array_equal(ours, kept)


@pytest.mark.slow
def test_head_and_centers_go_on_in_another_run(world: Path) -> None:
    import training

    slow = {"epochs": 1, "loss": {"name": "margin", "preset": "arcface"}}
    slow |= {"optimizer": "sgd", "learning_rate": 1e-9}
    plain = {**RECIPE, "stages": [slow], "start_head": str(world / "run"), "keep": "epochs"}
    plain["model"] = {**RECIPE["model"], "start": str(world / "run")}
    plain["center"] = {"alpha": 1e-6}
    run = training.train(plain, world / "faces", world / "on", verbose=0)
    before = training.load_run(world / "run").checkpoints[-1].load_whole()
    after = run.checkpoints[-1].load_whole()
    for layer, at in (("head", 0), ("center", 0)):
        first, then = (np.asarray(each.get_layer(layer).weights[at]) for each in (before, after))
        np.testing.assert_allclose(then, first, atol=1e-4)
        assert np.abs(then).max() > 0.01
    write_faces(world / "others", people=3)
    with pytest.raises(training.InputError, match="has a head for 4 other people than the 3"):
        training.train(plain, world / "others", world / "refused", verbose=0)


@pytest.mark.slow
def test_what_a_run_cannot_keep_is_refused_before_it_begins(tmp_path: Path) -> None:
    import training

    write_faces(tmp_path / "faces")
    with pytest.raises(training.RunError, match="keep improved: nothing is verified"):
        training.train({**RECIPE, "keep": "improved"}, tmp_path / "faces", tmp_path / "run")
    with pytest.raises(training.RunError, match="start_head nowhere: expected a run's folder"):
        training.train({**RECIPE, "start_head": "nowhere"}, tmp_path / "faces", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    wrong = {**RECIPE, "stages": [{**RECIPE["stages"][0], "optimizer": "sdg"}]}
    with pytest.raises(training.RecipeError, match=r"recipe: stages\.0\.optimizer\.name: expected"):
        training.train(wrong, tmp_path / "faces", tmp_path / "run")


@pytest.mark.parametrize(
    "text", ["", "models: 3", "models: {a: {}}", "models: {a: 1, b: 2}", "[[[", "\xff"]
)
def test_an_entry_of_other_content_is_one_line(tmp_path: Path, text: str) -> None:
    import training

    (tmp_path / "models.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(training.RunError, match="expected the one entry of a run") as caught:
        training.load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_kept_epochs_are_told_from_other_files_and_ordered(tmp_path: Path) -> None:
    from training.run.runs import KeptEpoch, RunFolder

    run = RunFolder(tmp_path)
    run.last.parent.mkdir()
    places = [KeptEpoch(2, 70), KeptEpoch(2), KeptEpoch(10), KeptEpoch(10000)]
    for place in places:
        run.kept(place).touch()
        run.kept(place, whole=True).touch()
    for name in ("epoch-.keras", "epoch-1.h5", "epoch-0003-step-.keras", ".epoch-0004.keras"):
        (run.last.parent / name).touch()
    assert run.all_kept() == places
