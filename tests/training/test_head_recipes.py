"""Recipes whose head has the loss: what is checked, and runs that are killed and gone on with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_samples import SIDE, write_faces
from test_fit import Stopped, arrays, log_rows, trained, trained_by

from tests.programs import Programs
from training.recipes.recipe import parse_recipe

SGD = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0005}
RECIPE: dict[str, Any] = {
    "model": {"backbone": "mlp", "pooling": "none", "embedding_size": 8, "dropout": 0.1},
    "preprocess": {"size": SIDE},
    "batch": 4,
    "checkpoint_steps": 2,
    "data": {"validation": 0.2},
    "center": {},
    "stages": [
        {
            "epochs": 1,
            "loss": {"name": "softmax", "label_smoothing": 0.1},
            "optimizer": "adamax",
            "learning_rate": 0.001,
            "sub_centers": 2,
        },
        {
            "epochs": 1,
            "loss": {"name": "adaface", "momentum": 0.1},
            "optimizer": SGD,
            "learning_rate": 0.01,
            "sample_rate": 0.7,
            "sub_centers": 2,
        },
    ],
}


@pytest.mark.slow
def test_a_run_over_sampled_classes_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", people=7, each=4)
    said = trained(RECIPE, faces, tmp_path / "whole")
    assert any("val_accuracy" in line for line in said)
    for stop_at in (9, 11):  # within the second stage, of 5 steps
        with pytest.raises(Stopped):
            trained(RECIPE, faces, tmp_path / "killed", stop_at=stop_at)
    trained(RECIPE, faces, tmp_path / "killed")
    one, two = (
        arrays(tmp_path / name / "checkpoints" / "last.npz") for name in ("whole", "killed")
    )
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(two[name], array)
    assert log_rows(tmp_path / "whole") == log_rows(tmp_path / "killed")
    shapes = [array.shape for array in one.values()]
    # Class vectors and their momentum by rows, mean and deviation of lengths, centers.
    assert shapes.count((14, 8)) == 2
    assert shapes.count((7, 8)) == 1
    rows = log_rows(tmp_path / "whole")
    assert all(np.isfinite(float(row[key])) for row in rows for key in ("loss", "accuracy"))


@pytest.mark.slow
def test_such_a_recipe_trains_on_jax(tmp_path: Path, on_jax: Programs) -> None:
    faces = write_faces(tmp_path / "faces", people=7, each=4)
    trained_by(on_jax, RECIPE, faces, tmp_path / "run")
    rows = log_rows(tmp_path / "run")
    assert len(rows) == 2
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert all(np.isfinite(float(row[key])) for row in rows)


@pytest.mark.slow
def test_class_vectors_go_on_from_stage_to_stage() -> None:
    from training.network.assembly import embedding_model, shared_weights, stage_model, turned

    recipe = parse_recipe(RECIPE, lambda place, message: ValueError(f"{place}: {message}"))
    embedding = embedding_model(recipe)
    first, second = (
        stage_model(recipe, stage, embedding, classes=7, steps_per_epoch=5)
        for stage in recipe.stages
    )
    given = [np.asarray(each) for each in shared_weights(first)]
    assert [each.shape for each in given] == [(8, 14), (7, 8)]
    turned_ = turned(second, given)
    for old, new in zip(turned_, shared_weights(second), strict=True):
        new.assign(old)
    images = np.random.default_rng(0).random((5, SIDE, SIDE, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, -1, 6])
    figures = np.asarray(second.predict_on_batch((images, labels)))
    logits = np.asarray(first.predict_on_batch((images, labels)))
    right = (logits.argmax(axis=1) == labels) & (labels >= 0)
    np.testing.assert_array_equal(figures[:, 1], right)
    for back, array in zip(
        turned(second, [np.asarray(each) for each in turned_]), given, strict=True
    ):
        np.testing.assert_array_equal(back, array)


def stage(**changes: Any) -> dict[str, Any]:
    plain = {**RECIPE, "center": None}
    plain["stages"] = [{"epochs": 1, "optimizer": SGD, "learning_rate": 0.1, **changes}]
    return plain


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (stage(loss={"name": "adaface", "std": 0.1}), "adaface takes no 'std'"),
        (stage(loss={"name": "softmax", "margin": 0.1}), "softmax takes no 'margin'"),
        (stage(loss="magface", head="dense"), "a margin is on cosines: expected head norm_dense"),
        (stage(loss="softmax", sample_rate=0.5), "softmax looks at all: expected a margin"),
        (
            stage(loss={"name": "margin", "preset": "founding"}, sample_rate=0.5),
            "expected a margin whose fallback is linear",
        ),
        (stage(loss="softmax", head="dense", sub_centers=2), "head dense has one vector a class"),
        (
            {**stage(loss="elasticface"), "data": {"class_weights": "balanced"}},
            "expected data.class_weights none",
        ),
        (stage(loss={"name": "elasticface", "kind": "sin"}), "expected one of arc, cos"),
    ],
)
def test_what_does_not_go_together_is_refused(plain: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_recipe(plain, lambda place, message: ValueError(f"{place}: {message}"))


@pytest.mark.parametrize(
    "loss",
    [
        {"name": "margin", "preset": "arcface"},
        {"name": "margin", "angular_mul": 0.9, "cosine_sub": 0.1, "scale": 32.0},
        {"name": "magface", "l_a": 5, "scale": 32.0, "label_smoothing": 0.1},
        "curricularface",
        {"name": "elasticface", "kind": "cos"},
    ],
)
def test_a_recipe_reaches_the_head(loss: Any) -> None:
    from training.network.assembly import embedding_model, stage_model

    plain = stage(loss=loss, sample_rate=0.5)
    recipe = parse_recipe(plain, lambda place, message: ValueError(f"{place}: {message}"))
    model = stage_model(
        recipe, recipe.stages[0], embedding_model(recipe), classes=9, steps_per_epoch=1
    )
    head = model.get_layer("head")
    options = {} if isinstance(loss, str) else {**loss}
    name = loss if isinstance(loss, str) else options.pop("name")
    assert head.scale == options.pop("scale", 64.0)
    assert head.label_smoothing == options.pop("label_smoothing", 0.0)
    config = head.margin.get_config()
    if options.pop("preset", None):
        options = {"angular_mul": 1.0, "angular_add": 0.5, "cosine_sub": 0.0}
    assert type(head.margin).__name__.lower().startswith("combined" if name == "margin" else name)
    assert {key: config[key] for key in options} == options
    assert model.optimizer.lazy_rows
