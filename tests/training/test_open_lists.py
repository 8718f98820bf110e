"""Backbones of others: registered, named in a recipe, built."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

import training
from evaluator.errors import InputError
from training.recipes import registry
from training.recipes.recipe import Recipe, parse_recipe

STAGE = {"epochs": 1, "loss": "softmax", "optimizer": "adam", "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", {"backbone": {}, "loss": {}, "optimizer": {}})


def recipe(backbone: str) -> Recipe:
    plain = {"model": {"backbone": backbone, "embedding_size": 8}, "stages": [STAGE]}
    return parse_recipe(plain, lambda place, message: InputError(f"{place}: {message}"))


def tiny(images: Any, weights: str | None = None) -> Any:
    import keras

    assert weights is None
    return keras.layers.Conv2D(4, 3, strides=4)(images)


def test_a_registered_backbone_is_named_in_a_recipe_and_built() -> None:
    from training.network.assembly import embedding_model

    with pytest.raises(InputError, match=r"expected one of .*; found 'tiny'"):
        recipe("tiny")
    assert training.register_backbone("tiny")(tiny) is tiny
    model = embedding_model(recipe("tiny"))
    assert model.output_shape == (None, 8)
    # 3 x 3 x 3 to 4 channels with biases, and 4 to 8.
    assert model.count_params() == 27 * 4 + 4 + 4 * 8 + 8
    with pytest.raises(InputError, match="did you mean 'tiny'"):
        recipe("tinny")


def test_a_model_file_is_a_backbone_with_its_weights(tmp_path: Path) -> None:
    import keras
    import numpy as np

    from training.network.assembly import embedding_model

    images = keras.Input((112, 112, 3))
    features = keras.layers.Conv2D(4, 3, strides=4)(images)
    keras.Model(images, features).save(tmp_path / "map.keras")
    vector = keras.layers.Dense(6)(keras.layers.GlobalAveragePooling2D()(features))
    keras.Model(images, vector).save(tmp_path / "vector.h5")
    pixels = np.random.default_rng(0).random((2, 112, 112, 3), np.float32)
    made = embedding_model(recipe(str(tmp_path / "map.keras")))
    assert made.output_shape == (None, 8)
    kernel, bias = made.layers[1].get_weights()
    known = keras.models.load_model(tmp_path / "map.keras").get_weights()
    assert np.array_equal(kernel, known[0])
    assert np.array_equal(bias, known[1])
    whole = embedding_model(recipe(str(tmp_path / "vector.h5")))
    expected = keras.models.load_model(tmp_path / "vector.h5", compile=False)(pixels)
    assert np.array_equal(whole(pixels), expected)
    assert training.embedding_model(str(tmp_path / "map.keras")).output_shape == (None, 512)
    with pytest.raises(FileNotFoundError, match=r"none\.keras"):
        embedding_model(recipe(str(tmp_path / "none.keras")))


def test_a_name_is_taken_once_and_ours_for_ever() -> None:
    training.register_backbone("tiny")(tiny)
    with pytest.raises(InputError, match="'tiny' is registered already; replace=True"):
        training.register_backbone("tiny")(tiny)
    training.register_backbone("tiny", replace=True)(len)
    assert registry.found("backbone", "tiny") is len
    with pytest.raises(InputError, match="'iresnet50' is face-zoo's own"):
        training.register_backbone("iresnet50", replace=True)


def test_an_installed_package_is_asked_for_a_name_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def points(*, group: str, name: str) -> EntryPoints:
        asked.append((group, name))
        ours = EntryPoint("theirs", f"{__name__}:tiny", "face_zoo.backbones")
        return EntryPoints([ours] if name == "theirs" else [])

    monkeypatch.setattr(registry, "entry_points", points)
    recipe("iresnet50")
    assert asked == []
    assert recipe("theirs").model.backbone == "theirs"
    assert asked == [("face_zoo.backbones", "theirs")]


def test_what_makes_no_map_is_told() -> None:
    from training.network.backbones import build_embedding_model

    training.register_backbone("flat")(lambda images: images[:, 0, 0])
    with pytest.raises(InputError, match=r"flat: expected a feature map .* found \(None, 3\)"):
        build_embedding_model("flat")
    with pytest.raises(InputError, match="no backbone 'iresnet5': did you mean 'iresnet50'"):
        build_embedding_model("iresnet5")
