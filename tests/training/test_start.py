"""Weights to go on from: which file they are in, and what it must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import InputError
from evaluator.models.torch_weights.read import read_weights
from training.recipes.recipe import Recipe, parse_recipe
from zoo.entries.registry import Entry, read_registry
from zoo.train.entry import with_start_found

RECIPE = {
    "model": {"backbone": "mobilefacenet"},
    "stages": [{"epochs": 1, "loss": "softmax", "optimizer": "adam", "learning_rate": 0.1}],
}
# How a file begins that h5py reads.
HDF5 = b"\x89HDF\r\n\x1a\n"
ZOO = """
models:
  here: {file: here.keras, input: {profile: unit}, source: a test}
  signed: {file: here.keras, input: {profile: symmetric}, source: a test}
  swapped: {file: here.keras, input: {profile: unit, channels: bgr}, source: a test}
  away: {file: away.keras, input: {profile: unit}, source: a test}
"""


def recipe(start: str) -> Recipe:
    plain = {**RECIPE, "model": {**RECIPE["model"], "start": start}}
    return parse_recipe(plain, lambda place, message: InputError(f"{place}: {message}"))


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, Entry]:
    (tmp_path / "models.yaml").write_text(ZOO)
    (tmp_path / "here.keras").write_bytes(HDF5)
    return read_registry(tmp_path / "models.yaml")


def test_a_start_is_an_entry_or_a_path(entries: dict[str, Entry], tmp_path: Path) -> None:
    for start in ("here", str(tmp_path / "here.keras")):
        found = with_start_found(recipe(start), entries)
        assert found.model.start == str(tmp_path / "here.keras")
    run = tmp_path / "run"
    run.mkdir()
    (run / "models.yaml").write_text(
        "models: {run: {file: m.keras, input: {profile: unit}, source: a test}}"
    )
    (run / "m.keras").write_bytes(HDF5)
    assert with_start_found(recipe(str(run)), entries).model.start == str(run / "m.keras")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("away", "model.start: entry 'away': its weights are not at .*away.keras"),
        ("heer", "model.start: no model 'heer': .*did you mean 'here'"),
        ("signed", "preprocess.profile symmetric, and the recipe has unit: set preprocess.profile"),
        ("swapped", "was trained with preprocess.channels bgr, and the recipe has rgb"),
    ],
)
def test_a_start_that_cannot_be_is_one_line(
    start: str, message: str, entries: dict[str, Entry]
) -> None:
    with pytest.raises(InputError, match=message) as error:
        with_start_found(recipe(start), entries)
    assert "\n" not in str(error.value)


def network(*, head: bool, units: int = 4) -> Any:
    import keras

    images = keras.Input((8, 8, 3))
    maps = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(images))
    out = keras.layers.Dense(units, name="embedding")(maps)
    if head:
        out = keras.layers.Concatenate()([out, keras.layers.Dense(7)(out)])
    return keras.Model(images, out)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_of_a_founding_checkpoint_the_embedding_part_is_taken(suffix: str, tmp_path: Path) -> None:
    from training.network.start import start_weights

    whole, mine = network(head=True), network(head=False)
    whole.save(tmp_path / f"whole{suffix}")
    start_weights(mine, str(tmp_path / f"whole{suffix}"))
    for left, right in zip(mine.get_weights(), whole.get_weights(), strict=False):
        assert np.array_equal(left, right)
    other = network(head=False, units=5)
    with pytest.raises(InputError, match=r"weight 3 is \(72, 4\) and not \(72, 5\)"):
        start_weights(other, str(tmp_path / f"whole{suffix}"))


def test_what_holds_no_weights_to_train_is_one_line(tmp_path: Path) -> None:
    from training.network.start import start_weights

    np.savez(tmp_path / "last.npz", state=np.zeros(3))
    (tmp_path / "small.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    for name, message in (("last.npz", "arrays of NumPy"), ("small.tflite", "found tflite")):
        with pytest.raises(InputError, match=f"{name}: .*{message}") as error:
            start_weights(network(head=False), str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_file_of_pytorch_gives_its_weights_to_the_same_network() -> None:
    import keras

    from training.network.backbones.pooling import flat
    from training.network.backbones.residual import residual_network
    from training.network.start import start_weights

    file = Path(__file__).parent / "pytorch_files" / "arcface.pth"
    images = keras.Input((16, 16, 3))
    mine = keras.Model(images, flat(residual_network(images, (2, 1), widths=(4, 6)), 8, 0.4))
    start_weights(mine, str(file))
    kernel = np.asarray(mine.get_layer("layer2.0.conv2").kernel)
    stored = read_weights(file)["layer2.0.conv2.weight"]
    assert np.array_equal(kernel[2, 1, 3], stored[:, 3, 2, 1])
    other = keras.Model(images, flat(residual_network(images, (1, 1), widths=(4, 6)), 8, 0.4))
    with pytest.raises(InputError, match=r"arcface.pth: expected the layers of .* weights, found"):
        start_weights(other, str(file))
