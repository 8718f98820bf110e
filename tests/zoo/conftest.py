"""Small bins and tiny models, each made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import SIZE, save_dense, save_without_weights, write_pairs

from tests.small_models import save_dark_is_nan, save_projection


@pytest.fixture(scope="session")
def bins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with easy.bin and other.bin, 60 pairs of 10 people each."""
    folder = tmp_path_factory.mktemp("bins")
    write_pairs(folder / "easy.bin")
    write_pairs(folder / "other.bin", first=5)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny .onnx models: a and b (finite), small (4x4 input), nan, and dark, which is
    NaN where the first pixel is black.
    """
    folder = tmp_path_factory.mktemp("models")
    save_projection(folder / "a.onnx", side=SIZE, seed=1)
    save_projection(folder / "b.onnx", side=SIZE, seed=2)
    save_projection(folder / "small.onnx", side=4)
    save_projection(folder / "nan.onnx", side=SIZE, bias=float("nan"))
    save_dark_is_nan(folder / "dark.onnx", side=SIZE)
    return folder


@pytest.fixture(scope="session")
def keras_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that take TensorFlow: c.keras, and torn.keras, which lacks its weights."""
    folder = tmp_path_factory.mktemp("keras_models")
    save_dense(folder / "c.keras", seed=1)
    save_without_weights(folder / "c.keras", folder / "torn.keras")
    return folder
