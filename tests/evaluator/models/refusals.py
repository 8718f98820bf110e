"""A model file loaded in this process, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions


def load(path: Path, **options: object) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", **options}))  # type: ignore[arg-type]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message
