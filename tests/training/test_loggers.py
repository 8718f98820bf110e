"""A run's log as TensorBoard, Weights & Biases and MLflow get it."""

from pathlib import Path

import pytest

from training.recipes.recipe import Recipe, parse_recipe
from training.run import loggers
from training.run.runs import RunError

ROWS = [
    {"stage": 0, "epoch": 0, "step": 6, "loss": 1.5, "lfw_accuracy": None, "seconds": 2},
    {"stage": 0, "epoch": 1, "step": 12, "loss": 0.75, "lfw_accuracy": 0.9, "seconds": 3},
]
MEASURED = [
    (6, {"loss": 1.5, "seconds": 2.0}),
    (12, {"loss": 0.75, "lfw_accuracy": 0.9, "seconds": 3.0}),
]


def recipe() -> Recipe:
    stage = {"epochs": 2, "loss": "softmax", "optimizer": "adam", "learning_rate": 0.01}
    plain = {"model": {"backbone": "conv4"}, "stages": [stage]}
    return parse_recipe(plain, lambda place, message: ValueError(message))


def logged(names: list[str] | None, folder: Path) -> list[str]:
    """Gives the rows to the loggers of those names; the lines said."""
    said: list[str] = []
    with loggers.opened_loggers(names, folder, recipe(), said.append) as log:
        for row in ROWS:
            log(row)
    return said


@pytest.mark.slow
@pytest.mark.parametrize("names", [None, ["csv", "tensorboard", "tensorboard"]])
def test_tensorflow_reads_the_event_file(tmp_path: Path, names: list[str] | None) -> None:
    pytest.importorskip("tensorboardX")
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    assert logged(names, tmp_path) == []
    (path,) = tmp_path.glob("events.out.tfevents.*")
    raw = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()  # checks every checksum
    found: dict[int, dict[str, float]] = {}
    for event in map(event_pb2.Event.FromString, raw):
        for value in event.summary.value:
            found.setdefault(event.step, {})[value.tag] = value.simple_value
    assert found == {step: pytest.approx(figures) for step, figures in MEASURED}


def test_without_its_writer_there_is_a_line_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    (line,) = logged(None, tmp_path)
    assert line == "no TensorBoard events: pip install face-zoo[tensorboard] has them written"
    assert logged(["csv"], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match=r"tensorboardX is not installed; pip install face-zoo"):
        loggers.check_loggers(["tensorboard"])
    with pytest.raises(RunError, match="--log neptune: expected csv, tensorboard, wandb, mlflow"):
        loggers.check_loggers(["csv", "neptune"])


@pytest.mark.slow
def test_mlflow_has_recipe_and_rows_and_goes_on_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    for _ in range(2):
        logged(["mlflow"], tmp_path)
    (run,) = mlflow.search_runs(experiment_names=["face-zoo"], output_format="list")
    assert run.data.params["stages.0.optimizer.name"] == "adam"
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(6, 1.5), (12, 0.75)] * 2


@pytest.mark.slow
def test_wandb_is_given_recipe_and_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged(["wandb"], tmp_path)
    wandb.teardown()  # else written when the process ends
    (stored,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    content = stored.read_bytes()
    assert b"lfw_accuracy" in content
    assert b"conv4" in content
