"""Small bins and tiny Keras models, each made once a session, and the command line to try."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import (
    SIZE,
    Outcome,
    Zoo,
    save_dark_is_nan,
    save_dense,
    save_without_weights,
    write_pairs,
)

from tests.small_models import save_projection


@pytest.fixture(scope="session")
def bins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with easy.bin and other.bin, 60 pairs of 10 people each."""
    folder = tmp_path_factory.mktemp("bins")
    write_pairs(folder / "easy.bin")
    write_pairs(folder / "other.bin", first=5)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models: a and b (finite), small (4x4 input), nan, as .onnx, which needs no
    TensorFlow; c, dark and torn, as .keras.
    """
    folder = tmp_path_factory.mktemp("models")
    save_projection(folder / "a.onnx", side=SIZE, seed=1)
    save_projection(folder / "b.onnx", side=SIZE, seed=2)
    save_projection(folder / "small.onnx", side=4)
    save_projection(folder / "nan.onnx", side=SIZE, bias=float("nan"))
    save_dense(folder / "c.keras", seed=1)
    save_dark_is_nan(folder / "dark.keras")
    save_without_weights(folder / "c.keras", folder / "torn.keras")
    return folder


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Runs a command in this process, in an empty folder; what it leaves on both streams."""
    from zoo.cli import run

    monkeypatch.chdir(tmp_path)
    for name in ("ZOO_DATA", "ZOO_MODELS", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
