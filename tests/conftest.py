"""Fixtures that the whole suite shares: the folder of real data beside the checkout."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ZOO_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real bins, faces, records and a model; tests that need it skip without it."""
    if not (SHARED / "bins").is_dir():
        pytest.skip(f"needs the shared test data, which is not at {SHARED}")
    return SHARED
