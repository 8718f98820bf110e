"""What importing Keras brings along, and what native libraries write meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.models.runtime import _backend_is_tensorflow, native_messages_held

ROOT = Path(__file__).parents[3]
LOOK = """
import sys
from evaluator.models.runtime import import_keras
import_keras()
print("jax" in sys.modules)
import importlib.util
print(importlib.util.find_spec("jax") is not None)
"""


@pytest.mark.parametrize(
    ("error", "shown"), [(ImportError("x"), "oneDNN is on\n"), (KeyboardInterrupt(), "")]
)
def test_notes_are_shown_where_the_start_fails_alone(
    capfd: pytest.CaptureFixture[str], error: BaseException, shown: str
) -> None:
    def start() -> None:
        with native_messages_held():
            os.write(2, b"oneDNN is on\n")
            raise error

    with pytest.raises(type(error)):
        start()
    assert capfd.readouterr().err == shown


def test_notes_of_a_start_that_succeeds_are_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with native_messages_held():
        os.write(2, b"oneDNN is on\n")
    assert capfd.readouterr().err == ""


def test_tensorflow_is_imported_without_jax_which_stays_to_be_found(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_HOME": str(tmp_path),
             "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("given", "stored", "expected"),
    [
        ("", None, True), ("", '{"backend": "tensorflow"}', True), ("", "{}", True),
        ("", '{"backend": "jax"}', False), ("jax", '{"backend": "tensorflow"}', False),
        ("tensorflow", '{"backend": "jax"}', True), ("", "{", False), ("", "[]", False),
    ],
)  # fmt: skip
def test_the_backend_is_told_before_keras_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, stored: str | None, *,
    expected: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", given)
    if stored is not None:
        (tmp_path / "keras.json").write_text(stored)
    assert _backend_is_tensorflow() == expected
