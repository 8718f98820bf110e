"""Tiny Keras networks, built once a session: importing TensorFlow costs seconds."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluator.models.networks import SIZE, save

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras 3."""
    from evaluator.models.runtime import import_keras

    return import_keras()


@pytest.fixture(scope="session")
def tf_keras(keras: Any) -> Any:
    """Keras 2, as tf_keras."""
    return pytest.importorskip("tf_keras")


@pytest.fixture(params=["keras", "tf_keras"])
def package(request: pytest.FixtureRequest) -> Any:
    """Each of the two Keras generations."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Model input: a few images of SIZE in [0, 1]."""
    return np.random.default_rng(3).random((5, *SIZE, 3), dtype=np.float32)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves a model under a name in the test's folder."""
    return lambda model, name="model.h5": save(model, tmp_path / name)
