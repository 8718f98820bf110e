"""What the whole suite shares: the folder of real data, and a profile of Hypothesis."""

import os
from pathlib import Path

import pytest
from hypothesis import Phase, settings

SHARED = Path(os.environ.get("ZOO_SHARED", Path(__file__).parents[2] / "shared"))

# How long an example takes says how busy the machine is.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
# For mutation testing (pyproject.toml): a failing example is enough, nobody reads the smallest one;
# and a mutant gets the same examples each time.
settings.register_profile(
    "mutation", database=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real bins, faces, records and a model; tests that need it skip without it."""
    if not (SHARED / "bins").is_dir():
        pytest.skip(f"needs the shared test data, which is not at {SHARED}")
    return SHARED
