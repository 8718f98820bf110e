"""What native libraries write while Keras starts: shown where it fails, not where it is stopped."""

from __future__ import annotations

import os

import pytest

from evaluator.models.runtime import native_messages_held


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
